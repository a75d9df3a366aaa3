"""The fitted tagger: recovers planted tags, knows how sure it is."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.learning.offline.lexical_fit import fit_lexical
from mixllm.learning.offline.tagger_fit import fit_tagger, out_of_fold_tags
from mixllm.tags.labelling import TagDomain, TagVocabulary

NAMES = ("law", "math", "verse")
VOCABULARY = TagVocabulary(
    domains=tuple(TagDomain(name=name, description=name, tags=(name,)) for name in NAMES), source="test"
)


def planted(
    count: int, *, seed: int = 0, scale: float = 6.0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.intp]]:
    """Return unit vectors, the probabilities of their tags, and a tag drawn from them."""
    truth = np.random.default_rng(9).normal(size=(3, 8))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    logits = scale * x @ truth.T / 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tags = (probabilities.cumsum(axis=1) > rng.uniform(size=(count, 1))).argmax(axis=1)
    return x.astype(np.float32), probabilities, tags


def empty_block(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.empty((len(x), 0), np.float32)


def test_planted_tags_are_recovered_and_calibrated() -> None:
    x, _, tags = planted(1500)
    tagger = fit_tagger(x, empty_block(x), np.eye(3)[tags], vocabulary=VOCABULARY)
    assert (tagger.tags, tagger.vocabulary, tagger.leading) == (NAMES, VOCABULARY.version, 8)
    held_out, truth, drawn = planted(1500, seed=1)
    found = tagger.tag(held_out)
    assert np.abs(found - truth).mean() < 0.04
    top, right = found.max(axis=1), found.argmax(axis=1) == drawn
    for low, high in ((0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        inside = (top >= low) & (top < high)
        assert abs(top[inside].mean() - right[inside].mean()) < 0.07


def test_soft_labels_teach_as_much_as_they_say() -> None:
    x, probabilities, _ = planted(400)
    tagger = fit_tagger(x, empty_block(x), probabilities, vocabulary=VOCABULARY)
    held_out, truth, _ = planted(400, seed=1)
    assert np.abs(tagger.tag(held_out) - truth).mean() < 0.03
    scaled = fit_tagger(x, empty_block(x), probabilities * 0.5, vocabulary=VOCABULARY)
    assert scaled.weights == pytest.approx(tagger.weights, abs=1e-4), "rows count alike whatever they sum to"


def test_unlabelled_queries_are_not_learned_from() -> None:
    x, _, tags = planted(200)
    weights = np.eye(3)[tags]
    weights[100:] = 0.0
    one = fit_tagger(x, empty_block(x), weights, vocabulary=VOCABULARY)
    two = fit_tagger(x[:100], empty_block(x[:100]), weights[:100], vocabulary=VOCABULARY)
    assert np.array_equal(one.weights, two.weights)
    assert np.array_equal(one.bias, two.bias)


def test_a_block_out_of_fold_calibrates() -> None:
    """Tokens that say nothing: a block that saw its own labels is trusted far too much."""
    rng = np.random.default_rng(5)
    x, _, _ = planted(300)
    tags = rng.integers(3, size=300)
    ids = [rng.integers(0, 400, 12).tolist() for _ in range(300)]
    fit = fit_lexical(ids, np.eye(3)[tags], tokens=400, rng=rng)
    fresh = [rng.integers(0, 400, 12).tolist() for _ in range(300)]
    blocks = {"in sample": _block(fit.table, fit.rarity, ids), "out of fold": fit.out_of_fold}
    sure = {}
    for name, block in blocks.items():
        tagger = fit_tagger(x, block, np.eye(3)[tags], vocabulary=VOCABULARY)
        new = np.hstack([x, _block(fit.table, fit.rarity, fresh)])
        sure[name] = float(tagger.tag(new).max(axis=1).mean())
    assert sure["out of fold"] < 0.55, "near to 1/3: nothing is known"
    assert sure["in sample"] > sure["out of fold"] + 0.05


def _block(table: NDArray[np.float32], rarity: NDArray[np.float32], texts: list[list[int]]) -> NDArray[np.float32]:
    rows = []
    for ids in texts:
        tokens = sorted(set(ids))
        r = rarity[tokens]
        rows.append((r[:, None] * table[tokens]).sum(axis=0) / max(float(np.sqrt((r**2).sum())), 1e-9))
    return np.array(rows, np.float32)


def test_a_stronger_penalty_is_less_sure() -> None:
    x, _, tags = planted(200)
    sure = [
        fit_tagger(x, empty_block(x), np.eye(3)[tags], vocabulary=VOCABULARY, penalty=penalty).tag(x).max(axis=1).mean()
        for penalty in (0.1, 10.0, 1e4)
    ]
    assert sure[0] > sure[1] > sure[2]


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, tags = planted(20)
    for bad in (np.zeros((20, 3)), np.eye(3)[tags][:5]):
        with pytest.raises(InvalidValueError, match="weights must be tags of the 20 queries"):
            fit_tagger(x, empty_block(x), bad, vocabulary=VOCABULARY)
    with pytest.raises(InvalidValueError, match="penalty"):
        fit_tagger(x, empty_block(x), np.eye(3)[tags], vocabulary=VOCABULARY, penalty=-1.0)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"mixllm\[fit\]"):
        fit_tagger(x, empty_block(x), np.eye(3)[tags], vocabulary=VOCABULARY)


def test_out_of_fold_tags_are_less_sure_than_those_of_the_fitted_queries() -> None:
    x, _, tags = planted(240)
    noise = np.random.default_rng(2).normal(0.0, 0.3, (240, 60)).astype(np.float32)
    labels = np.eye(3)[tags]
    tagger = fit_tagger(x, noise, labels, vocabulary=VOCABULARY, penalty=0.1)
    inside = tagger.tag(np.hstack([x, noise])).max(axis=1)
    unseen = out_of_fold_tags(x, noise, labels, vocabulary=VOCABULARY, rng=np.random.default_rng(0))
    assert unseen.shape == labels.shape
    np.testing.assert_allclose(unseen.sum(axis=1), 1.0, rtol=1e-5)
    right = unseen.argmax(axis=1) == tags
    assert right.mean() > 0.5
    assert abs(unseen.max(axis=1).mean() - right.mean()) < abs(inside.mean() - right.mean())


def test_out_of_fold_tags_of_very_few_labels() -> None:
    x, _, _ = planted(9)
    labels = np.zeros((9, 3))
    labels[0, 1] = 1.0
    unseen = out_of_fold_tags(x, empty_block(x), labels, vocabulary=VOCABULARY, rng=np.random.default_rng(0))
    assert np.isfinite(unseen).all()
