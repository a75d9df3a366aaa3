"""What a key makes of a request: its own settings where the request has none, and never more than it may ask for."""

from __future__ import annotations

import msgspec

from mixllm.errors import MixLLMError
from mixllm.gateway.keys import AccessKey
from mixllm.gateway.profiles import AUTO, read_profile
from mixllm.types import Query

__all__ = ["ForbiddenLLMError", "within"]


class ForbiddenLLMError(MixLLMError):
    """A request names an LLM that its key may not use."""

    def __init__(self, llm: str, allowed: frozenset[str]) -> None:
        super().__init__(
            f"This API key may not use {llm[:200]!r}. It may use {', '.join(sorted(allowed))}, and {AUTO!r} to have "
            "one of them chosen."
        )


def within(key: AccessKey, query: Query, *, llm: str | None, trade_off: float) -> tuple[Query, str | None]:
    """Return `query` as `key` lets it be asked, and the LLM that it still names.

    Parameters
    ----------
    key
        Who asks.
    query
        What is asked.
    llm
        The LLM that the request names; None: it is to be chosen.
    trade_off
        The configured λ, which the key's profile shifts.

    Raises
    ------
    ForbiddenLLMError
        Where the key may not use `llm`.

    Notes
    -----
    A named LLM is taken whatever the constraints say. Where the key has a bound on cost or time, it is therefore not
    named any more but the only one allowed, so that the bound holds for it as for any other.
    """
    if key.bounds_nothing:
        return (query if query.key_id == key.key_id else msgspec.structs.replace(query, key_id=key.key_id)), llm
    if key.allowed_llms is not None and llm is not None and not key.allows(llm):
        raise ForbiddenLLMError(llm, key.allowed_llms)
    allowed = query.allowed_llms
    if key.allowed_llms is not None:
        allowed = key.allowed_llms if allowed is None else allowed & key.allowed_llms
    if llm is not None and (key.max_cost_usd, key.max_latency_s, key.max_ttft_s) != (None, None, None):
        allowed, llm = frozenset((llm,)), None
    query = msgspec.structs.replace(
        query,
        key_id=key.key_id,
        allowed_llms=allowed,
        max_cost_usd=_least(query.max_cost_usd, key.max_cost_usd),
        max_latency_s=_least(query.max_latency_s, key.max_latency_s),
        max_ttft_s=_least(query.max_ttft_s, key.max_ttft_s),
    )
    return _with_taste(key, query, trade_off), llm


def _with_taste(key: AccessKey, query: Query, trade_off: float) -> Query:
    if query.trade_off is not None or query.deadline_s is not None:
        return query
    if key.profile is not None:
        profile = read_profile(f"{AUTO}:{key.profile}", trade_off=trade_off)
        assert profile is not None
        return msgspec.structs.replace(query, trade_off=profile.trade_off, deadline_s=profile.deadline_s)
    return query if key.trade_off is None else msgspec.structs.replace(query, trade_off=key.trade_off)


def _least(asked: float | None, most: float | None) -> float | None:
    return most if asked is None else asked if most is None else min(asked, most)
