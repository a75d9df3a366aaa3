from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import UnknownLLMError
from mixllm.logs import RoutingLog
from mixllm.playback import AnswerBook

NAN = float("nan")


def make_log(**changed: Any) -> RoutingLog:
    fields: dict[str, Any] = {
        "name": "made",
        "query_ids": ("q0", "q1", "q2"),
        "prompts": ("Why?", "How?", "Why?"),
        "systems": (None, "brief", "long"),
        "labels": {},
        "llms": ("a", "b"),
        "quality": [[1.0, 0.5], [0.0, NAN], [0.25, 0.75]],
        "cost_usd": [[1e-6, 2e-6], [3e-6, NAN], [4e-6, 8e-6]],
        "tokens_in": [[10, 10], [20, NAN], [30, 30]],
        "tokens_out": [[1, 2], [3, NAN], [4, 8]],
        "latency_s": [[1.0, 2.0], [3.0, NAN], [4.0, NAN]],
        "ttft_s": [[0.5, 1.0], [NAN, NAN], [9.0, NAN]],
        "answers": (("a0", "b0"), ("a1", None), ("a2", None)),
    }
    fields |= changed
    for name in ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s", "ttft_s"):
        fields[name] = np.array(fields[name], dtype=np.float64)
    return RoutingLog(**fields)


def test_gives_what_was_recorded() -> None:
    answer = AnswerBook(log=make_log()).answer("a", "Why?")
    assert answer.recorded
    assert (answer.text, answer.tokens_in, answer.tokens_out) == ("a0", 10, 1)
    assert (answer.latency_s, answer.ttft_s, answer.quality, answer.cost_usd) == (1.0, 0.5, 1.0, 1e-6)


@pytest.mark.parametrize(
    ("text", "system", "row"),
    [
        ("Why?", None, 0),
        ("Why?", "long", 2),
        ("Why?", "never heard of", 0),
        ("How?", None, 1),
        ("How?", "brief", 1),
        ("How? ", None, None),
        ("", None, None),
    ],
)
def test_finds_questions_by_text_and_system(text: str, system: str | None, row: int | None) -> None:
    assert AnswerBook(log=make_log()).row(text, system) == row


def test_the_first_of_equal_questions_answers() -> None:
    book = AnswerBook(log=make_log(systems=(None, None, None)))
    assert book.row("Why?") == 0
    assert book.shadowed == ("q2",)
    assert AnswerBook(log=make_log()).shadowed == ()


def test_what_the_llm_was_not_asked_is_made_up() -> None:
    book = AnswerBook(log=make_log())
    answer = book.answer("b", "How?")
    assert not answer.recorded
    assert answer.quality is None
    assert answer.cost_usd == book.price("b").cost_usd(tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)


@given(text=st.text(max_size=200), system=st.none() | st.text(max_size=20))
def test_any_question_has_an_answer(text: str, system: str | None) -> None:
    log = make_log()
    answer, again = (AnswerBook(log=log).answer("a", f"{text}!", system) for _ in range(2))
    assert answer == again
    assert not answer.recorded
    assert answer.text.startswith("This is the answer of a")
    assert answer.tokens_in >= 1
    assert answer.tokens_out >= 10
    assert answer.latency_s > answer.ttft_s >= 0


def test_made_up_answers_differ() -> None:
    book = AnswerBook(log=make_log())
    assert len({book.answer("a", f"question {number}").text for number in range(50)}) > 3
    assert book.answer("a", "x").text != book.answer("b", "x").text


def test_gaps_are_filled() -> None:
    nothing = np.full((3, 2), NAN)
    book = AnswerBook(
        log=make_log(tokens_in=nothing, tokens_out=nothing, latency_s=nothing, ttft_s=nothing, systems=("s" * 36,) * 3)
    )
    answer = book.answer("a", "Why?")
    assert (answer.tokens_in, answer.tokens_out) == (10, 1)
    assert (answer.ttft_s, answer.latency_s) == pytest.approx((0.2, 0.21))
    assert book.answer("b", "Why?", "s").text == "b0"
    assert AnswerBook(log=make_log(answers=None)).answer("a", "Why?").recorded


def test_missing_times_are_those_the_llm_usually_takes() -> None:
    book = AnswerBook(log=make_log())
    unrecorded = book.answer("b", "Why?", "long")
    assert unrecorded.recorded
    assert (unrecorded.ttft_s, unrecorded.latency_s) == pytest.approx((1.0, 1.0 + 8 * 0.5))
    assert unrecorded.text.startswith("This is the answer of b")
    assert book.answer("a", "Why?", "long").ttft_s == 4.0  # never after the last token
    assert book.answer("a", "How?").ttft_s == pytest.approx(0.75)  # median of 0.5, 3/4 and 4


def test_price_is_fitted() -> None:
    tokens_in, tokens_out = np.array([[10.0], [20.0]]), np.array([[5.0], [1.0]])
    log = make_log(
        query_ids=("q0", "q1"),
        prompts=("x", "y"),
        systems=(None, None),
        llms=("a",),
        quality=[[1.0], [1.0]],
        cost_usd=(tokens_in * 2.5 + tokens_out * 10) / 1e6,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        latency_s=[[1.0], [1.0]],
        ttft_s=[[1.0], [1.0]],
        answers=None,
    )
    price = AnswerBook(log=log).price("a")
    assert (price.usd_per_million_tokens_in, price.usd_per_million_tokens_out) == (2.5, 10.0)


def test_an_llm_that_was_never_asked_is_free() -> None:
    never = [[1.0, NAN]] * 3
    book = AnswerBook(log=make_log(quality=never, cost_usd=never, answers=None))
    assert book.price("b").usd_per_million_tokens_out == 0.0
    assert book.answer("b", "Why?").cost_usd == 0.0


def test_refuses_llms_it_does_not_know() -> None:
    book = AnswerBook(log=make_log())
    assert book.llms == ("a", "b")
    for call in (lambda: book.answer("c", "Why?"), lambda: book.price("c")):
        with pytest.raises(UnknownLLMError, match="The pool holds: a, b"):
            call()
