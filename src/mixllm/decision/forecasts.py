"""Forecasts of several LLMs at once: columns for arithmetic, values for what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from mixllm.types import Estimate, Forecast

__all__ = ["Forecasts"]

_COLUMNS = (
    "quality",
    "quality_std",
    "tokens_out",
    "tokens_out_std",
    "cost_usd",
    "cost_usd_std",
    "ttft_s",
    "ttft_s_std",
    "wait_s",
    "latency_s",
    "latency_s_std",
    "latency_low_s",
    "latency_high_s",
    "latency_tail_s",
    "ttft_tail_s",
    "judgements",
    "spent_usd",
    "newcomer",
)
_columns_of = attrgetter(*_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecasts(Sequence[Forecast]):
    """A sequence of K forecasts that also has each of their numbers as one array; never changed.

    Scores and policies compute on the columns; the `Forecast` values are made when they are first asked for, and once.
    On the request path that is most of the time between the predictors and the choice.

    Parameters
    ----------
    quality, quality_std
        Mean and standard deviation of the quality, each of shape (K,) as all that follow.
    tokens_out, tokens_out_std
        Of the answer's length.
    cost_usd, cost_usd_std
        Of the call's cost.
    ttft_s, ttft_s_std
        Of the time to the first token, waiting included.
    wait_s
        Time in the LLM's queue.
    latency_s, latency_s_std
        Of the time to the last token, waiting included.
    latency_low_s, latency_high_s, latency_tail_s, ttft_tail_s
        Quantiles (see `Forecast`).
    judgements
        How many judgements each quality rests on.
    spent_usd
        What each LLM's calls have cost so far.
    newcomer
        1 for each LLM that came into a pool that had been judged before, else 0.

    Examples
    --------
    >>> some = Estimate(mean=1.0, std=0.1)
    >>> one = Forecast(quality=some, tokens_out=some, cost_usd=some, ttft_s=some, wait_s=0.0, latency_s=some)
    >>> both = Forecasts.of([one, one])
    >>> both.quality, both[0] == one
    (array([1., 1.]), True)
    """

    quality: NDArray[np.float64]
    quality_std: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    tokens_out_std: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    cost_usd_std: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    ttft_s_std: NDArray[np.float64]
    wait_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    latency_s_std: NDArray[np.float64]
    latency_low_s: NDArray[np.float64]
    latency_high_s: NDArray[np.float64]
    latency_tail_s: NDArray[np.float64]
    ttft_tail_s: NDArray[np.float64]
    judgements: NDArray[np.float64]
    spent_usd: NDArray[np.float64]
    newcomer: NDArray[np.float64]
    _values: tuple[Forecast, ...] | None = field(init=False, default=None, repr=False)

    @classmethod
    def of(cls, forecasts: Sequence[Forecast]) -> Forecasts:
        """Return `forecasts` with columns: themselves where they have them."""
        if isinstance(forecasts, Forecasts):
            return forecasts
        rows = [
            (
                one.quality.mean,
                one.quality.std,
                one.tokens_out.mean,
                one.tokens_out.std,
                one.cost_usd.mean,
                one.cost_usd.std,
                one.ttft_s.mean,
                one.ttft_s.std,
                one.wait_s,
                one.latency_s.mean,
                one.latency_s.std,
                one.latency_low_s,
                one.latency_high_s,
                one.latency_tail_s,
                one.ttft_tail_s,
                one.judgements,
                one.spent_usd,
                one.newcomer,
            )
            for one in forecasts
        ]
        return cls._from_rows(np.array(rows, np.float64).reshape(len(rows), len(_COLUMNS)), tuple(forecasts))

    def take(self, rows: Sequence[int]) -> Self:
        """Return the forecasts at the places `rows`, in that order."""
        values = self.values()
        table = np.array(_columns_of(self)).T
        return self._from_rows(table[np.array(rows, np.intp)], tuple(values[row] for row in rows))

    def values(self) -> tuple[Forecast, ...]:
        """Return all the forecasts as values."""
        values = self._values
        if values is None:
            # Two threads may both make them: they are equal, and either may stay.
            values = self._made()
            object.__setattr__(self, "_values", values)
        return values

    def __len__(self) -> int:
        return len(self.quality)

    def __iter__(self) -> Iterator[Forecast]:
        return iter(self.values())

    @overload
    def __getitem__(self, place: int) -> Forecast: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Forecast, ...]: ...
    def __getitem__(self, place: int | slice) -> Forecast | tuple[Forecast, ...]:
        return self.values()[place]

    def __eq__(self, other: object) -> bool:
        # As a list of forecasts would: what has columns and what has none can be the same forecasts.
        return isinstance(other, Sequence) and self.values() == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # Equal to lists, which have no hash.

    @classmethod
    def _from_rows(cls, table: NDArray[np.float64], values: tuple[Forecast, ...]) -> Self:
        made = cls(**dict(zip(_COLUMNS, table.T, strict=True)))
        object.__setattr__(made, "_values", values)
        return made

    def _made(self) -> tuple[Forecast, ...]:
        # `tolist` first: Python's floats, which stores can keep, and far quicker than an array's items one by one.
        columns = [column.tolist() for column in _columns_of(self)]
        return tuple(
            [
                Forecast(
                    quality=Estimate(mean=quality, std=quality_std),
                    tokens_out=Estimate(mean=tokens, std=tokens_std),
                    cost_usd=Estimate(mean=cost, std=cost_std),
                    ttft_s=Estimate(mean=ttft, std=ttft_std),
                    wait_s=wait,
                    latency_s=Estimate(mean=latency, std=latency_std),
                    latency_low_s=low,
                    latency_high_s=high,
                    latency_tail_s=tail,
                    ttft_tail_s=ttft_tail,
                    judgements=judgements,
                    spent_usd=spent,
                    newcomer=newcomer > 0,
                )
                for (
                    quality,
                    quality_std,
                    tokens,
                    tokens_std,
                    cost,
                    cost_std,
                    ttft,
                    ttft_std,
                    wait,
                    latency,
                    latency_std,
                    low,
                    high,
                    tail,
                    ttft_tail,
                    judgements,
                    spent,
                    newcomer,
                ) in zip(*columns, strict=True)
            ]
        )
