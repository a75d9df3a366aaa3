"""How an LLM is asked for tags: sizes, limits and patience."""

from __future__ import annotations

from mixllm.errors import InvalidValueError
from mixllm.types import Value
from mixllm.units import non_negative, positive

__all__ = ["TaggingSettings"]

_BOUNDS = {
    "batch_size": (1, 100),
    "concurrency": (1, 256),
    "max_query_chars": (16, 100_000),
    "max_tags": (1, 20),
    "reasoning_tokens": (0, 100_000),
    "max_attempts": (1, 10),
    "max_retries": (0, 100),
    "max_useless_calls": (1, 10_000),
}


class TaggingSettings(Value, frozen=True, kw_only=True):
    """How an LLM is asked for tags.

    Parameters
    ----------
    batch_size
        Queries of one call, 1 to 100.
    concurrency
        Calls under way at the same time, 1 to 256.
    max_query_chars
        A longer query is shortened to its beginning and its end.
    max_tags
        Most tags of one query, 1 to 20.
    reasoning_tokens
        Tokens that the LLM may think for in each call. Above 0 the request is one for reasoning models: it has
        ``max_completion_tokens`` in place of ``max_tokens``, and no temperature.
    max_attempts
        Calls for the same queries that may bring nothing usable before they are split in two; a single query fails.
    max_retries
        Calls in a row that may fail (429, 5xx, a timeout, a broken answer) before the run ends with their error.
    max_useless_calls
        Answers in a row without one usable tag before the run ends: such an LLM does not understand the task.
    first_backoff_s, longest_backoff_s
        Wait after a failure; it doubles with each further one, up to the longest.
    longest_wait_s
        Where an endpoint asks for a longer wait than this, the run ends with its error.
    max_cost_usd
        No call is made that could take the cost of the whole job, earlier runs included, above this; None: no cap.

    Raises
    ------
    InvalidValueError
        Where a value is out of range.
    """

    batch_size: int = 10
    concurrency: int = 4
    max_query_chars: int = 2000
    max_tags: int = 5
    reasoning_tokens: int = 0
    max_attempts: int = 2
    max_retries: int = 6
    max_useless_calls: int = 25
    first_backoff_s: float = 1.0
    longest_backoff_s: float = 60.0
    longest_wait_s: float = 600.0
    max_cost_usd: float | None = None

    def __post_init__(self) -> None:
        for field, (least, most) in _BOUNDS.items():
            count = getattr(self, field)
            if type(count) is not int or not least <= count <= most:
                raise InvalidValueError(field, count, f"a whole number from {least} to {most}")
        for field in ("first_backoff_s", "longest_backoff_s", "longest_wait_s"):
            positive(field, getattr(self, field))
        if self.max_cost_usd is not None:
            non_negative("max_cost_usd", self.max_cost_usd)
