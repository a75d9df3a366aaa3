from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.gateway.usage import Answer, Chunk, ChunkNames, Usage, read_answer, read_chunk, with_model

_anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


def test_usage_is_read_with_its_details() -> None:
    answer = read_answer(
        b'{"model":"m","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        b'"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":3}}}'
    )

    assert answer.model == "m"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
    assert (answer.usage.cached_tokens_in, answer.usage.reasoning_tokens) == (8, 3)


@pytest.mark.parametrize("details", ["null", "{}", '{"cached_tokens":null,"reasoning_tokens":null}'])
def test_details_may_be_missing(details: str) -> None:
    usage = read_answer(
        f'{{"usage":{{"prompt_tokens_details":{details},"completion_tokens_details":{details}}}}}'.encode()
    ).usage

    assert usage is not None
    assert (usage.cached_tokens_in, usage.reasoning_tokens) == (0, 0)


@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens":-1,"completion_tokens":5}',
        '{"prompt_tokens":1,"completion_tokens":1e300}',
        '{"prompt_tokens":1,"completion_tokens":9007199254740993}',
        '{"prompt_tokens":"1"}',
        '{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":-3}}',
        '"many"',
        "[]",
    ],
)
def test_counts_that_cannot_be_are_not_believed_and_hide_nothing_else(usage: str) -> None:
    body = f'{{"model":"m","choices":[{{}}],"usage":{usage}}}'.encode()

    assert read_answer(body) == Answer(model="m", usage=None)
    chunk = read_chunk(body)
    assert (chunk.model, chunk.usage, len(chunk.choices or ())) == ("m", None, 1)


@pytest.mark.parametrize(
    ("cost", "cost_usd"),
    [
        ("0.0123", 0.0123),
        ("1", 1.0),
        ("0", 0.0),
        ("null", None),
        ("-0.1", None),
        ("1e9", None),
        ("true", None),
        ('"0.1"', None),
        ('{"total_cost":0.1}', None),
    ],
)
def test_a_told_cost_is_read_and_never_hides_the_tokens(cost: str, cost_usd: float | None) -> None:
    usage = read_answer(f'{{"usage":{{"prompt_tokens":3,"completion_tokens":4,"cost":{cost}}}}}'.encode()).usage

    assert usage is not None
    assert usage.cost_usd == cost_usd
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)


def test_a_model_that_is_no_text_does_not_hide_the_usage() -> None:
    assert read_answer(b'{"model":7,"usage":{"prompt_tokens":1}}') == Answer(usage=Usage(prompt_tokens=1))


@settings(deadline=None, derandomize=True)
@given(_anything, _anything, _anything)
def test_whatever_an_endpoint_says_is_read(model: Any, usage: Any, choices: Any) -> None:
    body = msgspec.json.encode({"model": model, "usage": usage, "choices": choices})

    assert read_answer(body).model == (model if isinstance(model, str) else None)
    assert isinstance(read_chunk(body), Chunk)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=50))
def test_no_bytes_crash_it(body: bytes) -> None:
    assert isinstance(read_answer(body), Answer)
    assert isinstance(read_chunk(body), Chunk)


def test_the_name_is_replaced_and_nothing_else() -> None:
    body = rb'{"id":"1","a":[1.0, 1e400,"\u0041"],"model":"x","z":{"model":"y"}}'

    assert with_model(body, 'n"') == rb'{"id":"1","a":[1.0, 1e400,"\u0041"],"model":"n\"","z":{"model":"y"}}'
    assert with_model(b"{}", "n") == b'{"model":"n"}'


@settings(deadline=None)
@given(
    chunks=st.lists(
        st.lists(st.tuples(st.sampled_from(["id", "model", "x", "choices"]), _anything), max_size=5),
        min_size=1,
        max_size=4,
    ),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
)
def test_chunks_are_renamed_as_whole_answers_are(
    chunks: list[list[tuple[str, Any]]], separators: tuple[str, str]
) -> None:
    named = ChunkNames("mine")

    for members in chunks:
        # Written by hand, so that a key may come twice.
        inside = separators[0].join(
            f"{json.dumps(key)}{separators[1]}{json.dumps(value, separators=separators)}"
            for key, value in [("model", "theirs"), *members]
        )
        data = f"{{{inside}}}".encode()
        assert msgspec.json.decode(named(data)) == msgspec.json.decode(with_model(data, "mine"))
