"""The configuration: one YAML file, and ``MIXLLM_*`` variables over it."""

from mixllm.config.budget import BudgetConfig, KeyBudgetConfig
from mixllm.config.calls import BreakerConfig, CallsConfig, HedgeConfig
from mixllm.config.conversations import ConversationsConfig
from mixllm.config.key_names import key_name
from mixllm.config.keys import KeyConfig, KeyScope
from mixllm.config.pool import ModelEntry, ModelInfo, ModelParams
from mixllm.config.reading import decode_model_entry, load_config, parse_config
from mixllm.config.schema import (
    Config,
    DomainConfig,
    EncoderConfig,
    FeedbackConfig,
    GatewayConfig,
    LearningConfig,
    OutOfDomainConfig,
    PolicyConfig,
    PrivacyConfig,
    RoutingConfig,
    ShadowConfig,
    StoreConfig,
    TagsConfig,
)
from mixllm.config.signals import ImplicitSignal, JudgeConfig, SignalsConfig
from mixllm.config.telemetry import TelemetryConfig

__all__ = [
    "BreakerConfig",
    "BudgetConfig",
    "CallsConfig",
    "Config",
    "ConversationsConfig",
    "DomainConfig",
    "EncoderConfig",
    "FeedbackConfig",
    "GatewayConfig",
    "HedgeConfig",
    "ImplicitSignal",
    "JudgeConfig",
    "KeyBudgetConfig",
    "KeyConfig",
    "KeyScope",
    "LearningConfig",
    "ModelEntry",
    "ModelInfo",
    "ModelParams",
    "OutOfDomainConfig",
    "PolicyConfig",
    "PrivacyConfig",
    "RoutingConfig",
    "ShadowConfig",
    "SignalsConfig",
    "StoreConfig",
    "TagsConfig",
    "TelemetryConfig",
    "decode_model_entry",
    "key_name",
    "load_config",
    "parse_config",
]
