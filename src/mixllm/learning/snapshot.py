"""What the request path reads: everything learned so far, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import FloatArray
from mixllm.predictors import (
    BillingFactors,
    LatencyForecast,
    LinearBank,
    expected_wait_s,
    length_features,
    tokens_from_log,
)
from mixllm.types import Estimate, Forecast, LLMSpec, Price
from mixllm.units import TOKENS_PER_MILLION

__all__ = ["Snapshot"]


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
        Posteriors of quality over z and of log length over `length_features`.
    billing
        Factors between billed cost and list price, over `length_features`.
    latency
        Expected times of each LLM.
    judgements
        Judgements that each LLM's quality rests on.
    cost_scale_usd
        c_ref, the reference LLM's mean cost on this traffic.
    """

    version: int
    position: int
    specs: tuple[LLMSpec, ...]
    quality: LinearBank
    length: LinearBank
    billing: BillingFactors
    latency: tuple[LatencyForecast, ...]
    judgements: tuple[float, ...]
    cost_scale_usd: float
    _rates: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Every LLM's rates as columns: USD per token in and out, TTFT, TPOT, relative std.
        rates = np.array(
            [
                (
                    _price(spec).usd_per_million_tokens_in / TOKENS_PER_MILLION,
                    _price(spec).usd_per_million_tokens_out / TOKENS_PER_MILLION,
                    latency.ttft_s,
                    latency.tpot_s,
                    latency.relative_std,
                )
                for spec, latency in zip(self.specs, self.latency, strict=True)
            ]
        ).reshape(len(self.specs), 5)
        object.__setattr__(self, "_rates", np.ascontiguousarray(rates.T))

    def forecasts(
        self,
        features: FloatArray,
        *,
        tokens_in: int,
        max_tokens_out: int | None = None,
        in_flight: Sequence[int] | None = None,
    ) -> list[Forecast]:
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
        """
        quality, quality_std = self.quality.predict(features)
        extended = length_features(features, tokens_in)
        tokens, tokens_std = self._lengths(extended, max_tokens_out)
        billed = self.billing.predict(extended)
        usd_in, usd_out, ttft_s, tpot_s, relative_std = self._rates
        service_s = ttft_s + tpot_s * tokens
        wait_s = self._waits_s(service_s, in_flight)
        return [
            Forecast(
                quality=Estimate(mean=quality_mean, std=quality_spread),
                tokens_out=Estimate(mean=tokens_mean, std=tokens_spread),
                cost_usd=Estimate(mean=cost_mean, std=cost_spread),
                ttft_s=Estimate(mean=ttft_mean, std=ttft_spread),
                wait_s=wait,
                latency_s=Estimate(mean=latency_mean, std=latency_spread),
                judgements=judgements,
            )
            for (
                quality_mean,
                quality_spread,
                tokens_mean,
                tokens_spread,
                cost_mean,
                cost_spread,
                ttft_mean,
                ttft_spread,
                wait,
                latency_mean,
                latency_spread,
                judgements,
            ) in zip(
                np.clip(quality, 0.0, 1.0).tolist(),
                quality_std.tolist(),
                tokens.tolist(),
                tokens_std.tolist(),
                (billed * (tokens_in * usd_in + tokens * usd_out)).tolist(),
                (billed * tokens_std * usd_out).tolist(),
                (wait_s + ttft_s).tolist(),
                (ttft_s * relative_std).tolist(),
                wait_s.tolist(),
                (wait_s + service_s).tolist(),
                (service_s * relative_std).tolist(),
                self.judgements,
                strict=True,
            )
        ]

    def _lengths(
        self, extended: FloatArray, max_tokens_out: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        log_mean, log_std = self.length.predict(extended)
        tokens, std = tokens_from_log(log_mean, log_std, self.length.residual_variances)
        limit = np.inf if max_tokens_out is None else float(max_tokens_out)
        return np.minimum(tokens, limit).astype(np.float64), np.minimum(std, limit).astype(np.float64)

    def _waits_s(self, service_s: NDArray[np.float64], in_flight: Sequence[int] | None) -> NDArray[np.float64]:
        waits_s = np.zeros(len(self.specs))
        for row, calls in enumerate(in_flight or ()):
            if calls:
                waits_s[row] = expected_wait_s(
                    in_flight=calls, max_in_flight=self.specs[row].max_in_flight, service_s=float(service_s[row])
                )
        return waits_s


def _price(spec: LLMSpec) -> Price:
    assert spec.price is not None, "the learner only takes specs with a price"
    return spec.price
