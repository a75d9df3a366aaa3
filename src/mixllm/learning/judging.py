"""From judgements of answers to quality predictors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel
from mixllm.types import Feedback

__all__ = ["QUALITY_METRIC", "Judging", "Taught"]

QUALITY_METRIC = "quality"
"""The feedback metric that teaches quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What a judgement was taken for.

    Parameters
    ----------
    target
        The quality that was learned.
    weight
        How much it counted, 1 for a judgement with the recipe's noise.
    """

    target: float
    weight: float


class Judging:
    """Decides what a judgement says of the quality, and how much it counts."""

    def learn(
        self, model: LLMModel, features: NDArray[np.float32], feedback: Feedback, *, weight: float = 1.0
    ) -> Taught | None:
        """Teach `model` one judgement; return what it taught, or None where that is nothing.

        Parameters
        ----------
        model
            Predictors of the LLM that was judged.
        features
            z of the query, shape (D,).
        feedback
            The judgement.
        weight
            How much more it counts for where it was given, beside what it is worth in itself.

        Raises
        ------
        InvalidValueError
            Where it cannot be learned from; what is known stays as it was.
        """
        if feedback.metric != QUALITY_METRIC:
            return None
        model.quality.update(features, feedback.value, weight=weight)
        return Taught(target=feedback.value, weight=weight)
