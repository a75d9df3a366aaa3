"""What is asked."""

from __future__ import annotations

from mixllm.types.values import Capability, Endpoint, Value, check_key_id, count_in_range
from mixllm.units import fraction, non_negative, positive, tokens_from_chars

__all__ = ["Query", "WarmPrefix"]


class WarmPrefix(Value, frozen=True, kw_only=True):
    """The beginning of a prompt that an LLM's provider may still have in its cache.

    Parameters
    ----------
    llm
        The LLM.
    tokens
        How long it is.
    """

    llm: str
    tokens: int

    def __post_init__(self) -> None:
        count_in_range("tokens", self.tokens, 0)


class Query(Value, frozen=True, kw_only=True):
    """One request, as the router sees it.

    Parameters
    ----------
    text
        The last real human ask; this is what is encoded. `mixllm.query_from_messages` finds it in a chat.
    tokens_in
        Tokens of the whole prompt; None estimates them from `prompt_chars`.
    prompt_chars
        Characters of the whole prompt, history and system prompt included; None takes those of `text`.
    max_tokens_out
        The request's own limit on the answer's length, if any.
    needs
        Capabilities that the LLM must have.
    endpoints
        What the LLM may be called for; it must serve one of them.
    allowed_llms
        Names of the LLMs that may answer; None allows the whole pool.
    max_cost_usd
        No LLM whose forecast cost is above this is eligible.
    min_quality
        No LLM whose forecast quality is below this is eligible.
    max_latency_s
        No LLM whose forecast latency is above this is eligible.
    max_ttft_s
        No LLM is eligible whose forecast time to the first token is above this.
    trade_off, deadline_s
        The paper's λ and τ for this query, in place of the router's own.
    streamed
        Whether the answer is wanted as a stream.
    choices
        How many answers are wanted in one call (``n``); each is paid for.
    key_id
        Who asks: a name of the API key that is not the key itself; empty where there is none.
    warm
        What the LLM of the conversation's last turn may have in its cache: it is expected to charge less for that.

    Examples
    --------
    >>> Query(text="What is 2 + 2?").prompt_tokens
    4
    """

    text: str
    tokens_in: int | None = None
    prompt_chars: int | None = None
    max_tokens_out: int | None = None
    needs: frozenset[Capability] = frozenset()
    endpoints: frozenset[Endpoint] = frozenset({Endpoint.CHAT})
    allowed_llms: frozenset[str] | None = None
    max_cost_usd: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    trade_off: float | None = None
    deadline_s: float | None = None
    streamed: bool = False
    choices: int = 1
    key_id: str = ""
    warm: WarmPrefix | None = None

    def __post_init__(self) -> None:
        check_key_id(self.key_id)
        count_in_range("tokens_in", self.tokens_in, 0)
        count_in_range("prompt_chars", self.prompt_chars, 0)
        count_in_range("max_tokens_out", self.max_tokens_out, 1)
        count_in_range("choices", self.choices, 1)
        if self.max_cost_usd is not None:
            non_negative("max_cost_usd", self.max_cost_usd)
        if self.min_quality is not None:
            fraction("min_quality", self.min_quality)
        if self.max_latency_s is not None:
            positive("max_latency_s", self.max_latency_s)
        if self.max_ttft_s is not None:
            positive("max_ttft_s", self.max_ttft_s)
        if self.trade_off is not None:
            non_negative("trade_off", self.trade_off)
        if self.deadline_s is not None:
            positive("deadline_s", self.deadline_s)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt, counted or estimated."""
        if self.tokens_in is not None:
            return self.tokens_in
        return tokens_from_chars(len(self.text) if self.prompt_chars is None else self.prompt_chars)
