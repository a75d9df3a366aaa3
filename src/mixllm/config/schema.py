"""The shape of the configuration: LiteLLM's ``model_list`` for the pool, and a section for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from mixllm.errors import ConfigError, InvalidValueError
from mixllm.types import Capability, LLMSpec, Price, Secret
from mixllm.units import TOKENS_PER_MILLION, non_negative, positive

__all__ = [
    "Config",
    "DomainConfig",
    "EncoderConfig",
    "GatewayConfig",
    "LearningConfig",
    "ModelEntry",
    "ModelInfo",
    "ModelParams",
    "PolicyConfig",
    "PrivacyConfig",
    "RoutingConfig",
    "StoreConfig",
    "TagsConfig",
]

_ENV_REFERENCE = "os.environ/"

_PROVIDER_BASES = {
    "openai": "https://api.openai.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "together_ai": "https://api.together.xyz/v1",
    "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "xai": "https://api.x.ai/v1",
}
"""OpenAI-compatible providers that LiteLLM knows by prefix; any other needs an api_base."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections."""


class ModelParams(Section, frozen=True, kw_only=True):
    """LiteLLM's ``litellm_params``: where and how the LLM is called.

    Parameters
    ----------
    model
        Name at its endpoint, with a provider's prefix (``openai/gpt-4o``) or without.
    api_base, api_key
        Endpoint and key; the key literally or as ``os.environ/NAME``.
    timeout
        Total time limit of a call in seconds.
    max_parallel_requests
        Calls that it serves at the same time.
    input_cost_per_token, output_cost_per_token
        Price in USD, where the shipped list does not know it.
    rpm, tpm
        Rate limits; kept, not yet used.
    """

    model: str
    api_base: str | None = None
    api_key: Secret | None = None
    timeout: float = 120.0
    max_parallel_requests: int | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    rpm: int | None = None
    tpm: int | None = None


class ModelInfo(Section, frozen=True, kw_only=True):
    """LiteLLM's ``model_info``: what the LLM costs and can do.

    Parameters
    ----------
    input_cost_per_token, output_cost_per_token, cache_read_input_token_cost, output_cost_per_reasoning_token
        Prices in USD; they go before those of ``litellm_params``.
    max_input_tokens
        Context window.
    supports_function_calling, supports_response_schema, supports_vision, supports_audio_input
        Capabilities.
    stream_usage
        Whether its endpoint knows ``stream_options.include_usage``.
    id, mode, base_model, max_tokens, max_output_tokens
        LiteLLM's own; accepted and not used.
    """

    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_input_token_cost: float | None = None
    output_cost_per_reasoning_token: float | None = None
    max_input_tokens: int | None = None
    supports_function_calling: bool = True
    supports_response_schema: bool = True
    supports_vision: bool = False
    supports_audio_input: bool = False
    stream_usage: bool = True
    id: str | None = None
    mode: str | None = None
    base_model: str | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None


