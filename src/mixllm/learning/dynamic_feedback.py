"""The paper's dynamic-feedback score: a perceptron that all LLMs share, trained by policy gradient on thumbs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.units import finite, fraction, positive

__all__ = ["DynamicFeedback", "FrozenScores"]

_EMBEDDING = 8
_DECAY_MEAN, _DECAY_SQUARE, _TINY = 0.9, 0.999, 1e-8  # Adam's
_PRIOR_VARIANCE = 0.25 / 50.0
"""Variance of what is known of an LLM's share of thumbs up without any: that of 50 thumbs."""

_LEAST_SPREAD = 0.01
_MAX_THUMB = 10.0
_MAX_PARAMETER = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenScores:
    """The scores as one snapshot has them.

    Parameters
    ----------
    input_weights, llm_inputs
        First layer: of z, shape (D, H), and what each LLM adds to it, shape (K, H).
    hidden_weights, hidden_bias, output_weights
        The other two layers, shapes (H, H), (H,) and (H,).
    reach
        κ of each LLM times the largest correction, shape (K,).
    """

    input_weights: NDArray[np.float64]
    llm_inputs: NDArray[np.float64]
    hidden_weights: NDArray[np.float64]
    hidden_bias: NDArray[np.float64]
    output_weights: NDArray[np.float64]
    reach: NDArray[np.float64]

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Return what to add to each LLM's quality at z: shape (K,) for (D,), (n, K) for (n, D)."""
        first = np.tanh((features @ self.input_weights)[..., None, :] + self.llm_inputs)
        second = np.tanh(first @ self.hidden_weights + self.hidden_bias)
        scores = second @ self.output_weights
        centred = scores - scores.mean(axis=-1, keepdims=True) if scores.shape[-1] else scores
        corrections: NDArray[np.float64] = self.reach * np.tanh(centred)
        return corrections


