"""What training reads, out of logs with gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.learning.offline.planted_log import LLMS, partial, planted_log, topic_labels, training_set, word_encoder

from mixllm.errors import InvalidValueError
from mixllm.learning.offline import TrainingSet
from mixllm.types import Price

ENCODER = word_encoder()
LOG = planted_log(40)
UNKNOWN = np.full((40, 3), np.nan)


def test_a_whole_log_is_taken_as_it_is() -> None:
    data = training_set(LOG, ENCODER)
    assert (len(data), data.llms, data.reference) == (40, LLMS, LOG.strongest())
    for name in ("quality", "cost_usd", "tokens_out", "latency_s", "ttft_s"):
        np.testing.assert_array_equal(getattr(data, name), getattr(LOG, name))
    np.testing.assert_array_equal(data.tokens_in, LOG.tokens_in[:, 0])
    assert [price.usd_per_million_tokens_out for price in data.prices] == pytest.approx([1.0, 1.0, 10.0], rel=1e-6)
    assert [price.usd_per_million_tokens_in for price in data.prices] == pytest.approx([1.0, 1.0, 10.0], rel=1e-6)
    assert data.reference_cost_usd == pytest.approx(LOG.cost_usd[:, LLMS.index(data.reference)].mean())


def test_prices_and_reference_that_are_known_stay() -> None:
    price = Price(usd_per_million_tokens_in=7, usd_per_million_tokens_out=8)
    data = training_set(LOG, ENCODER, reference="verse-llm", prices=[None, price, None])
    assert data.prices[1] == price
    assert data.prices[0].usd_per_million_tokens_out == pytest.approx(1.0)
    assert data.reference == "verse-llm"


def test_prompt_tokens_are_the_mean_over_llms_or_a_guess() -> None:
    tokens = LOG.tokens_in.copy()
    tokens[0] = [10.0, 20.0, np.nan]
    tokens[1] = np.nan
    tokens[2] = 0.0
    data = training_set(planted_log(40, tokens_in=tokens), ENCODER)
    assert data.tokens_in[0] == 15.0
    assert data.tokens_in[1] == pytest.approx(len(LOG.prompts[1]) / 4, abs=1)
    assert data.tokens_in[2] == 1.0


def test_answers_stand_for_unknown_lengths() -> None:
    answers = tuple(("x" * 40, None, "y" * 80) for _ in range(40))
    data = training_set(planted_log(40, tokens_out=UNKNOWN, answers=answers), ENCODER)
    assert data.tokens_out[0, [0, 2]].tolist() == [10.0, 20.0]
    assert data.tokens_out[:, 1].tolist() == [1.0] * 40, "nothing tells its lengths"
    known = training_set(planted_log(40, answers=answers), ENCODER)
    np.testing.assert_array_equal(known.tokens_out, LOG.tokens_out)


def test_without_lengths_costs_follow_the_prompt() -> None:
    arrays = partial(planted_log(40)) | {"tokens_out": UNKNOWN}
    data = training_set(planted_log(40, **arrays), ENCODER)
    np.testing.assert_array_equal(np.isnan(data.tokens_out), np.isnan(data.cost_usd))
    assert np.nanmax(data.tokens_out) == 1.0
    assert all(price.usd_per_million_tokens_in >= 0 for price in data.prices)


def test_the_scale_of_cost_is_above_0() -> None:
    free = LOG.cost_usd * np.array([1.0, 1.0, 0.0])
    data = training_set(planted_log(40, cost_usd=free), ENCODER, reference="large")
    assert data.reference_cost_usd == pytest.approx(free.mean())
    none = training_set(planted_log(40, cost_usd=free * 0), ENCODER, reference="large")
    assert none.reference_cost_usd == 1e-9
    never = replace(data, cost_usd=np.where([True, True, False], LOG.cost_usd, np.nan))
    assert never.reference_cost_usd == pytest.approx(LOG.cost_usd[:, :2].mean())


def test_some_queries() -> None:
    data = training_set(LOG, ENCODER)
    rows = np.array([7, 3])
    some = data.select(rows)
    assert len(some) == 2
    assert some.labels.query_ids == ("q7", "q3")
    assert data.token_ids is not None
    assert some.token_ids == (data.token_ids[7], data.token_ids[3])
    for name in ("encodings", "quality", "cost_usd", "tokens_out", "latency_s", "ttft_s", "tokens_in"):
        np.testing.assert_array_equal(getattr(some, name), getattr(data, name)[rows])
    np.testing.assert_array_equal(some.labels.weights, data.labels.weights[rows])
    assert (some.prices, some.reference) == (data.prices, data.reference)
    assert training_set(LOG, ENCODER, token_ids=None).select(rows).token_ids is None


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("quality", {"encodings": ENCODER.encode_batch(LOG.texts)[:5]}),
        ("token_ids", {"token_ids": [[1]]}),
        ("labels", {"labels": topic_labels(planted_log(39))}),
        ("reference", {"reference": "gpt"}),
        ("prices", {"prices": [None]}),
    ],
)
def test_what_does_not_fit_is_refused(parameter: str, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        training_set(LOG, ENCODER, **changed)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("name", ["quality", "cost_usd", "tokens_out", "latency_s", "ttft_s", "tokens_in", "prices"])
def test_arrays_of_other_shapes_are_refused(name: str) -> None:
    data = training_set(LOG, ENCODER)
    with pytest.raises(InvalidValueError) as caught:
        replace(data, **{name: getattr(data, name)[:2]})
    assert caught.value.parameter == name
    empty: dict[str, Any] = {"encodings": data.encodings[:0]}
    with pytest.raises(InvalidValueError, match="one query or more"):
        replace(data, **empty)
    assert isinstance(data, TrainingSet)