class ModelEntry(Section, frozen=True, kw_only=True):
    """One entry of ``model_list``.

    Parameters
    ----------
    model_name
        Name in the pool.
    litellm_params, model_info
        See `ModelParams` and `ModelInfo`.
    """

    model_name: str
    litellm_params: ModelParams
    model_info: ModelInfo = ModelInfo()

    def spec(self) -> LLMSpec:
        """Return the entry as an LLM of the pool; raises `ConfigError` where it cannot be one."""
        params, info = self.litellm_params, self.model_info
        model, api_base = self._endpoint()
        key = params.api_key.reveal() if params.api_key is not None else ""
        try:
            return LLMSpec(
                name=self.model_name,
                model=model,
                api_base=api_base,
                api_key_env=key.removeprefix(_ENV_REFERENCE) if key.startswith(_ENV_REFERENCE) else None,
                price=self._price(),
                context_window=info.max_input_tokens,
                capabilities=self._capabilities(),
                max_in_flight=params.max_parallel_requests,
                timeout_s=params.timeout,
                stream_usage=info.stream_usage,
            )
        except InvalidValueError as error:
            raise ConfigError(f"model_list entry {self.model_name!r}: {error}") from error

    def secret(self) -> Secret | None:
        """Return the key where it is written literally, None where it is in the environment or absent."""
        key = self.litellm_params.api_key
        return None if key is None or key.reveal().startswith(_ENV_REFERENCE) else key

    def _endpoint(self) -> tuple[str, str]:
        params = self.litellm_params
        provider, slash, bare = params.model.partition("/")
        known = bool(slash) and provider in _PROVIDER_BASES
        if params.api_base is not None:
            return (bare if known else params.model), params.api_base.rstrip("/")
        if known:
            return bare, _PROVIDER_BASES[provider]
        raise ConfigError(
            f"model_list entry {self.model_name!r}: no api_base is given, and {params.model!r} names no provider with "
            f"a known OpenAI-compatible endpoint ({', '.join(sorted(_PROVIDER_BASES))}). Give litellm_params.api_base."
        )

    def _price(self) -> Price | None:
        params, info = self.litellm_params, self.model_info
        tokens_in = info.input_cost_per_token if info.input_cost_per_token is not None else params.input_cost_per_token
        tokens_out = (
            info.output_cost_per_token if info.output_cost_per_token is not None else params.output_cost_per_token
        )
        if tokens_in is None and tokens_out is None:
            return None
        if tokens_in is None or tokens_out is None:
            raise ConfigError(
                f"model_list entry {self.model_name!r}: input_cost_per_token and output_cost_per_token go together. "
                "Give both."
            )
        return Price(
            usd_per_million_tokens_in=tokens_in * TOKENS_PER_MILLION,
            usd_per_million_tokens_out=tokens_out * TOKENS_PER_MILLION,
            usd_per_million_tokens_cached_in=_per_million(info.cache_read_input_token_cost),
            usd_per_million_tokens_reasoning=_per_million(info.output_cost_per_reasoning_token),
        )

    def _capabilities(self) -> frozenset[Capability]:
        info = self.model_info
        offered = {
            Capability.TOOLS: info.supports_function_calling,
            Capability.JSON: info.supports_response_schema,
            Capability.VISION: info.supports_vision,
            Capability.AUDIO: info.supports_audio_input,
        }
        return frozenset(capability for capability, yes in offered.items() if yes)


def _per_million(usd_per_token: float | None) -> float | None:
    return None if usd_per_token is None else usd_per_token * TOKENS_PER_MILLION


class PolicyConfig(Section, frozen=True, kw_only=True):
    """How scores become a choice.

    Parameters
    ----------
    name
        ``greedy``, ``ucb``, ``squarecb`` or ``thompson``.
    exploration
        ``ucb``: α.
    gap_weight
        ``squarecb``: γ.
    scale
        ``thompson``: multiplies the standard deviations.
    max_cost_ratio, min_quality
        Bounds on exploration (see `mixllm.decision.ExplorationBounds`).
    warmup_judgements, warmup_share
        LLMs judged less often than this get this share of the traffic between them; 0 switches it off.
    """

    name: Literal["greedy", "ucb", "squarecb", "thompson"] = "ucb"
    exploration: float = 0.01
    gap_weight: float = 100.0
    scale: float = 1.0
    max_cost_ratio: float | None = None
    min_quality: float | None = None
    warmup_judgements: int = 0
    warmup_share: float = 0.2


class RoutingConfig(Section, frozen=True, kw_only=True):
    """How quality, cost and time are traded.

    Parameters
    ----------
    trade_off
        λ (written ``lambda`` in the file): 1.4 is the paper's; the larger, the more quality counts.
    reference_llm
        The LLM whose mean cost is the scale of cost; None takes the dearest.
    wait_weight, wait_steepness_per_s, wait_onset, deadline_s
        β, γ, ξ and τ of the waiting penalty (see `mixllm.decision.ScoreWeights`).
    policy
        How scores become a choice.
    """

    trade_off: float = msgspec.field(default=1.4, name="lambda")
    reference_llm: str | None = None
    wait_weight: float = 0.1
    wait_steepness_per_s: float = 0.5
    wait_onset: float = 0.8
    deadline_s: float = 30.0
    policy: PolicyConfig = PolicyConfig()

    def __post_init__(self) -> None:
        non_negative("lambda", self.trade_off)


