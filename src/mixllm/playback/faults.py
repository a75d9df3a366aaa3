"""Faults that a playback server can be told to have, for each LLM, at start and at run time."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from mixllm.errors import InvalidValueError, UnknownLLMError
from mixllm.types import Value
from mixllm.units import fraction, non_negative

__all__ = [
    "BrokenStream",
    "ConnectionDrop",
    "EmptyAnswer",
    "ErrorStatus",
    "Fault",
    "FaultBoard",
    "Garbage",
    "Hang",
    "Slow",
]


class _Fault(Value, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What all faults have.

    Parameters
    ----------
    rate
        Probability that a request meets the fault.
    limit
        Most requests that meet it; None: no limit.
    """

    rate: float = 1.0
    limit: int | None = None

    def __post_init__(self) -> None:
        fraction("rate", self.rate)
        if self.limit is not None and self.limit < 1:
            raise InvalidValueError("limit", self.limit, ">= 1")


class ErrorStatus(_Fault, frozen=True, kw_only=True, tag="error"):
    """An answer with an error status, in OpenAI's shape.

    Parameters
    ----------
    status
        HTTP status, 400 to 599.
    retry_after_s
        Becomes the header ``Retry-After``.
    """

    status: int = 503
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 400 <= self.status <= 599:
            raise InvalidValueError("status", self.status, "between 400 and 599")
        if self.retry_after_s is not None:
            non_negative("retry_after_s", self.retry_after_s)


class Hang(_Fault, frozen=True, kw_only=True, tag="hang"):
    """No answer until the client leaves, or `for_s` has passed; then the answer comes as usual."""

    for_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.for_s is not None:
            non_negative("for_s", self.for_s)


class Slow(_Fault, frozen=True, kw_only=True, tag="slow"):
    """Everything takes `factor` times as long, and `add_s` more before the first token, whatever the time scale."""

    factor: float = 1.0
    add_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative("factor", self.factor)
        non_negative("add_s", self.add_s)


class Garbage(_Fault, frozen=True, kw_only=True, tag="garbage"):
    """Status 200 and the right content type, but neither JSON nor a chunk."""


class BrokenStream(_Fault, frozen=True, kw_only=True, tag="broken_stream"):
    """The connection closes after `after_chunks` chunks; a whole answer breaks off in its middle."""

    after_chunks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.after_chunks < 0:
            raise InvalidValueError("after_chunks", self.after_chunks, ">= 0")


class EmptyAnswer(_Fault, frozen=True, kw_only=True, tag="empty"):
    """An answer without a single token."""


class ConnectionDrop(_Fault, frozen=True, kw_only=True, tag="drop"):
    """The connection closes without an answer."""


Fault: TypeAlias = ErrorStatus | Hang | Slow | Garbage | BrokenStream | EmptyAnswer | ConnectionDrop
"""One fault; as JSON its ``kind`` says which: error, hang, slow, garbage, broken_stream, empty, drop."""


class FaultBoard:
    """Which LLM has which faults now.

    A request meets the first fault of its LLM that strikes. Each LLM draws from a generator of its own, so that the
    faults of one do not depend on the traffic of others.

    Parameters
    ----------
    llms
        Names of the LLMs there are.
    faults
        Faults to begin with, by LLM.
    seed
        Seed of the draws.

    Examples
    --------
    >>> board = FaultBoard(llms=["a", "b"], faults={"a": [ErrorStatus(status=429, limit=1)]})
    >>> board.strike("a").status, board.strike("a"), board.strike("b")
    (429, None, None)
    """

    def __init__(
        self, *, llms: Sequence[str], faults: Mapping[str, Sequence[Fault]] | None = None, seed: int = 0
    ) -> None:
        self.llms = tuple(llms)
        self.seed = seed
        self._faults: dict[str, tuple[Fault, ...]] = {}
        self._strikes: dict[str, list[int]] = {}
        self._draws = {llm: np.random.default_rng([seed, zlib.crc32(llm.encode())]) for llm in self.llms}
        for llm, given in (faults or {}).items():
            self.put(llm, given)

    def put(self, llm: str, faults: Sequence[Fault]) -> None:
        """Replace the faults of `llm`; none at all makes it healthy. Raises `UnknownLLMError`."""
        if llm not in self._draws:
            raise UnknownLLMError(llm, self.llms)
        # One assignment of a whole new dictionary: the server may read in another thread.
        self._strikes = {**self._strikes, llm: [0] * len(faults)}
        self._faults = {**{name: kept for name, kept in self._faults.items() if name != llm}, llm: tuple(faults)}

    def current(self) -> dict[str, tuple[Fault, ...]]:
        """Return the faults by LLM, without the healthy ones."""
        return {llm: faults for llm, faults in self._faults.items() if faults}

    def strike(self, llm: str) -> Fault | None:
        """Return the fault that the next request to `llm` meets, or None."""
        faults = self._faults.get(llm)
        if not faults:
            return None
        strikes, draws = self._strikes[llm], self._draws[llm]
        for place, fault in enumerate(faults):
            spent = fault.limit is not None and strikes[place] >= fault.limit
            if not spent and (fault.rate >= 1 or draws.random() < fault.rate):
                strikes[place] += 1
                return fault
        return None