class DynamicFeedback:
    """Scores every LLM at z by what thumbs said.

    Parameters
    ----------
    dimension
        Length D of the features.
    hidden
        Units of each of the two hidden layers.
    learning_rate
        η; the paper's is 0.001.
    strength
        The largest correction of a quality.
    seed
        Of the first weights.

    Notes
    -----
    s_l(z) = w₃ᵀ tanh(W₂ tanh(W₁[z, e_l] + b₁) + b₂), with e_l a vector of the LLM's own that starts from its name: an
    LLM that comes changes no other. The scores make a policy, π(l|z) = softmax over the LLMs that were judged; a thumb
    r of LLM l goes up the gradient (r − q̂)·∇ log π(l|z), by Adam with η. q̂ is the quality that was expected, the
    correction included: with the mean of all thumbs in its place, an LLM that is asked often would be raised for that
    alone. What is added to the quality is strength · κ_l · tanh(s_l − mean s), with the confidence κ_l = ν₀/(ν₀ + ν_l):
    ν_l is the variance of the mean of the LLM's thumbs, ν₀ that of fifty thumbs. The paper's form is not known in full.
    """

    def __init__(
        self,
        *,
        dimension: int,
        hidden: int = 32,
        learning_rate: float = 0.001,
        strength: float = 0.2,
        seed: int = 0,
    ) -> None:
        if dimension < 1 or hidden < 1:
            raise InvalidValueError("dimension, hidden", (dimension, hidden), ">= 1")
        self.dimension = dimension
        self.hidden = hidden
        self.learning_rate = positive("learning_rate", learning_rate)
        self.strength = fraction("strength", strength)
        self.seed = seed
        rng = np.random.default_rng(seed)
        inputs = dimension + _EMBEDDING
        self._weights = {
            "first": rng.normal(0.0, inputs**-0.5, (inputs, hidden)),
            "first_bias": np.zeros(hidden),
            "second": rng.normal(0.0, hidden**-0.5, (hidden, hidden)),
            "second_bias": np.zeros(hidden),
            "third": np.zeros(hidden),  # All scores begin at 0: no thumb, no opinion.
            "llms": np.zeros((0, _EMBEDDING)),
        }
        self._means = {name: np.zeros_like(array) for name, array in self._weights.items()}
        self._squares = {name: np.zeros_like(array) for name, array in self._weights.items()}
        self._steps = 0
        self._thumbs: dict[str, tuple[float, float]] = {}  # Weight, and weight of those up.

    @property
    def llms(self) -> tuple[str, ...]:
        """Names of the LLMs that were judged."""
        return tuple(self._thumbs)

    def learn(self, llm: str, features: FloatArray, thumb: float, *, expected: float, weight: float = 1.0) -> None:
        """Learn one thumb, 1 for up and 0 for down, or what is left of it when its source's bias is taken off.

        Parameters
        ----------
        llm, features
            Whose answer is judged, to which z, shape (D,).
        thumb
            The thumb.
        expected
            The quality that the predictors forecast.
        weight
            How much it counts.

        Raises
        ------
        InvalidValueError
            Where the thumb is further than 10 from 0, or the features do not fit; what is known stays as it was.
        """
        z = np.asarray(features, np.float64)
        if not abs(finite("thumb", thumb)) <= _MAX_THUMB:
            raise InvalidValueError("thumb", thumb, f"within ±{_MAX_THUMB:g}")
        if z.shape != (self.dimension,) or not np.isfinite(z).all():
            raise InvalidValueError("features", z.shape, f"finite, of shape ({self.dimension},)")
        self._welcome(llm)
        row = self.llms.index(llm)
        advantage = thumb - expected - float(self.freeze(self.llms).predict(z)[row])
        count, up = self._thumbs[llm]
        self._thumbs[llm] = count + weight, up + weight * thumb
        self._step(self._gradient(row, z, weight * advantage))

    def confidence(self, llm: str) -> float:
        """Return κ of an LLM, in [0, 1)."""
        count, up = self._thumbs.get(llm, (0.0, 0.0))
        if count == 0.0:
            return 0.0
        share = min(1.0, max(0.0, (up + 1.0) / (count + 2.0)))
        return _PRIOR_VARIANCE / (_PRIOR_VARIANCE + max(share * (1.0 - share), _LEAST_SPREAD) / count)

    def freeze(self, llms: Sequence[str]) -> FrozenScores:
        """Return the scores of these LLMs; an LLM without thumbs gets no correction."""
        weights = self._weights
        known = {name: row for row, name in enumerate(self._thumbs)}
        vectors = [weights["llms"][known[name]] if name in known else _first_vector(name, self.seed) for name in llms]
        stacked = np.array(vectors).reshape(len(llms), _EMBEDDING)
        return FrozenScores(
            input_weights=weights["first"][: self.dimension].copy(),
            llm_inputs=stacked @ weights["first"][self.dimension :] + weights["first_bias"],
            hidden_weights=weights["second"].copy(),
            hidden_bias=weights["second_bias"].copy(),
            output_weights=weights["third"].copy(),
            reach=self.strength * np.array([self.confidence(name) for name in llms]),
        )

    def merge(self, other: Self) -> None:
        """Add what `other` knows: thumbs add up, weights are averaged by how many thumbs they have learned.

        Averaged weights are near those of one learner on all thumbs only while both started from the same: unlike all
        other learned state, they do not add up.
        """
        if (self.dimension, self.hidden, self.seed) != (other.dimension, other.hidden, other.seed):
            raise InvalidValueError("other", other.dimension, "one with the same shape and seed")
        for llm in other.llms:
            self._welcome(llm)
        mine, theirs = self._steps, other._steps
        share = theirs / (mine + theirs) if mine + theirs else 0.0
        for tables, others in (
            (self._weights, other._weights),
            (self._means, other._means),
            (self._squares, other._squares),
        ):
            for name, array in tables.items():
                rows = [self.llms.index(llm) for llm in other.llms] if name == "llms" else slice(None)
                array[rows] += share * (others[name] - array[rows])
        self._steps = mine + theirs
        for llm, (count, up) in other._thumbs.items():
            self._thumbs[llm] = self._thumbs[llm][0] + count, self._thumbs[llm][1] + up

    def state(self) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
        """Return weights, their optimiser's moments and the thumbs, and the LLMs of the rows."""
        arrays = {
            f"{kind}.{name}": array.copy()
            for kind, table in (("weights", self._weights), ("means", self._means), ("squares", self._squares))
            for name, array in table.items()
        }
        arrays["steps"] = np.array([float(self._steps)])
        arrays["thumbs"] = np.array(list(self._thumbs.values()), np.float64).reshape(len(self._thumbs), 2)
        return arrays, self.llms

    def cleared(self) -> Self:
        """Return scores with the same settings that have learned nothing."""
        return type(self)(
            dimension=self.dimension,
            hidden=self.hidden,
            learning_rate=self.learning_rate,
            strength=self.strength,
            seed=self.seed,
        )

    def load_state(self, arrays: Mapping[str, NDArray[np.float64]], llms: Sequence[str]) -> None:
        """Replace the state; raises `StateError` where it is damaged, and leaves it as it was."""
        for name, array in self.state()[0].items():
            rows = (len(llms),) if name == "thumbs" or name.endswith(".llms") else array.shape[:1]
            given = arrays.get(name)
            sound = given is not None and given.shape == (*rows, *array.shape[1:])
            if given is None or not sound or not (np.abs(given) < _MAX_PARAMETER).all():
                raise StateError(f"The state of the dynamic feedback ({name}) is damaged. Load another checkpoint.")
        for kind, table in (("weights", self._weights), ("means", self._means), ("squares", self._squares)):
            table.update({name: arrays[f"{kind}.{name}"].astype(np.float64) for name in table})
        self._steps = int(arrays["steps"][0])
        self._thumbs = {
            llm: (float(count), float(up)) for llm, (count, up) in zip(llms, arrays["thumbs"].tolist(), strict=True)
        }

    def _welcome(self, llm: str) -> None:
        if llm in self._thumbs:
            return
        self._thumbs[llm] = 0.0, 0.0
        self._weights["llms"] = np.vstack([self._weights["llms"], _first_vector(llm, self.seed)])
        for table in (self._means, self._squares):
            table["llms"] = np.vstack([table["llms"], np.zeros(_EMBEDDING)])

    def _gradient(self, row: int, z: NDArray[np.float64], advantage: float) -> dict[str, NDArray[np.float64]]:
        """Return the gradient of advantage · log π(row|z), by back-propagation over all LLMs at once."""
        weights = self._weights
        vectors = weights["llms"]
        inputs = np.hstack([np.tile(z, (len(vectors), 1)), vectors])
        first = np.tanh(inputs @ weights["first"] + weights["first_bias"])
        second = np.tanh(first @ weights["second"] + weights["second_bias"])
        scores = second @ weights["third"]
        policy = np.exp(scores - scores.max())
        blame = -advantage * policy / policy.sum()
        blame[row] += advantage
        into_second = np.outer(blame, weights["third"]) * (1.0 - second**2)
        into_first = (into_second @ weights["second"].T) * (1.0 - first**2)
        return {
            "first": inputs.T @ into_first,
            "first_bias": into_first.sum(axis=0),
            "second": first.T @ into_second,
            "second_bias": into_second.sum(axis=0),
            "third": second.T @ blame,
            "llms": (into_first @ weights["first"].T)[:, self.dimension :],
        }

    def _step(self, gradient: Mapping[str, NDArray[np.float64]]) -> None:
        self._steps += 1
        for name, slope in gradient.items():
            mean, square = self._means[name], self._squares[name]
            mean += (1.0 - _DECAY_MEAN) * (slope - mean)
            square += (1.0 - _DECAY_SQUARE) * (slope**2 - square)
            towards = mean / (1.0 - _DECAY_MEAN**self._steps)
            scale = np.sqrt(square / (1.0 - _DECAY_SQUARE**self._steps)) + _TINY
            self._weights[name] += self.learning_rate * towards / scale


def _first_vector(llm: str, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, zlib.crc32(llm.encode())])
    return rng.normal(0.0, _EMBEDDING**-0.5, _EMBEDDING)
