"""Learners over the small world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.learning.world import (
    DIMENSION,
    SPECS,
    PlainFeatures,
)

from mixllm.learning import Checkpoint, Learner, Recipe
from mixllm.types import Forecast, LLMSpec


def make(
    specs: Sequence[LLMSpec] = SPECS,
    *,
    reference: str | None = None,
    recipe: Recipe | None = None,
    answers_per_false_alarm: float = 10_000.0,
) -> Learner:
    return Learner(
        features=PlainFeatures(),
        encoding_dimension=DIMENSION,
        specs=specs,
        recipe=recipe,
        reference=reference,
        answers_per_false_alarm=answers_per_false_alarm,
    )


def forecasts(
    learner: Learner, x: np.ndarray[tuple[int], np.dtype[np.float32]], *, tokens_in: int = 300
) -> dict[str, Forecast]:
    snapshot = learner.snapshot()
    made = snapshot.forecasts(learner.features.features(x), tokens_in=tokens_in)
    return {one.name: forecast for one, forecast in zip(snapshot.specs, made, strict=True)}


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays
    )
