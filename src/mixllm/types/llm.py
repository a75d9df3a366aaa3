"""An LLM of the pool, and what it costs."""

from __future__ import annotations

from mixllm.errors import InvalidValueError
from mixllm.types.values import MAX_NAME_CHARS, Capability, Endpoint, Value, count_in_range
from mixllm.units import fraction, non_negative, positive, usd_for_tokens

__all__ = ["LLMSpec", "Price"]


class Price(Value, frozen=True, kw_only=True):
    """What an LLM's tokens cost.

    Parameters
    ----------
    usd_per_million_tokens_in, usd_per_million_tokens_out
        Price of a million prompt and answer tokens.
    usd_per_million_tokens_cached_in
        Price of a million prompt tokens read from the provider's cache; None prices them as other prompt tokens.
    usd_per_million_tokens_reasoning
        Price of a million reasoning tokens; None prices them as answer tokens.

    Examples
    --------
    >>> price = Price(usd_per_million_tokens_in=2.5, usd_per_million_tokens_out=10)
    >>> price.cost_usd(tokens_in=1000, tokens_out=100)
    0.0035
    """

    usd_per_million_tokens_in: float
    usd_per_million_tokens_out: float
    usd_per_million_tokens_cached_in: float | None = None
    usd_per_million_tokens_reasoning: float | None = None

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not None:
                non_negative(field, value)

    @property
    def blended_usd_per_million_tokens(self) -> float:
        """One figure for the price: three prompt tokens to one answer token, the usual blend.

        Examples
        --------
        >>> Price(usd_per_million_tokens_in=2.5, usd_per_million_tokens_out=10).blended_usd_per_million_tokens
        4.375
        """
        return (3 * self.usd_per_million_tokens_in + self.usd_per_million_tokens_out) / 4

    def cost_usd(
        self, *, tokens_in: float, tokens_out: float, cached_tokens_in: float = 0, reasoning_tokens: float = 0
    ) -> float:
        """Return the cost of one call.

        Parameters
        ----------
        tokens_in, tokens_out
            All prompt and all answer tokens.
        cached_tokens_in, reasoning_tokens
            How many of those were read from the cache, and spent on reasoning.
        """
        cached_price = self.usd_per_million_tokens_cached_in
        reasoning_price = self.usd_per_million_tokens_reasoning
        cached = 0.0 if cached_price is None else min(cached_tokens_in, tokens_in)
        reasoning = 0.0 if reasoning_price is None else min(reasoning_tokens, tokens_out)
        return (
            usd_for_tokens(tokens_in - cached, self.usd_per_million_tokens_in)
            + usd_for_tokens(cached, cached_price or 0.0)
            + usd_for_tokens(tokens_out - reasoning, self.usd_per_million_tokens_out)
            + usd_for_tokens(reasoning, reasoning_price or 0.0)
        )


class LLMSpec(Value, frozen=True, kw_only=True):
    """One LLM of the pool: what it is called, where it answers, what it costs and what it can do.

    Parameters
    ----------
    name
        Its name in the pool, unique.
    model
        What its endpoint calls it; None takes `name`.
    api_base
        Base URL of its OpenAI-compatible endpoint, ``/v1`` included; None where only the library is used, and for the
        usual endpoint of a `provider`.
    api_key_env
        Name of the environment variable that holds its key. The key itself is not part of the spec.
    price
        What it costs; None looks it up in the shipped price list.
    context_window
        Most tokens of prompt and answer together; None: not known, never a reason to refuse.
    capabilities
        What it can do beyond plain text.
    provider
        The provider whose own protocol its endpoint speaks, by LiteLLM's name (``anthropic``, ``bedrock``); None:
        OpenAI's.
    endpoints
        What it can be called for; nothing is routed to one that has none, such as a generator of images.
    max_in_flight
        Calls that it serves at the same time before further ones wait; None: not known.
    requests_per_minute, tokens_per_minute
        Rate limits of its endpoint, prompt and answer tokens together; None: not known.
    timeout_s
        Total time limit of one call; for a stream, of each silence.
    connect_timeout_s, first_token_timeout_s
        Time limits for the connection, and for the first event of a stream; None takes those of the gateway.
    stream_usage
        Whether its endpoint knows ``stream_options.include_usage``.
    public_score
        Its score in [0, 1] on a public benchmark, the same one for every LLM of the pool that has one; shifts what is
        expected of it before any feedback.
    """

    name: str
    model: str | None = None
    api_base: str | None = None
    api_key_env: str | None = None
    price: Price | None = None
    context_window: int | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.TOOLS, Capability.JSON})
    endpoints: frozenset[Endpoint] = frozenset({Endpoint.CHAT})
    max_in_flight: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_s: float = 120.0
    connect_timeout_s: float | None = None
    first_token_timeout_s: float | None = None
    stream_usage: bool = True
    public_score: float | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= MAX_NAME_CHARS and self.name.isprintable() and self.name.strip() == self.name):
            raise InvalidValueError("name", self.name, f"1 to {MAX_NAME_CHARS} printable characters, no outer spaces")
        if self.name.startswith("mixllm/"):
            raise InvalidValueError("name", self.name, "a name that does not begin with 'mixllm/', which is reserved")
        if self.api_base is not None and not self.api_base.startswith(("http://", "https://")):
            raise InvalidValueError("api_base", self.api_base, "a URL that begins with http:// or https://")
        if self.api_base is not None and "@" in self.api_base.split("/")[2]:
            raise InvalidValueError("api_base", "***", "a URL without a user and password; put the key into api_key")
        count_in_range("context_window", self.context_window, 1)
        for field in ("max_in_flight", "requests_per_minute", "tokens_per_minute"):
            count_in_range(field, getattr(self, field), 1)
        positive("timeout_s", self.timeout_s)
        for field in ("connect_timeout_s", "first_token_timeout_s"):
            limit_s = getattr(self, field)
            if limit_s is not None:
                positive(field, limit_s)
        if self.public_score is not None:
            fraction("public_score", self.public_score)

    @property
    def upstream_model(self) -> str:
        """What the endpoint calls this LLM."""
        return self.model or self.name
