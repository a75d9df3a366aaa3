"""MixLLM trained offline on complete outcomes: what learning from the chosen LLM alone is measured against."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders import SurfaceEncoder
from mixllm.evaluation.contender import TestData, TrainingData
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.evaluation.simulation.player import Arrival, Feedback
from mixllm.evaluation.simulation.reward import Exchange
from mixllm.evaluation.splits import Dataset
from mixllm.tags.unit_block import unit_block

__all__ = ["CompleteLog", "TrainedOffline"]

_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompleteLog:
    """What is recorded of the queries of a stream, for players that say that they are trained on it.

    Parameters
    ----------
    dataset
        The log, made ready.
    rows
        Its rows in the order of the stream.
    exchange
        The reward.
    """

    dataset: Dataset
    rows: NDArray[np.intp]
    exchange: Exchange

    def training(self, places: NDArray[np.intp]) -> TrainingData:
        """Return the outcomes of every LLM on the queries at these places of the stream."""
        dataset, rows = _with_base_encodings(self.dataset), self.rows[places]
        return TrainingData(
            log=dataset.log.select(rows),
            encodings=dataset.encodings[rows],
            texts=tuple(dataset.texts[row] for row in rows.tolist()),
            tokens_in=dataset.tokens_in[rows],
            encoder=dataset.encoder,
            reference=dataset.reference,
            label=dataset.label,
        )

    def queries(self, places: NDArray[np.intp]) -> TestData:
        """Return the queries at these places of the stream, without what became of them."""
        return self.training(places).queries()


class TrainedOffline:
    """The router of ``mixllm bench``, trained before the stream begins and greedy on it.

    It is no peer: it is told every LLM's outcome on other queries of the stream, where all others are told that of the
    LLM that they chose. Each third of the stream is routed by what was trained on the two other thirds, so that no
    query is judged by what was trained on it; the last third by what was trained on the first two. It learns nothing
    on the stream, and knows nothing of changes of the pool but which LLMs are there.

    Parameters
    ----------
    log
        What is recorded.
    seed
        Of training.
    """

    def __init__(self, *, log: CompleteLog, seed: int) -> None:
        self._llms = log.dataset.log.llms
        thirds = np.array_split(np.arange(len(log.rows)), _PARTS)
        router = MixLLMRouter()
        scores = []
        for number, third in enumerate(thirds):
            others = np.concatenate([part for place, part in enumerate(thirds) if place != number])
            router.fit(log.training(others), np.random.default_rng([seed, number]))
            expected = router.predict(log.queries(third))
            scores.append(
                log.exchange.rewards(
                    np.clip(expected.quality, 0.0, 1.0).astype(np.float64), expected.cost_usd.astype(np.float64)
                )
            )
        self._scores = np.concatenate(scores)

    def choose(self, arrival: Arrival) -> str:
        """Return the LLM of the pool with the highest expected reward."""
        scores = self._scores[arrival.number]
        return max(arrival.eligible, key=lambda llm: float(scores[self._llms.index(llm)]))

    def learn(self, feedback: Feedback) -> None:
        """Learn nothing."""

    def close(self) -> None:
        """Hold nothing."""


def _with_base_encodings(dataset: Dataset) -> Dataset:
    # Training makes its own features out of the base encoder's vectors.
    if not isinstance(dataset.encoder, SurfaceEncoder):
        return dataset
    base = dataset.encoder.base
    encodings = np.ascontiguousarray(unit_block(dataset.encodings, base.dimension)[:, : base.dimension])
    return replace(dataset, encoder=base, encodings=encodings)
