"""``irt``: item response theory, the query's demands against the LLM's abilities (IRT-Router)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from mixllm.evaluation.baselines.costs import TokenCosts
from mixllm.evaluation.baselines.low_rank import LowRank, Training
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["ItemResponse"]

_CANDIDATES = tuple(Training(rank=16, decay=decay) for decay in (3e-5, 3e-4, 1e-3))


@final
class ItemResponse:
    """Quality as σ(a(x)·θ_l − b(x)): a, what the query asks for, and b, how hard it is, are linear in the encoding.

    θ_l are the LLM's abilities. Cost by the prompt's length.

    Parameters
    ----------
    candidates
        Ways to train, compared on a fifth of the training part.

    References
    ----------
    W. Song et al.: IRT-Router: Effective and Interpretable Multi-LLM Routing via Item Response Theory.
    arXiv:2506.01048.
    """

    name = "irt"
    folds = 1

    def __init__(self, *, candidates: Sequence[Training] = _CANDIDATES) -> None:
        self._quality = LowRank(candidates=candidates, shared=True, own=False)
        self._costs = TokenCosts()

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Learn qualities and costs."""
        self._quality.fit(training.encodings, training.log.quality, rng)
        self._costs.fit(training)

    def predict(self, test: TestData) -> Predictions:
        """Return expected qualities and costs."""
        return Predictions(quality=self._quality.predict(test.encodings), cost_usd=self._costs.predict(test))
