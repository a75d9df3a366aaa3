"""The configuration: one YAML file, and ``MIXLLM_*`` variables over it."""

from mixllm.config.pool import ModelEntry, ModelInfo, ModelParams
from mixllm.config.reading import decode_model_entry, load_config, parse_config
from mixllm.config.schema import (
    Config,
    DomainConfig,
    EncoderConfig,
    GatewayConfig,
    LearningConfig,
    OutOfDomainConfig,
    PolicyConfig,
    PrivacyConfig,
    RoutingConfig,
    StoreConfig,
    TagsConfig,
)

__all__ = [
    "Config",
    "DomainConfig",
    "EncoderConfig",
    "GatewayConfig",
    "LearningConfig",
    "ModelEntry",
    "ModelInfo",
    "ModelParams",
    "OutOfDomainConfig",
    "PolicyConfig",
    "PrivacyConfig",
    "RoutingConfig",
    "StoreConfig",
    "TagsConfig",
    "decode_model_entry",
    "load_config",
    "parse_config",
]
