"""What a router decided and what came of it, as columns: all that off-policy evaluation reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError

__all__ = ["LoggedDecisions"]

_SUM_TOLERANCE = 1e-6
_PER_CANDIDATE = ("propensities", "scores", "quality_mean", "quality_std", "cost_usd_mean", "judgements")
_PER_DECISION = ("quality", "cost_usd", "trade_off", "cost_scale_usd")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedDecisions:
    """n decisions over K LLMs; every array is a read-only copy.

    Parameters
    ----------
    llms
        Names of the K LLMs that were a candidate at least once, unique.
    candidates
        Which LLMs could have been chosen, bool, shape (n, K).
    chosen
        Column of the LLM that was chosen, int, shape (n,).
    propensities
        Probability with which each LLM was chosen, shape (n, K); 0 for those that were no candidates; rows sum to 1.
    quality
        What the answer was judged, in [0, 1], shape (n,); NaN where nobody judged.
    cost_usd
        What the decision cost, stand-ins included, shape (n,); NaN where it is not known.
    scores
        Score of each candidate as it was, without a bonus for uncertainty, shape (n, K).
    quality_mean, quality_std, cost_usd_mean
        Forecasts as they were, shape (n, K). Only entries of candidates are read.
    judgements
        How many judgements the forecast of each candidate rested on, shape (n, K); NaN where that is not known.
    trade_off, cost_scale_usd
        λ and c_ref as they were, shape (n,).
    policies
        How many decisions each policy made, by its name.
    forced
        Decisions left out because the request named the LLM: no policy chose.
    without_outcome
        Decisions left out because nothing is known of what came of them.
    incomplete
        Decisions left out because the log does not say who was chosen, or with which score.

    Raises
    ------
    InvalidValueError
        Where a shape or a value does not fit.
    """

    llms: tuple[str, ...]
    candidates: NDArray[np.bool_]
    chosen: NDArray[np.intp]
    propensities: NDArray[np.float64]
    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    scores: NDArray[np.float64]
    quality_mean: NDArray[np.float64]
    quality_std: NDArray[np.float64]
    cost_usd_mean: NDArray[np.float64]
    judgements: NDArray[np.float64]
    trade_off: NDArray[np.float64]
    cost_scale_usd: NDArray[np.float64]
    policies: Mapping[str, int]
    forced: int = 0
    without_outcome: int = 0
    incomplete: int = 0

    def __post_init__(self) -> None:
        if len(set(self.llms)) != len(self.llms):
            raise InvalidValueError("llms", self.llms, "without twins")
        n, k = len(self.chosen), len(self.llms)
        self._freeze("candidates", np.bool_, (n, k))
        self._freeze("chosen", np.intp, (n,))
        for name in _PER_CANDIDATE:
            self._freeze(name, np.float64, (n, k))
        for name in _PER_DECISION:
            self._freeze(name, np.float64, (n,))
        object.__setattr__(self, "policies", MappingProxyType(dict(self.policies)))
        self._check_choice()
        self._check_values()

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def chosen_propensities(self) -> NDArray[np.float64]:
        """Probability with which the chosen LLM was chosen, shape (n,)."""
        return self.of_chosen(self.propensities)

    def of_chosen(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the entry of the chosen LLM in each row of `table` (n, K), shape (n,)."""
        picked: NDArray[np.float64] = table[np.arange(len(self)), self.chosen]
        return picked

    def select(self, rows: NDArray[np.bool_]) -> LoggedDecisions:
        """Return the decisions that the mask `rows`, shape (n,), keeps; `policies` still counts all."""
        if rows.dtype != np.bool_ or rows.shape != (len(self),):
            raise InvalidValueError("rows", f"{rows.dtype} of shape {rows.shape}", f"a mask of length {len(self)}")
        arrays = ("candidates", "chosen", *_PER_CANDIDATE, *_PER_DECISION)
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def _freeze(self, name: str, kind: type, shape: tuple[int, ...]) -> None:
        array: NDArray[np.generic] = np.array(getattr(self, name), dtype=kind)
        if array.shape != shape:
            raise InvalidValueError(name, f"shape {array.shape}", f"of shape {shape}")
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def _check_choice(self) -> None:
        if not len(self):
            return
        if (self.chosen < 0).any() or (self.chosen >= len(self.llms)).any():
            raise InvalidValueError("chosen", int(self.chosen.max()), f"a column, 0 to {len(self.llms) - 1}")
        p = self.propensities
        if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
            raise InvalidValueError("propensities", "a row that does not", ">= 0 and sum to 1 in each row")
        if (p[~self.candidates] != 0).any():
            raise InvalidValueError("propensities", "one above 0", "0 for LLMs that were no candidates")
        if (self.chosen_propensities <= 0).any():
            raise InvalidValueError("propensities", 0.0, "above 0 for the LLM that was chosen")

    def _check_values(self) -> None:
        for name in ("scores", "quality_mean", "quality_std", "cost_usd_mean"):
            if not np.isfinite(getattr(self, name)[self.candidates]).all():
                raise InvalidValueError(name, "a number that is not", "finite for every candidate")
        for name in ("quality", "cost_usd"):
            known = getattr(self, name)[~np.isnan(getattr(self, name))]
            if np.isinf(known).any() or (known < 0).any():
                raise InvalidValueError(name, float(known.min()), "finite and >= 0, or NaN")
        if (self.quality > 1).any():
            raise InvalidValueError("quality", float(np.nanmax(self.quality)), "between 0 and 1, or NaN")
        if not (np.isfinite(self.trade_off) & (self.trade_off >= 0)).all():
            raise InvalidValueError("trade_off", "a number that is not", "finite and >= 0")
        if not (np.isfinite(self.cost_scale_usd) & (self.cost_scale_usd > 0)).all():
            raise InvalidValueError("cost_scale_usd", "a number that is not", "finite and > 0")