class EncoderConfig(Section, frozen=True, kw_only=True):
    """Which encoder turns text into vectors.

    Parameters
    ----------
    kind
        ``wordllama`` (shipped), ``folder`` (a local model2vec folder) or ``hashing`` (for tests).
    path
        The folder, for ``folder``.
    max_chars
        Longer texts are bounded to this, head and tail.
    """

    kind: Literal["wordllama", "folder", "hashing"] = "wordllama"
    path: str | None = None
    max_chars: int = 8000


class DomainConfig(Section, frozen=True, kw_only=True):
    """A domain of queries: its name, and words that its queries use."""

    name: str
    description: str


class TagsConfig(Section, frozen=True, kw_only=True):
    """How queries are tagged and their vectors shortened.

    Parameters
    ----------
    domains
        The domains; empty takes the shipped ones.
    temperature
        Softness of the tags.
    projection_dimension
        Length of the shortened vector.
    """

    domains: tuple[DomainConfig, ...] = ()
    temperature: float = 0.05
    projection_dimension: int = 64


class LearningConfig(Section, frozen=True, kw_only=True):
    """How learning goes.

    Parameters
    ----------
    checkpoint_interval_s
        How often learned state is kept.
    recipe
        Priors and noise by name (see `mixllm.learning.Recipe`); what is not named keeps its default.
    """

    checkpoint_interval_s: float = 30.0
    recipe: Mapping[str, float] = {}

    def __post_init__(self) -> None:
        positive("checkpoint_interval_s", self.checkpoint_interval_s)


class StoreConfig(Section, frozen=True, kw_only=True):
    """Where decisions, outcomes, feedback and learned state live.

    Parameters
    ----------
    kind
        ``sqlite`` or ``memory`` (nothing survives a restart).
    path
        The database file, for ``sqlite``.
    max_commit_delay_s
        Decisions and outcomes of at most this long can be lost when the process is killed; feedback never.
    """

    kind: Literal["sqlite", "memory"] = "sqlite"
    path: str = "mixllm.db"
    max_commit_delay_s: float = 0.02


class GatewayConfig(Section, frozen=True, kw_only=True):
    """The HTTP server.

    Parameters
    ----------
    host, port
        Where it listens; anything but loopback needs `api_keys`.
    api_keys
        Keys that clients must present, literally or as ``os.environ/NAME``; empty: none is asked for.
    max_body_bytes
        Larger requests are refused.
    connect_timeout_s
        Time limit for connecting to an LLM's endpoint.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[Secret, ...] = ()
    max_body_bytes: int = 4 * 1024 * 1024
    connect_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidValueError("port", self.port, "between 0 and 65535")
        if self.max_body_bytes < 1024:
            raise InvalidValueError("max_body_bytes", self.max_body_bytes, ">= 1024")
        positive("connect_timeout_s", self.connect_timeout_s)


class PrivacyConfig(Section, frozen=True, kw_only=True):
    """What is kept of people's texts.

    Parameters
    ----------
    store_prompts
        Whether the store keeps the text that was encoded; its vector is kept in any case, for learning.
    """

    store_prompts: bool = False


class Config(Section, frozen=True, kw_only=True):
    """A whole configuration; every section has defaults but the pool, which may come later at run time."""

    model_list: tuple[ModelEntry, ...] = ()
    routing: RoutingConfig = RoutingConfig()
    encoder: EncoderConfig = EncoderConfig()
    tags: TagsConfig = TagsConfig()
    learning: LearningConfig = LearningConfig()
    store: StoreConfig = StoreConfig()
    gateway: GatewayConfig = GatewayConfig()
    privacy: PrivacyConfig = PrivacyConfig()

    def __post_init__(self) -> None:
        names = [entry.model_name for entry in self.model_list]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidValueError("model_list", twice, "without two entries of the same model_name")

    def specs(self) -> tuple[LLMSpec, ...]:
        """Return the pool."""
        return tuple(entry.spec() for entry in self.model_list)

    def secrets(self) -> dict[str, Secret]:
        """Return the literal keys, by LLM."""
        found = {entry.model_name: entry.secret() for entry in self.model_list}
        return {name: secret for name, secret in found.items() if secret is not None}
