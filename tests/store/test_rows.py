from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import pytest

from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.errors import InvalidValueError, StoreError
from mixllm.store.rows import (
    checked_feedback,
    decision_from_body,
    decision_row,
    feedback_from_body,
    outcome_from_body,
    outcome_row,
    pool_change_body,
)
from mixllm.types import Candidate, DecisionRecord, LLMSpec, PoolChange

BODY: Final = 8


def with_candidate(record: DecisionRecord, **changes: float) -> DecisionRecord:
    (candidate,) = record.decision.candidates
    changed: Candidate = msgspec.structs.replace(candidate, **changes)
    return msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, candidates=(changed,)))


def test_decision_comes_back_exactly() -> None:
    record = sample_record(1)
    row = decision_row(record)
    assert decision_from_body(row[BODY]) == record.decision
    assert row[0] == record.decision.decision_id
    assert row[7] == record.encoding


@pytest.mark.parametrize("score", [math.inf, -math.inf, math.nan, np.float32("-inf")])
def test_numbers_that_json_lacks_come_back(score: float) -> None:
    back = decision_from_body(decision_row(with_candidate(sample_record(1), score=score))[BODY])
    assert repr(back.candidates[0].score) == repr(float(score))


@pytest.mark.parametrize("score", [np.float32(0.5), np.float64(0.5), np.int64(2)])
def test_scalars_of_numpy_become_plain_numbers(score: float) -> None:
    back = decision_from_body(decision_row(with_candidate(sample_record(1), score=score))[BODY])
    assert back.candidates[0].score == score
    assert type(back.candidates[0].score) is float


def test_invalid_text_is_mended() -> None:
    record = sample_record(1, prompt="a\ud800b")
    decision = msgspec.structs.replace(record.decision, reason="x\udfff", llm="l\ud800")
    row = decision_row(msgspec.structs.replace(record, decision=decision))
    assert row[9] == "a?b"
    assert row[2] == "l?"
    assert decision_from_body(row[BODY]).reason == "x?"


def test_valid_prompt_is_kept_exactly() -> None:
    prompt = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{GRINNING FACE} \0"
    assert decision_row(sample_record(1, prompt=prompt))[9] == prompt


def test_value_of_another_type_is_refused() -> None:
    record = sample_record(1)
    decision = msgspec.structs.replace(record.decision, reason=object())
    with pytest.raises(TypeError):
        decision_row(msgspec.structs.replace(record, decision=decision))
    decision = msgspec.structs.replace(record.decision, reason=None)
    with pytest.raises(msgspec.ValidationError):
        decision_row(msgspec.structs.replace(record, decision=decision))


def test_outcome_that_could_not_be_read_again_is_refused() -> None:
    event = sample_outcome(sample_record(1))
    outcome = msgspec.structs.replace(event.outcome, tokens_in=2.5)
    with pytest.raises(msgspec.ValidationError):
        outcome_row(msgspec.structs.replace(event, outcome=outcome))


def test_feedback_is_normalised() -> None:
    feedback = sample_feedback(sample_record(1), "f", value=1)
    loose = msgspec.structs.replace(feedback, tags=[["team", "a\N{SNOWMAN}"]])
    normal, body = checked_feedback(loose)
    assert normal == feedback
    assert feedback_from_body(body) == feedback


@pytest.mark.parametrize("change", [{"value": True}, {"metric": "\ud800"}, {"tags": ((1, 2),)}, {"source": 7 * [0]}])
def test_feedback_that_could_not_be_read_again_is_refused(change: dict[str, object]) -> None:
    feedback = msgspec.structs.replace(sample_feedback(sample_record(1), "f"), **change)
    with pytest.raises(InvalidValueError, match="feedback must be made of valid text and numbers"):
        checked_feedback(feedback)


def test_pool_change_with_invalid_text_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="change"):
        pool_change_body(PoolChange(spec=LLMSpec(name="a", model="\ud800"), active=True, created_at_s=0.0))


@pytest.mark.parametrize("body", ["", "{", "{}", "null", '{"status": "fine"}'])
def test_damaged_body_is_a_store_error_with_the_next_step(body: str) -> None:
    with pytest.raises(StoreError, match="restore a copy"):
        decision_from_body(body)
    if body != "{}":
        with pytest.raises(StoreError, match="restore a copy"):
            outcome_from_body(body)
