"""The distilled tagger, fitted and calibrated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.tags import LogisticTagger
from mixllm.tags.labelling import TagVocabulary
from mixllm.units import positive

__all__ = ["fit_tagger", "out_of_fold_tags"]

_ITERATIONS = 60
_FOLDS = 4
_LEADING_SCALE = 4.0
_BLOCK_SCALE = 6.0
"""Bring the entries of both blocks to about 1, so that one penalty suits them."""


def fit_tagger(
    leading: NDArray[np.float32],
    block: NDArray[np.float32],
    weights: NDArray[np.floating],
    *,
    vocabulary: TagVocabulary,
    penalty: float = 1.0,
) -> LogisticTagger:
    """Fit multinomial logistic regression to soft labels.

    Parameters
    ----------
    leading
        Unit vectors of n queries, shape (n, d).
    block
        What comes after them in an encoding, as a new query would have it (`LexicalFit.out_of_fold`), shape (n, m);
        m may be 0. That it is out of fold is what calibrates the tagger.
    weights
        How much of each tag a query has, shape (n, T); a row of zeros is not learned from.
    vocabulary
        Names and version of the tags.
    penalty
        Ridge penalty on the weights, > 0.

    Raises
    ------
    MissingExtraError
        Where scipy is not installed.
    InvalidValueError
        Where no query is labelled, or lengths differ.

    Notes
    -----
    Minimises −Σ_n Σ_t y_nt log π_nt + penalty/2 ‖A‖² by L-BFGS, with rows of y scaled to sum to 1.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtraError("Training from logs", "fit") from error
    positive("penalty", penalty)
    labelled = np.flatnonzero(np.asarray(weights).sum(axis=1) > 0)
    if len(weights) != len(leading) or not len(labelled):
        raise InvalidValueError("weights", np.shape(weights), f"tags of the {len(leading)} queries, one or more known")
    centre = leading[labelled].mean(axis=0)
    inputs = np.hstack([(leading[labelled] - centre) * _LEADING_SCALE, block[labelled] * _BLOCK_SCALE])
    inputs = np.ascontiguousarray(inputs, np.float32)
    targets = np.asarray(weights[labelled], np.float32)
    targets = targets / targets.sum(axis=1, keepdims=True)
    tags, width = targets.shape[1], inputs.shape[1]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        matrix = flat.reshape(tags, width + 1)
        logits = inputs @ matrix[:, :-1].T.astype(np.float32) + matrix[:, -1].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        excess = np.exp(log_probabilities) - targets
        value = -float((targets * log_probabilities).sum(dtype=np.float64)) + penalty / 2 * float(
            (matrix[:, :-1] ** 2).sum()
        )
        gradient = np.empty_like(matrix)
        gradient[:, :-1] = excess.T @ inputs + penalty * matrix[:, :-1]
        gradient[:, -1] = excess.sum(axis=0)
        return value, gradient.ravel()

    found = minimize(loss, np.zeros(tags * (width + 1)), jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    matrix = found.x.reshape(tags, width + 1)
    size = leading.shape[1]
    of_leading = matrix[:, :size] * _LEADING_SCALE
    return LogisticTagger(
        tags=vocabulary.names,
        weights=np.hstack([of_leading, matrix[:, size:-1] * _BLOCK_SCALE]),
        bias=matrix[:, -1] - of_leading @ centre,
        leading=size,
        vocabulary=vocabulary.version,
    )


def out_of_fold_tags(
    leading: NDArray[np.float32],
    block: NDArray[np.float32],
    weights: NDArray[np.floating],
    *,
    vocabulary: TagVocabulary,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the tags that each query has by a tagger that was fitted without it, shape (n, T).

    A tagger is surer of the queries that it was fitted to than of new ones, even where its block is out of fold.

    Parameters
    ----------
    leading, block, weights, vocabulary
        As `fit_tagger` takes them.
    rng
        Draws the folds.

    Raises
    ------
    MissingExtraError, InvalidValueError
        As `fit_tagger` does.
    """
    folds = rng.permutation(len(leading)) % _FOLDS
    encodings = np.hstack([leading, block]).astype(np.float32)
    found = np.empty(np.shape(weights), np.float32)
    for fold in range(_FOLDS):
        inside = folds != fold
        if not np.asarray(weights[inside]).any():
            inside = np.ones(len(leading), np.bool_)  # So few are labelled that none of the others is.
        tagger = fit_tagger(leading[inside], block[inside], weights[inside], vocabulary=vocabulary)
        held_out = encodings[folds == fold]
        if len(held_out):
            found[folds == fold] = tagger.tag(held_out)
    return found
