"""What an error of an endpoint says: whose fault it is, who else may be asked, and in how few words to tell it."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from mixllm.errors import UpstreamError, UpstreamProtocolError, UpstreamStatusError, UpstreamTimeoutError

__all__ = ["Blame", "Fault", "RequestTimeoutError", "fault_of"]

_OF_THE_REQUEST = frozenset({400, 409, 413, 414, 415, 422, 431})
_BUSY = 429
_UNAVAILABLE = 503
_OVERFLOW_STATUSES = frozenset({400, 413, 422})
_OVERFLOWS = (
    b"context_length_exceeded",
    b"maximum context length",
    b"context window",
    b"context length",
    b"prompt is too long",
    b"too many tokens",
)


class RequestTimeoutError(UpstreamTimeoutError):
    """The time of the whole request is over; that says little of the LLM that was called last."""


class Blame(Enum):
    """Whose fault a failure is."""

    REQUEST = auto()
    """No other LLM would take it either: it is passed on as it came."""
    OVERFLOW = auto()
    """Too long for this LLM's context window; one with a larger window may take it."""
    BUSY = auto()
    """The LLM is well, and has too much to do."""
    LLM = auto()
    """The LLM, its endpoint, or the way there."""
    TIME = auto()
    """The request's own time is over."""


class Fault(NamedTuple):
    """A failure, in short.

    Parameters
    ----------
    blame
        Whose fault it is.
    word
        What happened, in a few words that are safe for a header and few enough for a metric's label.
    passing
        Whether the same LLM may well answer the same request a moment later.
    retry_after_s
        How long the endpoint asks to wait; None where it does not.
    """

    blame: Blame
    word: str
    passing: bool = False
    retry_after_s: float | None = None


def fault_of(error: UpstreamError) -> Fault:
    """Return what `error` says.

    Examples
    --------
    >>> fault_of(UpstreamStatusError("a", 429, retry_after_s=2.0))
    Fault(blame=<Blame.BUSY: 3>, word='status 429', passing=True, retry_after_s=2.0)
    >>> fault_of(UpstreamStatusError("a", 400, b'{"error": {"code": "context_length_exceeded"}}')).blame
    <Blame.OVERFLOW: 2>
    """
    if isinstance(error, UpstreamStatusError):
        return _of_status(error)
    if isinstance(error, RequestTimeoutError):
        return Fault(Blame.TIME, "out of time")
    if isinstance(error, UpstreamTimeoutError):
        return Fault(Blame.LLM, "timeout")
    if isinstance(error, UpstreamProtocolError):
        return Fault(Blame.LLM, "unusable answer")
    return Fault(Blame.LLM, "no connection", passing=True)


def _of_status(error: UpstreamStatusError) -> Fault:
    status, word = error.status, f"status {error.status}"
    if status in _OVERFLOW_STATUSES and any(sign in error.body.lower() for sign in _OVERFLOWS):
        return Fault(Blame.OVERFLOW, "context too long")
    if status in _OF_THE_REQUEST:
        return Fault(Blame.REQUEST, word)
    if status == _BUSY:
        return Fault(Blame.BUSY, word, passing=True, retry_after_s=error.retry_after_s)
    return Fault(Blame.LLM, word, passing=status == _UNAVAILABLE, retry_after_s=error.retry_after_s)
