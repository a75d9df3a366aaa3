from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.clock import ManualClock
from mixllm.errors import InvalidValueError
from mixllm.gateway.regenerations import Regenerations, conversation_print
from mixllm.gateway.requests import read_chat_request

SALT = b"salt"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Capital of France?"},
]


def printed(messages: object = None, *, asker: str = "key-1", salt: bytes = SALT, **fields: object) -> bytes | None:
    body = {"model": "mixllm/auto", "messages": TALK if messages is None else messages, **fields}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    return conversation_print(read_chat_request(raw, trade_off=1.0), asker=asker, salt=salt)


def test_the_same_conversation_has_the_same_print_whatever_the_parameters() -> None:
    first = printed()

    assert first is not None
    assert len(first) == 16
    assert printed(stream=True, temperature=0.9, max_tokens=9, model="other") == first


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [*TALK[:-1], {"role": "user", "content": "Capital of Spain?"}]},
        {"messages": [TALK[0], TALK[-1]]},
        {"messages": [{"role": "system", "content": "Be long."}, *TALK[1:]]},
        {"asker": "key-2"},
        {"asker": ""},
        {"user": "somebody"},
        {"salt": b"another"},
    ],
)
def test_another_ask_history_asker_or_salt_has_another_print(change: dict[str, Any]) -> None:
    assert printed(**change) not in (None, printed())


def test_who_asks_and_what_cannot_be_mistaken_for_each_other() -> None:
    assert printed(asker="a", user="b") != printed(asker="ab", user="")
    assert printed(asker='a"b"') != printed(asker="a", user="b")


def test_a_print_shows_nothing_of_the_conversation() -> None:
    shown = printed()

    assert shown is not None
    assert b"France" not in shown
    assert b"key-1" not in shown


@pytest.mark.parametrize(
    "last",
    [
        {"role": "assistant", "content": "The capital is"},
        {"role": "tool", "tool_call_id": "1", "content": "Paris"},
        {"role": "system", "content": "Go on."},
    ],
)
def test_what_is_nobody_s_ask_has_no_print(last: dict[str, str]) -> None:
    assert printed([*TALK, last]) is None


def table(**change: Any) -> tuple[Regenerations, ManualClock]:
    clock = ManualClock()
    return Regenerations(**{"window_s": 60.0, "max_tracked": 3, "clock": clock, **change}), clock


def test_the_window_counts_from_the_answer() -> None:
    answers, clock = table()
    answers.answered(b"a", "1")
    clock.advance(60.0)
    answers.answered(b"b", "2")
    assert answers.asked_again(b"a") == "1"
    clock.advance(60.5)
    assert answers.asked_again(b"b") is None
    assert len(answers) == 0


def test_each_answer_is_asked_for_again_once() -> None:
    answers, _ = table()
    answers.answered(b"a", "1")

    assert [answers.asked_again(b"a"), answers.asked_again(b"a")] == ["1", None]
    answers.answered(b"a", "2")
    assert answers.asked_again(b"a") == "2"


def test_the_oldest_are_forgotten_first() -> None:
    answers, clock = table()
    for number in range(5):
        answers.answered(b"%d" % number, str(number))
        clock.advance(1.0)
    answers.answered(b"2", "new")
    answers.answered(b"5", "5")

    assert len(answers) == 3
    assert [answers.asked_again(b"%d" % number) for number in range(6)] == [None, None, "new", None, "4", "5"]


@pytest.mark.parametrize("change", [{"window_s": 0.0}, {"max_tracked": 0}, {"window_s": float("nan")}])
def test_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(change))):
        table(**change)


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer"]), st.integers(0, 5), st.floats(0, 40)), max_size=40))
def test_it_is_what_a_list_of_everything_would_say(steps: list[tuple[str, int, float]]) -> None:
    answers, clock = table()
    every: list[tuple[int, str, float]] = []
    for number, (step, who, pause_s) in enumerate(steps):
        clock.advance(pause_s)
        now_s = clock.monotonic_s()
        live = [one for one in every if one[2] >= now_s - 60.0][-3:]
        if step == "answer":
            every = [*(one for one in live if one[0] != who), (who, str(number), now_s)]
            answers.answered(b"%d" % who, str(number))
        else:
            found = next((one for one in live if one[0] == who), None)
            every = [one for one in live if one is not found]
            assert answers.asked_again(b"%d" % who) == (found[1] if found else None)
        assert len(answers) <= 3
