"""What a check found."""

from __future__ import annotations

from enum import StrEnum

from mixllm.types import Value

__all__ = ["Finding", "Status", "fail", "ok", "warn"]


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Value, frozen=True, kw_only=True):
    """What a check found, and what to do about it.

    Parameters
    ----------
    check
        What was looked at.
    status
        Whether it is in order; ``fail`` stops a gateway or some of its answers.
    detail
        What was found, without secrets.
    next_step
        What to do; None where nothing is.
    """

    check: str
    status: Status
    detail: str
    next_step: str | None = None


def ok(check: str, detail: str) -> Finding:
    """Return that `check` is in order."""
    return Finding(check=check, status=Status.OK, detail=detail)


def warn(check: str, detail: str, next_step: str) -> Finding:
    """Return what may be wrong with `check`."""
    return Finding(check=check, status=Status.WARN, detail=detail, next_step=next_step)


def fail(check: str, detail: str, next_step: str) -> Finding:
    """Return what is wrong with `check`."""
    return Finding(check=check, status=Status.FAIL, detail=detail, next_step=next_step)
