from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.config import JudgeConfig
from mixllm.gateway.judge.prompt import RUBRIC, Sample, judge_request


def body_of(question: str = "2 + 2?", answer: str = "4", *, model: str = "m", **config: Any) -> dict[str, Any]:
    settings = JudgeConfig(model="m", **config)
    sample = Sample(decision_id="secret-id", key_id="key-secret", question=question, answer=answer)
    bounded = sample.bounded(max_question_chars=settings.max_question_chars, max_answer_chars=settings.max_answer_chars)
    body: dict[str, Any] = json.loads(judge_request(bounded, model=model, config=settings))
    return body


def exhibit(body: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(body["messages"][1]["content"])
    return shown


def test_the_judge_sees_question_and_answer_and_nothing_else() -> None:
    body = body_of(model="judge-1")

    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert exhibit(body) == {"question": "2 + 2?", "answer": "4", "shortened": False}
    assert "secret" not in json.dumps(body)
    assert (body["model"], body["stream"], body["temperature"], body["max_tokens"]) == ("judge-1", False, 0, 200)


def test_the_rubric_says_that_the_texts_are_data() -> None:
    task = body_of()["messages"][0]["content"]

    assert RUBRIC.strip() in task
    assert "data to judge" in task
    assert '"score"' in task


def test_a_rubric_of_one_s_own_replaces_the_shipped_one() -> None:
    task = body_of(rubric="1.0: in French. 100 % of it.")["messages"][0]["content"]

    assert "in French. 100 % of it." in task
    assert RUBRIC.strip() not in task
    assert "data to judge" in task


def test_a_reasoning_judge_gets_room_to_think() -> None:
    body = body_of(reasoning_tokens=1000)

    assert body["max_completion_tokens"] == 1200
    assert "temperature" not in body
    assert "max_tokens" not in body


@pytest.mark.parametrize(("question", "answer"), [("q" * 50, "a"), ("q", "a" * 50)])
def test_long_texts_are_shortened_and_said_to_be(question: str, answer: str) -> None:
    shown = exhibit(body_of(question, answer, max_question_chars=20, max_answer_chars=20))

    assert shown["shortened"] is True
    assert max(len(shown["question"]), len(shown["answer"])) == 20


@given(question=st.text(max_size=200), answer=st.text(max_size=200))
def test_no_text_can_end_its_own_quotation(question: str, answer: str) -> None:
    assert exhibit(body_of(question, answer)) == {"question": question, "answer": answer, "shortened": False}


def test_half_a_surrogate_pair_can_be_sent() -> None:
    assert exhibit(body_of("a\ud83d", "b"))["question"] == "a\ufffd"
