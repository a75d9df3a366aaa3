from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixllm.errors import InvalidValueError, UnknownLLMError
from mixllm.logs import RoutingLog, fit_price
from mixllm.playback import SYNTHETIC_DOMAINS, SYNTHETIC_LLMS, SyntheticTruth, synthetic_log


@pytest.fixture(scope="module")
def large() -> RoutingLog:
    return synthetic_log(queries=4000, seed=11)


def test_the_same_seed_gives_the_same_log() -> None:
    first, again, other = (synthetic_log(queries=50, seed=seed) for seed in (1, 1, 2))
    assert first.prompts == again.prompts
    assert first.answers == again.answers
    np.testing.assert_array_equal(first.quality, again.quality)
    np.testing.assert_array_equal(first.latency_s, again.latency_s)
    assert first.prompts != other.prompts


def test_an_llm_answers_alike_whoever_else_is_there() -> None:
    everyone = synthetic_log(queries=60, seed=3)
    some = synthetic_log(queries=60, seed=3, llms=["ember-mini", "atlas-large"])
    assert some.llms == ("ember-mini", "atlas-large")
    expected = everyone.select_llms(some.llms)
    assert some.prompts == everyone.prompts
    assert some.answers == expected.answers
    for name in ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s", "ttft_s"):
        np.testing.assert_array_equal(getattr(some, name), getattr(expected, name))


def test_shape_and_labels(large: RoutingLog) -> None:
    assert len(set(large.prompts)) == len(large) == 4000
    domains, counts = np.unique(large.labels["domain"], return_counts=True)
    assert set(domains) == set(SYNTHETIC_DOMAINS)
    assert counts.tolist() == [500] * 8
    for query_id, domain in zip(large.query_ids, large.labels["domain"], strict=True):
        assert query_id.startswith(f"{domain}-")
    assert not any("{" in prompt or "}" in prompt for prompt in large.prompts)
    assert large.answers is not None
    assert all(answer and "{n}" not in answer for answers in large.answers for answer in answers)
    assert set(np.unique(large.quality)) == {0.0, 1.0}


def test_times_and_costs_fit_together(large: RoutingLog) -> None:
    assert (large.ttft_s > 0).all()
    assert (large.latency_s > large.ttft_s).all()
    assert (large.tokens_out >= 1).all()
    for column, llm in enumerate(SYNTHETIC_LLMS):
        fitted = fit_price(
            cost_usd=large.cost_usd[:, column],
            tokens_in=large.tokens_in[:, column],
            tokens_out=large.tokens_out[:, column],
        )
        assert fitted == llm.price


@pytest.mark.parametrize("graded", [False, True])
def test_qualities_follow_the_planted_truth(graded: bool) -> None:
    log = synthetic_log(queries=4000, seed=11, graded=graded)
    truth = SyntheticTruth.of()
    domains = np.array(log.labels["domain"])
    difficulties = np.array([query_id.split("-")[1] for query_id in log.query_ids])
    for row, domain in enumerate(truth.domains):
        found = log.quality[domains == domain].mean(axis=0)
        np.testing.assert_allclose(found, truth.probability[row], atol=0.08)
        for level, difficulty in enumerate(("easy", "medium", "hard")):
            cell = log.quality[(domains == domain) & (difficulties == difficulty)].mean(axis=0)
            np.testing.assert_allclose(cell, truth.by_difficulty[row, level], atol=0.16)
    assert ((log.quality > 0) & (log.quality < 1)).any() == graded


def test_difficulties_average_to_the_domain() -> None:
    truth = SyntheticTruth.of()
    average = np.tensordot(truth.by_difficulty, [0.3, 0.4, 0.3], axes=([1], [0]))
    np.testing.assert_allclose(average, truth.probability)
    assert ((truth.by_difficulty > 0) & (truth.by_difficulty < 1)).all()
    assert (np.diff(truth.by_difficulty, axis=1) <= 0).all()


def test_expected_quality_is_that_of_each_query() -> None:
    log = synthetic_log(queries=30, llms=["fjord-tiny", "atlas-large"])
    truth = SyntheticTruth.of()
    expected = truth.expected_quality(log)
    assert expected.shape == log.quality.shape
    row = truth.domains.index(log.labels["domain"][7])
    assert expected[7].tolist() == [truth.probability[row, 5], truth.probability[row, 0]]


def test_there_is_much_to_save(large: RoutingLog) -> None:
    truth = SyntheticTruth.of()
    domains = np.array(large.labels["domain"])
    reference = large.column(large.strongest())
    assert large.strongest() == "atlas-large"
    assert large.mean_cost_usd().argmax() == reference
    chosen = np.array([large.column(truth.best(domain, max_share_lost=0.05)) for domain in domains])
    rows = np.arange(len(large))
    quality_ratio = large.quality[rows, chosen].mean() / large.quality[:, reference].mean()
    cost_ratio = large.cost_usd[rows, chosen].mean() / large.cost_usd[:, reference].mean()
    assert quality_ratio >= 0.97
    assert cost_ratio <= 0.2
    best = np.array([large.column(truth.best(domain, max_share_lost=0.02)) for domain in domains])
    assert large.quality[rows, best].mean() >= 0.98 * large.quality[:, reference].mean()
    assert large.quality[:, large.column("fjord-tiny")].mean() < 0.7


def test_llms_tend_to_miss_the_same_queries(large: RoutingLog) -> None:
    atlas, boreal = (large.quality[:, large.column(llm)] for llm in ("atlas-large", "boreal-pro"))
    assert boreal[atlas == 0].mean() < boreal[atlas == 1].mean() - 0.15


def test_domains_can_be_chosen() -> None:
    log = synthetic_log(queries=20, domains=["law", "chat"])
    assert set(log.labels["domain"]) == {"law", "chat"}


def test_more_queries_than_templates_are_all_different() -> None:
    log = synthetic_log(queries=3000, domains=["translation"], llms=["ember-mini"])
    assert len(set(log.prompts)) == 3000


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"queries": 0}, "queries must be >= 1"),
        ({"domains": []}, "domains must be different names"),
        ({"domains": ["cooking"]}, "domains must be different names of math, coding"),
        ({"domains": ["law", "law"]}, "domains must be different names"),
        ({"llms": []}, "llms must be one name or more"),
    ],
)
def test_refuses_bad_parameters(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        synthetic_log(**parameters)


def test_refuses_llms_and_domains_it_does_not_know() -> None:
    with pytest.raises(UnknownLLMError, match="Did you mean 'atlas-large'"):
        synthetic_log(llms=["atlas-larg"])
    with pytest.raises(InvalidValueError, match="domain must be one of math"):
        SyntheticTruth.of().best("cooking")
