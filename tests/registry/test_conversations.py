from __future__ import annotations

import pytest

from mixllm.clock import ManualClock
from mixllm.errors import InvalidValueError
from mixllm.registry import Conversations, Turn


def test_the_first_known_key_tells_the_turn() -> None:
    clock = ManualClock()
    conversations = Conversations(clock=clock)
    conversations.remember(b"short", llm="a", tokens=10)
    clock.advance(5.0)
    conversations.remember(b"long", llm="b", tokens=20)

    assert conversations.find([b"longer", b"long", b"short"]) == Turn(llm="b", tokens=20, at_s=5.0)
    assert conversations.find([b"other"]) is None


def test_a_turn_takes_the_place_of_the_one_before() -> None:
    conversations = Conversations(clock=ManualClock())
    conversations.remember(b"key", llm="a", tokens=10)
    conversations.remember(b"key", llm="b", tokens=30)

    assert conversations.find([b"key"]) == Turn(llm="b", tokens=30, at_s=0.0)
    assert len(conversations) == 1


def test_the_least_recently_used_is_forgotten_first() -> None:
    conversations = Conversations(clock=ManualClock(), max_tracked=2)
    conversations.remember(b"1", llm="a", tokens=1)
    conversations.remember(b"2", llm="a", tokens=1)
    conversations.find([b"1"])
    conversations.remember(b"3", llm="a", tokens=1)

    assert len(conversations) == 2
    assert conversations.find([b"2"]) is None
    assert conversations.find([b"1"]) is not None


def test_no_room_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="max_tracked"):
        Conversations(clock=ManualClock(), max_tracked=0)
