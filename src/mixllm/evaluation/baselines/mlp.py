"""``mlp``: a multi-layer perceptron on the encoding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.baselines.costs import TokenCosts
from mixllm.evaluation.baselines.tuning import best_of, held_out_fifth, mean_squared_error
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.evaluation.extra import bench_extra

__all__ = ["Perceptron"]

_WIDTH = 100
_EPOCHS = 40
_FEWEST_TO_STOP_BY = 50


@final
class Perceptron:
    """Quality of all LLMs by one hidden layer of 100; cost by the prompt's length.

    Training stops early by a tenth of the training part.

    Parameters
    ----------
    penalties
        Candidates for scikit-learn's alpha, compared by the squared error of quality on a fifth of the training part.
    """

    name = "mlp"
    folds = 1

    def __init__(self, *, penalties: Sequence[float] = (0.1, 1.0)) -> None:
        self.penalties = tuple(penalties)
        self._network: Any = None
        self._costs = TokenCosts()

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Train the network."""
        encodings, quality = training.encodings, training.log.quality.astype(np.float32)
        rows, held_out = held_out_fifth(len(training), rng)
        seed = int(rng.integers(2**31))

        def error(penalty: float) -> float:
            network = _trained(encodings[rows], quality[rows], penalty, seed)
            return mean_squared_error(_columns(network.predict(encodings[held_out])), quality[held_out])

        self._network = _trained(encodings, quality, best_of(self.penalties, error), seed)
        self._costs.fit(training)

    def predict(self, test: TestData) -> Predictions:
        """Return expected qualities and costs."""
        quality = _columns(self._network.predict(test.encodings)).astype(np.float64)
        return Predictions(quality=quality, cost_usd=self._costs.predict(test))


def _trained(encodings: NDArray[np.float32], quality: NDArray[np.float32], penalty: float, seed: int) -> Any:
    with bench_extra("mlp"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

    network = MLPRegressor(
        hidden_layer_sizes=(_WIDTH,),
        alpha=penalty,
        batch_size=max(1, min(256, len(encodings) // 2)),
        learning_rate_init=2e-3,
        max_iter=_EPOCHS,
        early_stopping=len(encodings) >= _FEWEST_TO_STOP_BY,
        n_iter_no_change=5,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is bounded on purpose
        return network.fit(encodings, quality[:, 0] if quality.shape[1] == 1 else quality)


def _columns(predicted: Any) -> NDArray[np.floating]:
    array = np.asarray(predicted)
    return array.reshape(len(array), -1)
