"""Decisions, one after another, gathered into columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.maker import FORCED
from mixllm.errors import InvalidValueError, LogError
from mixllm.evaluation.offpolicy.logged import LoggedDecisions

__all__ = ["CandidateRow", "DecisionRow", "Gathered"]


class CandidateRow(NamedTuple):
    """A candidate: who, how probable, how scored, what was forecast."""

    llm: str
    propensity: float
    score: float
    quality_mean: float
    quality_std: float
    cost_usd_mean: float
    judgements: float


class DecisionRow(NamedTuple):
    """A decision that a policy made, and what came of it; NaN where that is not known."""

    llm: str
    policy: str
    trade_off: float
    cost_scale_usd: float
    quality: float
    cost_usd: float
    candidates: Sequence[CandidateRow]


class Gathered:
    """Columns under way; what cannot be used is counted."""

    def __init__(self) -> None:
        self._rows: list[DecisionRow] = []
        self._llms: dict[str, int] = {}
        self.forced = 0
        self.without_outcome = 0
        self.incomplete = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: DecisionRow) -> bool:
        """Add a decision and return True, or count it where it cannot be used."""
        if row.policy == FORCED:
            self.forced += 1
        elif np.isnan(row.quality) and np.isnan(row.cost_usd):
            self.without_outcome += 1
        elif all(candidate.llm != row.llm for candidate in row.candidates):
            self.incomplete += 1
        else:
            for candidate in row.candidates:
                self._llms.setdefault(candidate.llm, len(self._llms))
            self._rows.append(row)
            return True
        return False

    def columns(self, *, newest_first: bool, name: str) -> LoggedDecisions:
        """Return what was gathered, oldest first; raises `LogError` where there is nothing, or it contradicts itself.

        Parameters
        ----------
        newest_first
            Whether the decisions came in that order.
        name
            What the source is called in errors.
        """
        if not self._rows:
            raise LogError(
                f"{name} holds no decision of a policy with an outcome ({self.forced} named their LLM, "
                f"{self.without_outcome} have no outcome). Route some traffic, and record what came of it."
            )
        rows = self._rows[::-1] if newest_first else self._rows
        places = [(n, self._llms[one.llm]) for n, row in enumerate(rows) for one in row.candidates]
        index = tuple(np.array(places).T)
        every = np.array([one[1:] for row in rows for one in row.candidates], dtype=np.float64)
        shape = (len(rows), len(self._llms))

        def table(column: int, elsewhere: float) -> NDArray[np.float64]:
            filled = np.full(shape, elsewhere)
            filled[index] = every[:, column]
            return filled

        candidates = np.zeros(shape, np.bool_)
        candidates[index] = True
        try:
            return LoggedDecisions(
                llms=tuple(self._llms),
                candidates=candidates,
                chosen=np.array([self._llms[row.llm] for row in rows], dtype=np.intp),
                propensities=table(0, 0.0),
                scores=table(1, np.nan),
                quality_mean=table(2, np.nan),
                quality_std=table(3, np.nan),
                cost_usd_mean=table(4, np.nan),
                judgements=table(5, np.nan),
                quality=np.array([row.quality for row in rows]),
                cost_usd=np.array([row.cost_usd for row in rows]),
                trade_off=np.array([row.trade_off for row in rows]),
                cost_scale_usd=np.array([row.cost_scale_usd for row in rows]),
                policies=Counter(row.policy for row in rows),
                forced=self.forced,
                without_outcome=self.without_outcome,
                incomplete=self.incomplete,
            )
        except InvalidValueError as error:
            raise LogError(f"{name} contradicts itself: {error} It cannot be evaluated; write it again.") from error
