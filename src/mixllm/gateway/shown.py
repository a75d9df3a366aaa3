"""What a key may be told of LLMs: where it may use some alone, it learns nothing of the others."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from mixllm.errors import NoEligibleLLMError, PoolBusyError, UnknownLLMError
from mixllm.gateway.access import key_of
from mixllm.gateway.keys import AccessKey
from mixllm.types import Decision, ShadowChoice, StoredDecision

__all__ = ["decision_for", "error_for", "stored_for"]

_NOT_THERE = "not in the pool at present"


def error_for(request: Request, error: Exception) -> Exception:
    """Return `error` as the key of `request` may read it: without the LLMs that the key may not use."""
    key = key_of(request)
    if _sees_all(key):
        return error
    assert key.allowed_llms is not None
    if isinstance(error, UnknownLLMError):
        unknown = UnknownLLMError(error.name, seen := key.allowed_llms.intersection(error.known))
        if not seen:
            unknown.args = (f"{error.name[:200]!r} is {_NOT_THERE}, nor is any other LLM that this API key may use.",)
        return unknown
    if not isinstance(error, NoEligibleLLMError) or not error.reasons:
        return error
    reasons = {llm: reason for llm, reason in error.reasons.items() if key.allows(llm)}
    reasons = reasons or dict.fromkeys(sorted(key.allowed_llms), _NOT_THERE)
    if isinstance(error, PoolBusyError):
        return PoolBusyError(reasons, retry_after_s=error.retry_after_s)
    return NoEligibleLLMError(reasons)


def stored_for(key: AccessKey, stored: StoredDecision) -> StoredDecision:
    """Return what became of a decision as `key` may read it."""
    return msgspec.structs.replace(stored, decision=decision_for(key, stored.decision))


def decision_for(key: AccessKey, decision: Decision) -> Decision:
    """Return `decision` as `key` may read it: without the LLMs that it may not use, but the one that was chosen.

    Propensities are those of all candidates: what is left of them may sum to less than 1.
    """
    if _sees_all(key):
        return decision

    def seen(llm: str) -> bool:
        return llm == decision.llm or key.allows(llm)

    places = [place for place, one in enumerate(decision.candidates) if seen(one.llm)]
    return msgspec.structs.replace(
        decision,
        candidates=tuple(decision.candidates[place] for place in places),
        ineligible=tuple(one for one in decision.ineligible if seen(one.llm)),
        shadow=tuple(_shadow_for(places, one) for one in decision.shadow if seen(one.llm)),
    )


def _shadow_for(places: list[int], shadow: ShadowChoice) -> ShadowChoice:
    return msgspec.structs.replace(shadow, propensities=tuple(shadow.propensities[place] for place in places))


def _sees_all(key: AccessKey) -> bool:
    return key.allowed_llms is None or key.may(("admin",))
