"""Every LLM's times, frozen, for the request path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixllm.predictors.latency.forecast import LatencyForecast
from mixllm.predictors.latency.ratios import quantiles

__all__ = ["LatencyBank", "LatencyColumns"]

_LOW, _HIGH = 0.05, 0.95
_NOTABLE_LOG = 0.01
_MAX_LOG_VARIANCE = 4.0
_KEPT_TAILS = 64
"""Probabilities whose quantiles are kept; callers use one or two."""

_Column = NDArray[np.float64]


class LatencyColumns(NamedTuple):
    """Times of K LLMs, each of shape (K,); names as in `mixllm.types.Forecast`."""

    ttft_s: _Column
    ttft_s_std: _Column
    wait_s: _Column
    latency_s: _Column
    latency_s_std: _Column
    latency_low_s: _Column
    latency_high_s: _Column
    latency_tail_s: _Column
    ttft_tail_s: _Column


class LatencyBank:
    """Forecasts of K LLMs' times at once.

    Parameters
    ----------
    forecasts
        What is known of each.

    Notes
    -----
    With A = a + b·tokens_in + t·tokens_out the long-run time, p the pace of calls of this kind, ℓ the recent level, n
    calls under way, c servers and S̄ the time of a usual call, measured times are held against (p·A +
    max(0, n − c + 1)/c · S̄) · exp(ℓ). All that is forecast are quantiles of their ratios: those of standardised log
    ratios times σ, σ² = v + (t·tokens_out/A)² · s², with v the scatter of times whose length is known and s² the
    variance of the log length. What is called the expected time is the middle one: the few very long answers, which
    pull the mean far above what most calls take, are what the tail is for.
    """

    def __init__(self, forecasts: Sequence[LatencyForecast]) -> None:
        self._forecasts = tuple(forecasts)
        self._shapes = tuple(
            _columns([(shape.base_s, shape.per_token_in_s, shape.per_token_out_s) for shape in shapes], 3)
            for shapes in ([one.plain for one in forecasts], [one.streamed for one in forecasts])
        )
        # Of most LLMs nothing recent is known that counts: only the rows of the others are computed anew.
        self._levels = [(row, one.level) for row, one in enumerate(forecasts) if abs(one.level.log()) > _NOTABLE_LOG]
        self._any_calls = any(one.level.weight > 0 for one in forecasts)
        self._capacity, self._served_s, self._served, self._noise = _columns(
            [
                (
                    one.capacity,
                    one.served_s,
                    one.served,
                    one.level.noise_variance,
                )
                for one in forecasts
            ],
            4,
        )
        self._noise_std = np.sqrt(self._noise)
        self._no_wait = np.zeros(len(forecasts))
        self._no_wait.setflags(write=False)
        self._quantiles: dict[tuple[bool, float], tuple[_Column, _Column, _Column]] = {}

    def __len__(self) -> int:
        return len(self._forecasts)

    @property
    def depends_on_calls_under_way(self) -> bool:
        """Whether calls under way matter to any forecast: whether any queue or any recent level is known."""
        return self._any_calls or bool(np.isfinite(self._capacity).any())

    def forecast(
        self,
        *,
        tokens_in: float,
        tokens_out: _Column,
        length_log_variance: _Column,
        pace: _Column | float = 1.0,
        in_flight: Sequence[int] | None = None,
        refused_s: Sequence[float] | None = None,
        streamed: bool = False,
        now_s: float | None = None,
        tail: float = _HIGH,
    ) -> LatencyColumns:
        """Return what each LLM's call is expected to take.

        Parameters
        ----------
        tokens_in
            Prompt tokens.
        tokens_out, length_log_variance
            Expected length of the answer, and variance of its logarithm; each of shape (K,).
        pace
            How much longer calls of this kind take than their lengths say.
        in_flight
            Calls under way at each LLM; None: none.
        refused_s
            How long each LLM will still refuse calls; None: not at all.
        streamed
            Whether the answer is wanted as a stream.
        now_s
            Unix time; None: no time has passed since the newest call.
        tail
            The probability of the tails.
        """
        base_s, per_token_in_s, per_token_out_s = self._shapes[streamed]
        first_s = base_s + per_token_in_s * tokens_in
        rest_s = per_token_out_s * tokens_out
        alone_s = first_s + rest_s
        slowness = self._slowness(now_s, in_flight)
        factor = slowness * pace
        expected_s, ttft_s, wait_s = alone_s * factor, first_s * factor, self._no_wait
        if in_flight is not None and any(in_flight):
            behind = np.maximum(np.array(in_flight, np.float64) - self._capacity + 1.0, 0.0) / self._capacity
            wait_s = behind * slowness * (self._served_s + alone_s * pace) / (self._served + 1.0)
            expected_s, ttft_s = wait_s + expected_s, wait_s + ttft_s
        length_share = rest_s / alone_s
        std = np.sqrt(self._noise + length_share * length_share * np.minimum(length_log_variance, _MAX_LOG_VARIANCE))
        scaled, first_middle, first_tail = self._quantiles_at(streamed, tail)
        low_s, middle_s, high_s, tail_s = expected_s * np.exp(scaled * std)
        made = LatencyColumns(
            ttft_s=ttft_s * first_middle,
            ttft_s_std=ttft_s * self._noise_std,
            wait_s=wait_s,
            latency_s=middle_s,
            latency_s_std=middle_s * std,
            latency_low_s=low_s,
            latency_high_s=high_s,
            latency_tail_s=tail_s,
            ttft_tail_s=ttft_s * first_tail,
        )
        return made if refused_s is None else _after_refusals(made, np.array(refused_s, np.float64))

    def _slowness(self, now_s: float | None, in_flight: Sequence[int] | None) -> _Column:
        slowness = np.ones(len(self._forecasts))
        for row, level in self._levels:
            # While a call is under way it tells soon enough: until then nobody follows it to an LLM that was slow.
            idle = now_s is not None and not (in_flight and in_flight[row])
            slowness[row] = math.exp(level.log(now_s - level.at_s if idle and now_s is not None else 0.0))
        return slowness

    def _quantiles_at(self, streamed: bool, tail: float) -> tuple[_Column, _Column, _Column]:
        """Return the standardised 5 %, 50 %, 95 % and `tail` quantiles, shape (4, K), and ratios of the first token."""
        found = self._quantiles.get((streamed, tail))
        if found is None:
            counts = [np.array(one.streamed_ratios if streamed else one.plain_ratios) for one in self._forecasts]
            standard = _columns([tuple(quantiles(one, (_LOW, 0.5, _HIGH, tail)).tolist()) for one in counts], 4)
            first = [tuple(quantiles(np.array(one.ttft_ratios), (0.5, tail)).tolist()) for one in self._forecasts]
            middle, top = np.exp(_columns(first, 2) * self._noise_std)
            found = standard, middle, top
            if len(self._quantiles) < _KEPT_TAILS:
                self._quantiles[streamed, tail] = found
        return found


def _after_refusals(times: LatencyColumns, refused_s: _Column) -> LatencyColumns:
    # Until an LLM takes calls again, time passes that is no service: it does not scatter.
    extra_s = np.maximum(refused_s - times.wait_s, 0.0)
    scattering = ("ttft_s_std", "latency_s_std")
    return LatencyColumns(
        **{name: column if name in scattering else column + extra_s for name, column in times._asdict().items()}
    )


def _columns(rows: Sequence[tuple[float, ...]], width: int) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.array(rows, np.float64).reshape(len(rows), width).T)
