from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.encoders import head_and_tail
from mixllm.gateway.said import Said


def whole(message: object, finish_reason: object = "stop") -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}).encode()


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def streamed(said: Said, *deltas: object, index: int = 0) -> Said:
    for delta in deltas:
        said.read_choices([raw({"index": index, "delta": delta, "finish_reason": None})])
    return said


@pytest.mark.parametrize(
    ("message", "empty"),
    [
        ({"content": "Paris."}, False),
        ({"content": ""}, True),
        ({"content": None}, True),
        ({"content": " \n\t"}, True),
        ({}, True),
        ({"content": "", "reasoning_content": "Hm."}, True),
        ({"content": None, "refusal": "No."}, False),
        ({"content": None, "tool_calls": []}, True),
        ({"content": None, "tool_calls": [{"id": "1"}]}, False),
        ({"content": None, "function_call": {"name": "f"}}, False),
        ({"content": None, "audio": {"data": "x"}}, False),
        ({"content": None, "images": [{"type": "image_url"}]}, False),
        ({"content": [{"type": "text", "text": "Paris."}]}, False),
        ({"content": []}, True),
        ({"content": [{"type": "painting"}]}, False),
        ({"content": 7}, False),
        ({"content": {"a": 1e300}}, False),
        ("words", False),
    ],
)
def test_only_what_says_nothing_at_all_is_empty(message: Any, *, empty: bool) -> None:
    plain, stream = Said(), Said()
    plain.read_body(whole(message))
    streamed(stream, {"role": "assistant", "content": ""}, message, {})

    assert plain.empty is empty
    assert stream.empty is empty


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"choices":7}', b'{"choices":[7]}', b'{"choices":[{"delta":"\xff"}]}']
)
def test_what_cannot_be_read_is_not_taken_for_nothing(body: bytes) -> None:
    said = Said(max_chars=9)

    said.read_body(body)

    assert not said.empty
    assert said.text() == ""


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{"choices":null}', b"{}", b'{"choices":[{"x":1e400}]}'])
def test_an_answer_without_a_choice_says_nothing(body: bytes) -> None:
    said = Said()

    said.read_body(body)

    assert said.empty


def test_one_choice_that_speaks_is_enough_and_the_first_one_is_kept() -> None:
    said = Said(max_chars=100)

    streamed(said, {"content": "second"}, index=1)
    streamed(said, {"content": "fi"}, {"content": "rst"})
    said.read_choices([raw({"index": 0, "delta": {}, "finish_reason": "length"})])

    assert not said.empty
    assert said.text() == "first"
    assert said.finish_reasons == {"length"}
    assert not said.calls_tools


def test_calls_of_tools_are_noticed() -> None:
    said = streamed(Said(max_chars=9), {"content": "Let me see."}, {"tool_calls": [{"index": 0}]})

    assert said.calls_tools


def test_no_text_is_kept_where_none_is_wanted() -> None:
    said = streamed(Said(), *[{"content": "x" * 100}] * 3)

    assert said.text() == ""
    assert not said.empty


def test_half_a_surrogate_pair_does_no_harm() -> None:
    said = Said(max_chars=9)

    said.read_body(b'{"choices":[{"message":{"content":"a\\ud83d"}}]}')

    said.text().encode()
    assert not said.empty


@given(pieces=st.lists(st.text("abcdefgh", max_size=12), max_size=30), max_chars=st.integers(8, 40))
def test_a_long_text_keeps_head_and_tail_however_it_comes(pieces: list[str], max_chars: int) -> None:
    said = streamed(Said(max_chars=max_chars), *[{"content": piece} for piece in pieces])

    assert said.text() == head_and_tail("".join(pieces), max_chars=max_chars)
    assert said.shortened is (len("".join(pieces)) > max_chars)
