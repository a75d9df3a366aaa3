"""Telling the router that an endpoint refuses calls for now."""

from __future__ import annotations

from mixllm.errors import UpstreamError, UpstreamStatusError
from mixllm.router import RouterCore

__all__ = ["tell_refusal"]

_TOO_MANY = 429
_UNAVAILABLE = 503


def tell_refusal(router: RouterCore, error: UpstreamError) -> None:
    """Have the router leave the LLM alone for as long as its endpoint asks, where `error` is such a refusal.

    That is a 429, or a 503 that says how long; a 503 that does not is a fault like any other.
    """
    if not isinstance(error, UpstreamStatusError):
        return
    if error.status == _TOO_MANY or (error.status == _UNAVAILABLE and error.retry_after_s is not None):
        router.refused(error.llm, error.retry_after_s)
