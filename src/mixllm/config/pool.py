"""The pool, in the shape of LiteLLM's ``model_list``."""

from __future__ import annotations

from mixllm.config.section import Section, check_given
from mixllm.errors import ConfigError, InvalidValueError
from mixllm.types import Capability, Endpoint, LLMSpec, Price, Secret
from mixllm.units import TOKENS_PER_MILLION, fraction, non_negative, positive

__all__ = ["ModelEntry", "ModelInfo", "ModelParams"]

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


_OTHER_PROTOCOLS = frozenset(
    {"anthropic", "azure", "azure_ai", "bedrock", "cohere", "gemini", "sagemaker", "vertex_ai", "watsonx"}
)
"""Providers that are called in their own protocol, through LiteLLM."""

_MODES = {
    "chat": Endpoint.CHAT,
    "completion": Endpoint.CHAT,
    "responses": Endpoint.RESPONSES,
    "embedding": Endpoint.EMBEDDINGS,
}
_PATHS = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
}


class ModelParams(Section, frozen=True, kw_only=True):
    """LiteLLM's ``litellm_params``: where and how the LLM is called.

    Parameters
    ----------
    model
        Name at its endpoint, with a provider's prefix (``openai/gpt-4o``) or without.
    api_base, api_key
        Endpoint and key; the key literally or as ``os.environ/NAME``.
    timeout
        Total time limit of a call in seconds; for a stream, of each silence.
    stream_timeout, connect_timeout
        Time limits for the first event of a stream, and for the connection, in seconds.
    max_parallel_requests
        Calls that it serves at the same time.
    input_cost_per_token, output_cost_per_token
        Price in USD, where the shipped list does not know it.
    rpm, tpm
        Requests and tokens that it takes in a minute.
    """

    model: str
    api_base: str | None = None
    api_key: Secret | None = None
    timeout: float = 120.0
    stream_timeout: float | None = None
    connect_timeout: float | None = None
    max_parallel_requests: int | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    rpm: int | None = None
    tpm: int | None = None

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InvalidValueError("model", self.model, "a name")
        positive("timeout", self.timeout)
        check_given(positive, self, "stream_timeout", "connect_timeout", "max_parallel_requests", "rpm", "tpm")
        check_given(non_negative, self, "input_cost_per_token", "output_cost_per_token")


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
    public_score
        Its score in [0, 1] on a public benchmark, the same one for every LLM that has one.
    mode
        What it is called for: ``chat`` (the default), ``responses``, or ``embedding``; nothing is routed to any other.
    supported_endpoints
        The same, where it serves several: ``/v1/chat/completions``, ``/v1/responses``, ``/v1/embeddings``; what else
        is listed is not used.
    id, base_model, max_tokens, max_output_tokens
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
    public_score: float | None = None
    id: str | None = None
    mode: str | None = None
    supported_endpoints: tuple[str, ...] = ()
    base_model: str | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None

    def __post_init__(self) -> None:
        check_given(positive, self, "max_input_tokens")
        check_given(fraction, self, "public_score")
        check_given(
            non_negative,
            self,
            "input_cost_per_token",
            "output_cost_per_token",
            "cache_read_input_token_cost",
            "output_cost_per_reasoning_token",
        )


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
        provider, model, api_base = self._endpoint()
        try:
            return LLMSpec(
                name=self.model_name,
                model=model,
                api_base=api_base,
                provider=provider,
                api_key_env=self._key_variable(),
                price=self._price(),
                context_window=info.max_input_tokens,
                capabilities=self._capabilities(),
                endpoints=self._endpoints(),
                max_in_flight=params.max_parallel_requests,
                requests_per_minute=params.rpm,
                tokens_per_minute=params.tpm,
                timeout_s=params.timeout,
                connect_timeout_s=params.connect_timeout,
                first_token_timeout_s=params.stream_timeout,
                stream_usage=info.stream_usage,
                public_score=info.public_score,
            )
        except InvalidValueError as error:
            raise ConfigError(f"model_list entry {self.model_name!r}: {error}") from error

    def secret(self) -> Secret | None:
        """Return the key where it is written literally, None where it is in the environment or absent."""
        key = self.litellm_params.api_key
        return None if key is None or key.reveal().startswith(_ENV_REFERENCE) else key

    def _key_variable(self) -> str | None:
        key = self.litellm_params.api_key
        if key is None or not key.reveal().startswith(_ENV_REFERENCE):
            return None
        variable = key.reveal().removeprefix(_ENV_REFERENCE).strip()
        if not variable:
            raise ConfigError(
                f"model_list entry {self.model_name!r}: api_key names no variable. Write it as os.environ/NAME."
            )
        return variable

    def _endpoint(self) -> tuple[str | None, str, str | None]:
        """Return the provider where it has a protocol of its own, the model's name there, and the endpoint."""
        params = self.litellm_params
        provider, slash, bare = params.model.partition("/")
        if slash and provider in _OTHER_PROTOCOLS:
            return provider, bare, None if params.api_base is None else params.api_base.rstrip("/")
        known = bool(slash) and provider in _PROVIDER_BASES
        if params.api_base is not None:
            return None, (bare if known else params.model), params.api_base.rstrip("/")
        if known:
            return None, bare, _PROVIDER_BASES[provider]
        known_ones = ", ".join(sorted({*_PROVIDER_BASES, *_OTHER_PROTOCOLS}))
        raise ConfigError(
            f"model_list entry {self.model_name!r}: no api_base is given, and {params.model!r} names no provider with "
            f"a known endpoint ({known_ones}). Give litellm_params.api_base."
        )

    def _price(self) -> Price | None:
        params, info = self.litellm_params, self.model_info
        tokens_in = info.input_cost_per_token if info.input_cost_per_token is not None else params.input_cost_per_token
        tokens_out = (
            info.output_cost_per_token if info.output_cost_per_token is not None else params.output_cost_per_token
        )
        if tokens_in is None and tokens_out is None:
            return None
        if info.mode == "embedding":
            tokens_out = tokens_out or 0.0
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

    def _endpoints(self) -> frozenset[Endpoint]:
        info = self.model_info
        named = frozenset(_PATHS[path] for path in info.supported_endpoints if path in _PATHS)
        if info.mode is not None:
            return named | ({_MODES[info.mode]} if info.mode in _MODES else frozenset())
        return named or frozenset({Endpoint.CHAT})


def _per_million(usd_per_token: float | None) -> float | None:
    return None if usd_per_token is None else usd_per_token * TOKENS_PER_MILLION
