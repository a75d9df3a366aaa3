"""MABWiser's LinUCB and LinTS, through the package ``mabwiser``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.simulation.peers.extra import peers_extra
from mixllm.evaluation.simulation.player import Arrival, Feedback
from mixllm.units import positive

__all__ = ["MABWiserLinear"]


class MABWiserLinear:
    """A linear bandit of MABWiser on the reward.

    MABWiser must be fitted before it predicts: until the first reward is told, LLMs are chosen at random. An LLM that
    is not in the pool keeps its arm and is not chosen.

    Parameters
    ----------
    kind
        ``ucb`` or ``ts``.
    alpha
        Exploration, > 0.
    llms
        Every LLM that may ever be in the pool.
    seed
        Of its draws.
    rng
        Source of the draws before it can predict.

    Raises
    ------
    MissingExtraError
        Where MABWiser is not installed.
    """

    def __init__(
        self, *, kind: Literal["ucb", "ts"], alpha: float, llms: tuple[str, ...], seed: int, rng: np.random.Generator
    ) -> None:
        with peers_extra("MABWiser as a peer"):
            from mabwiser.mab import MAB, LearningPolicy
        positive("alpha", alpha)
        policy = LearningPolicy.LinUCB(alpha=alpha) if kind == "ucb" else LearningPolicy.LinTS(alpha=alpha)
        self._bandit: Any = MAB(list(llms), policy, seed=seed)
        self._fitted = False
        self._rng = rng
        self._asked: dict[int, NDArray[np.float64]] = {}

    def choose(self, arrival: Arrival) -> str:
        """Return the LLM of the pool whose expectation, as MABWiser gives it, is the highest."""
        self._asked[arrival.number] = arrival.features
        names = arrival.eligible
        if not self._fitted:
            return names[int(self._rng.integers(len(names)))]
        expected: dict[str, float] = self._bandit.predict_expectations(arrival.features[None, :])
        return max(names, key=lambda llm: float(expected[llm]))

    def learn(self, feedback: Feedback) -> None:
        """Fit one reward."""
        features = self._asked.pop(feedback.number)
        if feedback.reward is None:
            return
        fit = self._bandit.partial_fit if self._fitted else self._bandit.fit
        fit([feedback.llm], [feedback.reward], features[None, :])
        self._fitted = True

    def close(self) -> None:
        """Hold nothing."""
