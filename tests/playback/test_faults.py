from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from mixllm.errors import InvalidValueError, UnknownLLMError
from mixllm.playback import (
    BrokenStream,
    ConnectionDrop,
    EmptyAnswer,
    ErrorStatus,
    Fault,
    FaultBoard,
    Garbage,
    Hang,
    Slow,
)

ALL: list[Fault] = [
    ErrorStatus(status=429, retry_after_s=3, rate=0.5),
    Hang(for_s=1.0),
    Slow(factor=2.0, add_s=0.1),
    Garbage(),
    BrokenStream(after_chunks=2),
    EmptyAnswer(limit=1),
    ConnectionDrop(),
]


def test_faults_survive_json() -> None:
    encoded = msgspec.json.encode(ALL)
    assert msgspec.json.decode(encoded, type=list[Fault]) == ALL
    kinds = [fault["kind"] for fault in msgspec.json.decode(encoded)]
    assert kinds == ["error", "hang", "slow", "garbage", "broken_stream", "empty", "drop"]


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"error","status":200}',
        '{"kind":"error","stauts":500}',
        '{"kind":"nonsense"}',
        '{"status":500}',
        '{"kind":"hang","rate":1.5}',
        '{"kind":"slow","factor":-1}',
    ],
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Fault)


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda: ErrorStatus(status=399), "status"),
        (lambda: ErrorStatus(status=600), "status"),
        (lambda: ErrorStatus(retry_after_s=-1), "retry_after_s"),
        (lambda: ErrorStatus(rate=-0.1), "rate"),
        (lambda: Garbage(rate=float("nan")), "rate"),
        (lambda: EmptyAnswer(limit=0), "limit"),
        (lambda: Hang(for_s=-1), "for_s"),
        (lambda: Slow(factor=float("inf")), "factor"),
        (lambda: Slow(add_s=-1), "add_s"),
        (lambda: BrokenStream(after_chunks=-1), "after_chunks"),
        (lambda: ConnectionDrop(rate=2), "rate"),
    ],
)
def test_bad_values_are_refused(make: Callable[[], Fault], parameter: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{parameter} must be"):
        make()


def test_healthy_llms_have_no_faults() -> None:
    board = FaultBoard(llms=["a", "b"], faults={"a": [Garbage()]})
    assert board.strike("b") is None
    assert board.strike("a") == Garbage()
    assert board.current() == {"a": (Garbage(),)}


def test_faults_are_replaced_and_removed() -> None:
    board = FaultBoard(llms=["a"])
    board.put("a", [Garbage()])
    board.put("a", [Hang()])
    assert board.strike("a") == Hang()
    board.put("a", [])
    assert board.strike("a") is None
    assert board.current() == {}


def test_rates_are_met_and_repeat_with_the_seed() -> None:
    fault = ErrorStatus(rate=0.3)
    boards = [FaultBoard(llms=["a", "b"], faults={"a": [fault], "b": [fault]}, seed=seed) for seed in (1, 1, 2)]
    drawn = [[board.strike("a") is not None for _ in range(2000)] for board in boards]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 0.26 < sum(drawn[0]) / 2000 < 0.34
    assert [boards[0].strike("b") is not None for _ in range(2000)] != drawn[0]


def test_the_draws_of_one_llm_do_not_depend_on_the_traffic_of_another() -> None:
    fault = [Garbage(rate=0.5)]
    quiet, busy = (FaultBoard(llms=["a", "b"], faults={"a": fault, "b": fault}) for _ in range(2))
    expected = [quiet.strike("a") for _ in range(50)]
    found = []
    for _ in range(50):
        busy.strike("b")
        found.append(busy.strike("a"))
    assert found == expected


def test_the_first_fault_that_strikes_wins_until_its_limit() -> None:
    board = FaultBoard(llms=["a"], faults={"a": [ErrorStatus(limit=2), Garbage(rate=0), Hang(limit=1)]})
    assert [board.strike("a") for _ in range(4)] == [ErrorStatus(limit=2), ErrorStatus(limit=2), Hang(limit=1), None]


def test_refuses_llms_it_does_not_know() -> None:
    with pytest.raises(UnknownLLMError, match="Did you mean 'abc'"):
        FaultBoard(llms=["abc"], faults={"abd": []})
