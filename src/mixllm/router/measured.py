"""The facts of a call, with a cost where its tokens tell it."""

from __future__ import annotations

import msgspec

from mixllm.types import Outcome, Price

__all__ = ["measured"]


def measured(outcome: Outcome, *, llm: str, key_id: str, price: Price | None, in_flight: int | None = None) -> Outcome:
    """Return `outcome` with the LLM, the key and what was under way filled in, and its cost where that is not given.

    The measured cost where the caller knows it, else the tokens at `price`, which the LLM had when it was chosen; never
    the forecast.

    Examples
    --------
    >>> price = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
    >>> measured(Outcome(tokens_in=100, tokens_out=50), llm="a", key_id="", price=price).cost_usd
    0.0002
    >>> measured(Outcome(tokens_out=50), llm="a", key_id="", price=price).cost_usd is None
    True
    """
    cost_usd = outcome.cost_usd
    if cost_usd is None and price is not None and outcome.tokens_in is not None and outcome.tokens_out is not None:
        cost_usd = price.cost_usd(
            tokens_in=outcome.tokens_in,
            tokens_out=outcome.tokens_out,
            cached_tokens_in=outcome.cached_tokens_in,
            reasoning_tokens=outcome.reasoning_tokens,
        )
    return msgspec.structs.replace(outcome, llm=llm, cost_usd=cost_usd, key_id=key_id, in_flight=in_flight)
