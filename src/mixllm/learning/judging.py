"""From judgements of answers to quality predictors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel
from mixllm.types import Feedback

__all__ = ["QUALITY_METRIC", "Judging"]

QUALITY_METRIC = "quality"
"""The feedback metric that teaches quality."""


class Judging:
    """Decides what a judgement says of the quality, and how much it counts."""

    def learn(self, model: LLMModel, features: NDArray[np.float32], feedback: Feedback) -> bool:
        """Teach `model` one judgement; return whether it taught anything.

        Parameters
        ----------
        model
            Predictors of the LLM that was judged.
        features
            z of the query, shape (D,).
        feedback
            The judgement.

        Raises
        ------
        InvalidValueError
            Where it cannot be learned from; what is known stays as it was.
        """
        if feedback.metric != QUALITY_METRIC:
            return False
        model.quality.update(features, feedback.value)
        return True
