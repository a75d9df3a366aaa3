"""The distilled tagger: multinomial logistic regression from an encoding to calibrated tag probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.tags.unit_block import unit_scale

__all__ = ["LogisticTagger"]


class LogisticTagger:
    """π = softmax(A x + b), x scaled so that its leading block has length 1.

    Wherever labels came from (a column of the log, an LLM, clusters), they end here: one matrix that tags a query in
    microseconds.

    Parameters
    ----------
    tags
        Names of the T tags.
    weights
        A, shape (T, d).
    bias
        b, shape (T,).
    leading
        Length of the leading block of unit length; d where the encoder has one block.
    vocabulary
        Version of the vocabulary that the tags come from.

    Examples
    --------
    >>> tagger = LogisticTagger(tags=["a", "b"], weights=np.array([[2.0], [0.0]]), bias=np.zeros(2), leading=1)
    >>> tagger.tag(np.array([1.0])).round(2)
    array([0.88, 0.12], dtype=float32)
    """

    def __init__(
        self,
        *,
        tags: Sequence[str],
        weights: NDArray[np.floating],
        bias: NDArray[np.floating],
        leading: int,
        vocabulary: str = "",
    ) -> None:
        if len(tags) < 1 or len(set(tags)) != len(tags):
            raise InvalidValueError("tags", tags, "one unique name or more")
        if np.ndim(weights) != 2 or len(weights) != len(tags) or not np.isfinite(weights).all():
            raise InvalidValueError("weights", np.shape(weights), f"finite numbers of shape ({len(tags)}, d)")
        if np.shape(bias) != (len(tags),) or not np.isfinite(bias).all():
            raise InvalidValueError("bias", np.shape(bias), f"finite numbers of shape ({len(tags)},)")
        if not 1 <= leading <= weights.shape[1]:
            raise InvalidValueError("leading", leading, f"between 1 and {weights.shape[1]}")
        self.tags = tuple(tags)
        self.weights = np.array(weights, np.float32, order="C")
        self.bias = np.array(bias, np.float32)
        self._columns = np.ascontiguousarray(self.weights.T)
        self.leading = leading
        self.vocabulary = vocabulary

    @property
    def fingerprint(self) -> str:
        """Identity of the tagger: names, weights and vocabulary."""
        digest = hashlib.sha256(self.weights.tobytes() + self.bias.tobytes())
        digest.update(repr((self.tags, self.leading, self.vocabulary)).encode())
        return f"logistic-{len(self.tags)}-{digest.hexdigest()[:12]}"

    def tag(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return tag probabilities, shape (T,), that sum to 1; for encodings of shape (n, d), shape (n, T)."""
        x = np.asarray(encoding, np.float32)
        # Scaling the few logits instead of the encoding comes to the same, and is what the request path has time for.
        logits = (x @ self._columns) * unit_scale(x, self.leading) + self.bias
        weights: NDArray[np.float32] = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
        weights /= np.add.reduce(weights, axis=-1, keepdims=True)
        return weights
