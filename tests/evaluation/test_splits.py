from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.worlds import ENCODER, domain_data, domain_log, make_log

from mixllm.errors import InvalidValueError, LogError, UnknownLLMError
from mixllm.evaluation.splits import domain_splits, fold_rows, prepare, random_splits


def test_splits_are_four_fifths_and_a_fifth_and_do_not_overlap() -> None:
    data = domain_data(100)
    splits = list(random_splits(data, splits=3, seed=1))
    for split in splits:
        assert len(split.train) == 80
        assert len(split.test) == 20
        assert not set(split.train.query_ids) & set(split.test.query_ids)
        assert np.array_equal(split.test_encodings, ENCODER.encode_batch(split.test.prompts))
        assert split.train_texts == split.train.prompts
    assert len({split.test.query_ids for split in splits}) == 3


def test_the_same_seed_gives_the_same_splits_however_many_are_asked() -> None:
    data = domain_data(60)
    few = [split.test.query_ids for split in random_splits(data, splits=2, seed=4)]
    many = [split.test.query_ids for split in random_splits(data, splits=5, seed=4)]
    other = [split.test.query_ids for split in random_splits(data, splits=2, seed=5)]
    assert many[:2] == few
    assert not set(other) & set(many)


def test_domains_are_held_out_one_by_one() -> None:
    data = domain_data(120)
    splits = list(domain_splits(data, seed=0))
    assert [split.name for split in splits] == ["domain=law", "domain=sums", "domain=verse"]
    for split in splits:
        held_out = set(split.test.labels["domain"])
        assert len(held_out) == 1
        assert not held_out & set(split.train.labels["domain"])
        assert len(split.train) + len(split.test) == 120


def test_queries_that_an_llm_was_not_asked_are_left_out_and_counted() -> None:
    quality = np.ones((30, 2))
    quality[:5, 0] = np.nan
    data = prepare(make_log(quality, quality.copy()), encoder=ENCODER)
    assert len(data.log) == 25
    assert data.left_out == 5


def test_tokens_are_the_recorded_ones_or_an_estimate_from_the_characters() -> None:
    tokens = np.full((12, 2), np.nan)
    tokens[0] = (10.0, 20.0)
    tokens[1] = (np.nan, 7.0)
    log = make_log(np.ones((12, 2)), np.ones((12, 2)), tokens_in=tokens, prompts=("x" * 40,) * 12)
    assert prepare(log, encoder=ENCODER).tokens_in.tolist() == [15.0, 7.0] + [10.0] * 10


def test_label_and_reference_are_found_or_given() -> None:
    assert domain_data().label == "domain"
    assert domain_data().reference == "c"
    assert domain_data(reference="a").reference == "a"
    plain = make_log(np.ones((12, 2)), np.ones((12, 2)), labels={"split": ("x", "y") * 6, "task": ("one",) * 12})
    assert prepare(plain, encoder=ENCODER).label is None
    assert prepare(plain, encoder=ENCODER, label="split").label == "split"
    with pytest.raises(LogError, match="Did you mean 'domain'"):
        domain_data(label="domian")
    with pytest.raises(UnknownLLMError):
        domain_data(reference="z")


def test_bad_requests_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="splits"):
        list(random_splits(domain_data(20), splits=0, seed=0))
    with pytest.raises(LogError, match="only 4 queries"):
        prepare(domain_log(4), encoder=ENCODER)
    plain = prepare(make_log(np.ones((12, 2)), np.ones((12, 2))), encoder=ENCODER)
    with pytest.raises(LogError, match="--label"):
        list(domain_splits(plain, seed=0))
    with pytest.raises(LogError, match="fewer than two"):
        list(domain_splits(domain_data(30), seed=0))
    with pytest.raises(InvalidValueError, match="folds"):
        fold_rows(10, folds=0, rng=np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match="queries"):
        fold_rows(2, folds=1, rng=np.random.default_rng(0))


@pytest.mark.parametrize("folds", [1, 2, 3, 5])
def test_folds_are_held_out_once_each(folds: int) -> None:
    parts = fold_rows(30, folds=folds, rng=np.random.default_rng(0))
    assert len(parts) == folds
    for train, held_out in parts:
        assert sorted([*train, *held_out]) == list(range(30))
        assert len(held_out) == 30 // max(folds, 2) if folds > 1 else 10
    if folds > 1:
        assert sorted(np.concatenate([held_out for _, held_out in parts]).tolist()) == list(range(30))
