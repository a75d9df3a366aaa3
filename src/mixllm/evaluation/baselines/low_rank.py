"""Logistic regressions of K outputs that share a few hidden directions, trained by Adam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.baselines.tuning import best_of, held_out_fifth

__all__ = ["LowRank", "Training"]

_BATCH = 256
_FIRST_MOMENT, _SECOND_MOMENT, _SAFETY = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a `LowRank` is trained.

    Parameters
    ----------
    rank
        Number r of hidden directions.
    decay
        Penalty on the squared weights, per query.
    epochs
        Passes over the queries.
    rate
        Adam's learning rate, falling to zero along a half cosine.
    """

    rank: int
    decay: float
    epochs: int = 15
    rate: float = 0.01


@final
class LowRank:
    """σ(Θ(Wᵀx + w₀) + b₀ − uᵀx): K outputs in [0, 1] from r hidden directions of x.

    Parameters
    ----------
    candidates
        Ways to train; more than one are compared by the likelihood of a fifth of the training part.
    shared
        Whether the term uᵀx, common to all outputs, is there.
    own
        Whether each output has an intercept b₀ of its own.

    Notes
    -----
    Targets may lie between 0 and 1; the loss is the cross-entropy −q log p − (1 − q) log(1 − p).
    """

    def __init__(self, *, candidates: Sequence[Training], shared: bool, own: bool) -> None:
        self.candidates = tuple(candidates)
        self.shared, self.own = shared, own
        self.chosen = self.candidates[0]
        self._parameters: list[NDArray[np.float32]] = []

    def fit(self, features: NDArray[np.float32], targets: NDArray[np.floating], rng: np.random.Generator) -> None:
        """Learn from features, shape (n, d), and targets in [0, 1], shape (n, K)."""
        targets = targets.astype(np.float32)
        self.chosen = self.candidates[0]
        if len(self.candidates) > 1:
            rows, held_out = held_out_fifth(len(features), rng)

            def surprise(candidate: Training) -> float:
                self._train(features[rows], targets[rows], candidate, rng)
                likely = np.clip(self.predict(features[held_out]), 1e-6, 1 - 1e-6)
                found = targets[held_out]
                return -float(np.mean(found * np.log(likely) + (1 - found) * np.log(1 - likely)))

            self.chosen = best_of(self.candidates, surprise)
        self._train(features, targets, self.chosen, rng)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the outputs, shape (m, K)."""
        return self._forward(features)[1].astype(np.float64)

    def _forward(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        directions, offsets, outputs, own, common = self._parameters
        hidden = features @ directions + offsets
        logits = hidden @ outputs.T + own - (features @ common)[:, None]
        return hidden, (1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))).astype(np.float32)

    def _train(
        self,
        features: NDArray[np.float32],
        targets: NDArray[np.float32],
        how: Training,
        rng: np.random.Generator,
    ) -> None:
        queries, width = features.shape
        llms = targets.shape[1]
        base = np.clip(targets.mean(axis=0), 0.01, 0.99)
        start = np.log(base / (1 - base)).astype(np.float32)
        directions = rng.normal(0.0, 0.5, (width, how.rank)).astype(np.float32)
        outputs = rng.normal(0.0, 0.1, (llms, how.rank)).astype(np.float32)
        offsets = np.zeros(how.rank, dtype=np.float32)
        own = start if self.own else np.zeros(llms, dtype=np.float32)
        if not self.own:  # one hidden direction begins as the LLMs' own level
            directions[:, 0], offsets[0], outputs[:, 0] = 0.0, 1.0, start
        self._parameters = [directions, offsets, outputs, own, np.zeros(width, dtype=np.float32)]
        adam = _Adam(self._parameters)
        steps = how.epochs * -(-queries // _BATCH)
        step = 0
        for _ in range(how.epochs):
            order = rng.permutation(queries)
            for begin in range(0, queries, _BATCH):
                rows = order[begin : begin + _BATCH]
                rate = how.rate * 0.5 * (1 + np.cos(np.pi * step / steps))
                adam.step(self._gradients(features[rows], targets[rows], how.decay), rate)
                step += 1

    def _gradients(
        self, features: NDArray[np.float32], targets: NDArray[np.float32], decay: float
    ) -> list[NDArray[np.float32]]:
        directions, _, outputs, _, common = self._parameters
        hidden, likely = self._forward(features)
        slope = (likely - targets) / np.float32(len(features))
        back = slope @ outputs
        decay32 = np.float32(decay)
        return [
            features.T @ back + decay32 * directions,
            back.sum(axis=0),
            slope.T @ hidden + decay32 * outputs,
            slope.sum(axis=0) if self.own else np.zeros_like(slope[0]),
            -(features.T @ slope.sum(axis=1)) + decay32 * common if self.shared else np.zeros_like(common),
        ]


@final
class _Adam:
    def __init__(self, parameters: list[NDArray[np.float32]]) -> None:
        self._parameters = parameters
        self._means = [np.zeros_like(parameter) for parameter in parameters]
        self._squares = [np.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    def step(self, gradients: list[NDArray[np.float32]], rate: float) -> None:
        """Move the parameters, in place."""
        self._steps += 1
        mean_share = 1 - _FIRST_MOMENT**self._steps
        square_share = 1 - _SECOND_MOMENT**self._steps
        for parameter, mean, square, gradient in zip(
            self._parameters, self._means, self._squares, gradients, strict=True
        ):
            mean *= np.float32(_FIRST_MOMENT)
            mean += np.float32(1 - _FIRST_MOMENT) * gradient
            square *= np.float32(_SECOND_MOMENT)
            square += np.float32(1 - _SECOND_MOMENT) * np.square(gradient)
            scale = np.sqrt(square / np.float32(square_share)) + np.float32(_SAFETY)
            parameter -= np.float32(rate / mean_share) * mean / scale
