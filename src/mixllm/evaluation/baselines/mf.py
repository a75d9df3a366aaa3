"""``mf``: RouteLLM's matrix factorisation, for any number of LLMs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from mixllm.evaluation.baselines.costs import TokenCosts
from mixllm.evaluation.baselines.low_rank import LowRank, Training
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["MatrixFactorisation"]

_CANDIDATES = tuple(Training(rank=32, decay=decay) for decay in (3e-5, 3e-4, 1e-3))


@final
class MatrixFactorisation:
    """Quality as σ(w·(v_l ∘ (Wx + b))), v_l being the LLM's own vector; cost by the prompt's length.

    RouteLLM compares a strong and a weak LLM, and learns from who won; here every LLM's recorded quality is the
    target itself, which says more. w is folded into v_l: their product is all that counts.

    Parameters
    ----------
    candidates
        Ways to train, compared on a fifth of the training part.

    References
    ----------
    I. Ong et al.: RouteLLM: Learning to Route LLMs with Preference Data. arXiv:2406.18665.
    """

    name = "mf"
    folds = 1

    def __init__(self, *, candidates: Sequence[Training] = _CANDIDATES) -> None:
        self._quality = LowRank(candidates=candidates, shared=False, own=False)
        self._costs = TokenCosts()

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Learn qualities and costs."""
        self._quality.fit(training.encodings, training.log.quality, rng)
        self._costs.fit(training)

    def predict(self, test: TestData) -> Predictions:
        """Return expected qualities and costs."""
        return Predictions(quality=self._quality.predict(test.encodings), cost_usd=self._costs.predict(test))
