"""What the request path reads: everything learned so far, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixllm.decision import Forecasts, Outside
from mixllm.interfaces import FloatArray
from mixllm.learning.dynamic_feedback import FrozenScores
from mixllm.learning.known_queries import Surroundings
from mixllm.predictors import (
    BillingFactors,
    FrozenBank,
    LatencyBank,
    LatencyForecast,
    LinearBank,
    PaceBank,
    length_features,
    tokens_of_lognormal,
)
from mixllm.types import LLMSpec, Price, WarmPrefix
from mixllm.units import TOKENS_PER_MILLION

__all__ = ["DEADLINE_QUANTILE", "Snapshot"]


DEADLINE_QUANTILE = 0.95
"""The probability with which deadlines are to be met, where nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One version of the pool and of what is known about it; never changed, only replaced.

    Parameters
    ----------
    version
        Rises with every snapshot.
    position
        `LearningEvent.seq` of the last event it knows.
    specs
        The K LLMs of the pool, each with a price.
    quality, length
        Posteriors of quality over z and of log length over `length_features`, or of what the bases leave of them.
    billing
        Factors between billed cost and list price, over `length_features`.
    latency
        Expected times of each LLM at its endpoint.
    pace
        How much longer calls of a kind take than their lengths say; None: no longer.
    judgements, answers
        Judgements that each LLM's quality rests on, and answers that its length rests on: sums of their weights.
    spent_usd
        What each LLM's calls have cost so far.
    newcomer
        Whether each LLM came into a pool that had been judged before.
    cost_scale_usd
        c_ref, the reference LLM's mean cost on this traffic.
    quality_base, length_base
        What was fitted offline, 0 for LLMs that have nothing; None where none has.
    dynamic
        What thumbs add to each LLM's quality, where the predictors have not learned them; None: nothing.
    surroundings
        What tells queries from elsewhere; None where nothing does.
    """

    version: int
    position: int
    specs: tuple[LLMSpec, ...]
    quality: LinearBank
    length: LinearBank
    billing: BillingFactors
    latency: tuple[LatencyForecast, ...]
    judgements: tuple[float, ...]
    spent_usd: tuple[float, ...]
    newcomer: tuple[bool, ...]
    cost_scale_usd: float
    quality_base: FrozenBank | None = None
    length_base: FrozenBank | None = None
    answers: tuple[float, ...] = ()
    dynamic: FrozenScores | None = None
    surroundings: Surroundings | None = None
    pace: PaceBank | None = None
    _rates: tuple[NDArray[np.float64], ...] = field(init=False, repr=False)
    _judgements: NDArray[np.float64] = field(init=False, repr=False)
    _spent_usd: NDArray[np.float64] = field(init=False, repr=False)
    _newcomer: NDArray[np.float64] = field(init=False, repr=False)
    _times: LatencyBank = field(init=False, repr=False)
    _length_scatter: NDArray[np.float64] = field(init=False, repr=False)
    _half_scatter: NDArray[np.float64] = field(init=False, repr=False)
    _billing_spread: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Every LLM's rates as columns: USD per token in and out.
        rates = np.array(
            [
                (
                    _price(spec).usd_per_million_tokens_in / TOKENS_PER_MILLION,
                    _price(spec).usd_per_million_tokens_out / TOKENS_PER_MILLION,
                )
                for spec in self.specs
            ]
        ).reshape(len(self.specs), 2)
        object.__setattr__(self, "_rates", tuple(np.ascontiguousarray(rates.T)))
        for name in ("judgements", "spent_usd", "newcomer"):
            column = np.array(getattr(self, name), np.float64)
            column.setflags(write=False)  # Every decision's forecasts share it.
            object.__setattr__(self, f"_{name}", column)
        object.__setattr__(self, "_times", LatencyBank(self.latency))
        # In float64 once: NumPy would convert it in every product with a float64.
        object.__setattr__(self, "_length_scatter", self.length.residual_variances.astype(np.float64))
        object.__setattr__(self, "_half_scatter", self._length_scatter / 2)
        object.__setattr__(self, "_billing_spread", self.billing.relative_stds())

    @property
    def queues(self) -> bool:
        """Whether calls under way matter: whether any LLM's limit or its recent speed is known."""
        return self._times.depends_on_calls_under_way

    def outside(self, features: FloatArray) -> Outside | None:
        """Return how far outside of what was learned from a query lies, by z; None where nothing can tell."""
        around = self.surroundings
        if around is None:
            return None
        return Outside(score=around.density.score(features), levels=around.levels, spreads=around.spreads)

    def forecasts(
        self,
        features: FloatArray,
        *,
        tokens_in: int,
        max_tokens_out: int | None = None,
        in_flight: Sequence[int] | None = None,
        refused_s: Sequence[float] | None = None,
        streamed: bool = False,
        now_s: float | None = None,
        tail: float = DEADLINE_QUANTILE,
        warm: WarmPrefix | None = None,
        choices: int = 1,
    ) -> Forecasts:
        """Return what each LLM is expected to do, in the order of `specs`.

        Parameters
        ----------
        features
            z, shape (D,).
        tokens_in
            Prompt tokens.
        max_tokens_out
            The request's own limit on the answer's length.
        in_flight
            Calls under way at each LLM; None: none.
        refused_s
            How long each LLM will still refuse calls, by its rate limits and what it has asked for; None: not at all.
        streamed
            Whether the answer is wanted as a stream.
        now_s
            Unix time; None: the time of the newest call.
        tail
            The probability with which the tails of latency are to hold, in (0, 1).
        warm
            What one LLM may have in its cache of the prompt; None: nothing.
        choices
            How many answers are wanted; their length is that of one, their cost that of all.

        Notes
        -----
        The std of cost has two parts: that of the length, and the scatter of what tokens are billed at,
        std² = (f · std(tokens) · price_out)² + ĉ² · (exp(s²) − 1), where f is the billing factor and s² the variance of
        its logarithm. For times see `mixllm.predictors.LatencyBank`.
        """
        quality, quality_std = self.quality.predict(features)
        if self.quality_base is not None:
            quality += self.quality_base.predict(features)
        if self.dynamic is not None:
            quality = quality + self.dynamic.predict(features)
        extended = length_features(features, tokens_in)
        tokens, tokens_std, length_log_variance = self._lengths(extended, max_tokens_out)
        billed = self.billing.predict(extended)
        usd_in, usd_out = self._rates
        times = self._times.forecast(
            tokens_in=tokens_in,
            tokens_out=tokens,
            length_log_variance=length_log_variance,
            pace=1.0 if self.pace is None else self.pace.predict(features),
            in_flight=in_flight,
            refused_s=refused_s,
            streamed=streamed,
            now_s=now_s,
            tail=tail,
        )
        cost_usd = billed * (tokens_in * usd_in + choices * tokens * usd_out)
        if warm is not None:
            cost_usd -= billed * self._saved_usd(warm, tokens_in)
        return Forecasts(
            quality=np.minimum(np.maximum(quality, 0.0), 1.0),
            quality_std=quality_std,
            tokens_out=tokens,
            tokens_out_std=tokens_std,
            cost_usd=cost_usd,
            cost_usd_std=np.hypot(billed * choices * tokens_std * usd_out, cost_usd * self._billing_spread),
            ttft_s=times.ttft_s,
            ttft_s_std=times.ttft_s_std,
            wait_s=times.wait_s,
            latency_s=times.latency_s,
            latency_s_std=times.latency_s_std,
            latency_low_s=times.latency_low_s,
            latency_high_s=times.latency_high_s,
            latency_tail_s=times.latency_tail_s,
            ttft_tail_s=times.ttft_tail_s,
            judgements=self._judgements,
            spent_usd=self._spent_usd,
            newcomer=self._newcomer,
        )

    def _lengths(
        self, extended: FloatArray, max_tokens_out: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the lengths, and the variance of their logarithms."""
        log_mean, log_std = self.length.predict(extended)
        if self.length_base is not None:
            log_mean += self.length_base.predict(extended)
        log_mean += self._half_scatter
        log_variance = self._length_scatter + log_std * log_std
        tokens, std = tokens_of_lognormal(log_mean, log_variance)
        if max_tokens_out is not None:
            tokens, std = np.minimum(tokens, float(max_tokens_out)), np.minimum(std, float(max_tokens_out))
        return np.asarray(tokens, np.float64), np.asarray(std, np.float64), log_variance

    def _saved_usd(self, warm: WarmPrefix, tokens_in: int) -> NDArray[np.float64]:
        """Return what each LLM charges less for what it has in its cache, shape (K,)."""
        saved = np.zeros(len(self.specs))
        for row, spec in enumerate(self.specs):
            cached_usd = _price(spec).usd_per_million_tokens_cached_in
            if spec.name == warm.llm and cached_usd is not None:
                rate = max(_price(spec).usd_per_million_tokens_in - cached_usd, 0.0) / TOKENS_PER_MILLION
                saved[row] = rate * min(warm.tokens, tokens_in)
        return saved


def _price(spec: LLMSpec) -> Price:
    assert spec.price is not None, "the learner only takes specs with a price"
    return spec.price
