"""``single:<llm>``: everything to one LLM."""

from __future__ import annotations

from typing import final

import numpy as np

from mixllm.evaluation.baselines.constant import always
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["Single"]


@final
class Single:
    """Sends every query to the same LLM.

    Parameters
    ----------
    llm
        Its name.
    """

    folds = 1

    def __init__(self, *, llm: str) -> None:
        self.llm = llm
        self._column = self._llms = 0

    @property
    def name(self) -> str:
        """``single:`` and the LLM's name."""
        return f"single:{self.llm}"

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Find the LLM; raises `UnknownLLMError`."""
        del rng
        self._column, self._llms = training.log.column(self.llm), len(training.log.llms)

    def predict(self, test: TestData) -> Predictions:
        """Return predictions by which this LLM is always best."""
        return always(np.full(len(test), self._column, dtype=np.intp), self._llms)
