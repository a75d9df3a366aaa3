"""What the request path reads: everything learned so far, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import FloatArray
from mixllm.predictors import LatencyForecast, LinearBank, expected_wait_s, length_features, tokens_from_log
from mixllm.types import Estimate, Forecast, LLMSpec, Price

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
    latency: tuple[LatencyForecast, ...]
    judgements: tuple[float, ...]
    cost_scale_usd: float

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
        tokens, tokens_std = self._lengths(features, tokens_in, max_tokens_out)
        waiting = in_flight or [0] * len(self.specs)
        return [
            self._forecast(row, quality=row_quality, tokens=row_tokens, tokens_in=tokens_in, in_flight=waiting[row])
            for row, (row_quality, row_tokens) in enumerate(
                zip(_estimates(np.clip(quality, 0.0, 1.0), quality_std), _estimates(tokens, tokens_std), strict=True)
            )
        ]

    def _lengths(
        self, features: FloatArray, tokens_in: int, max_tokens_out: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        log_mean, log_std = self.length.predict(length_features(features, tokens_in))
        tokens, std = tokens_from_log(log_mean, log_std, self.length.residual_variances)
        limit = np.inf if max_tokens_out is None else float(max_tokens_out)
        return np.minimum(tokens, limit).astype(np.float64), np.minimum(std, limit).astype(np.float64)

    def _forecast(self, row: int, *, quality: Estimate, tokens: Estimate, tokens_in: int, in_flight: int) -> Forecast:
        spec, latency = self.specs[row], self.latency[row]
        service = latency.latency_s(tokens.mean)
        wait_s = expected_wait_s(in_flight=in_flight, max_in_flight=spec.max_in_flight, service_s=service.mean)
        price = _price(spec)
        return Forecast(
            quality=quality,
            tokens_out=tokens,
            cost_usd=Estimate(
                mean=price.cost_usd(tokens_in=tokens_in, tokens_out=tokens.mean),
                std=price.cost_usd(tokens_in=0, tokens_out=tokens.std),
            ),
            ttft_s=Estimate(mean=wait_s + latency.ttft_s, std=latency.ttft_s * latency.relative_std),
            wait_s=wait_s,
            latency_s=Estimate(mean=wait_s + service.mean, std=service.std),
            judgements=self.judgements[row],
        )


def _estimates(means: NDArray[np.float64], stds: NDArray[np.float64]) -> list[Estimate]:
    return [Estimate(mean=mean, std=std) for mean, std in zip(means.tolist(), stds.tolist(), strict=True)]


def _price(spec: LLMSpec) -> Price:
    assert spec.price is not None, "the learner only takes specs with a price"
    return spec.price
