from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.clients.loose_json import MAX_TEXT_CHARS
from mixllm.errors import InvalidValueError
from mixllm.tags.labelling.answers import MAX_TAG_CHARS, QueryTags, clean_tag, parse_answer

GOOD = {"results": [{"id": 1, "tags": [{"tag": "Math", "explanation": "sums"}]}, {"id": 2, "tags": [{"tag": "Law"}]}]}
BOTH = (("math",), ("law",))


def tags(text: str, count: int = 2, **more: int) -> tuple[tuple[str, ...] | None, ...]:
    return tuple(query.tags if query.reason is None else None for query in parse_answer(text, count=count, **more))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"<think>Maybe {{this}} or [that]</think>Sure! Here you are:\n{json.dumps(GOOD)}\nAnything else?",
        json.dumps(GOOD["results"]),
        str(GOOD),
        json.dumps(GOOD).replace("]}", ",]}"),
        json.dumps(GOOD).replace('"', "“"),
        "\n".join(json.dumps(item) for item in GOOD["results"]),
        '{"results": [{"id": "2", "tags": ["law"]}, {"id": "q1", "tags": ["MATH"]}]}',
        '{"1": ["math"], "2": [{"tag": "law"}]}',
        '[["math"], ["law"]]',
        '[{"tags": ["math"]}, {"tags": ["law"]}]',
        '[{"id": 0, "tags": ["math"]}, {"id": 1, "tags": ["law"]}]',
        '[{"id": 1.0, "tags": [{"name": "math"}]}, {"id": 2, "tags": [{"title": "law"}]}, {"id": 9, "tags": ["x"]}]',
        '{"data": {"items": [{"id": 1, "tags": ["math"]}, {"id": 2, "tags": ["law"]}]}}',
        '[{"id": 1, "tags": ["draft"]}, {"id": 2, "tags": ["law"]}] No: [{"id": 1, "tags": ["math"]}]',
        '{"results": [{"id": 1, "tags": [{"tag": "math", "explanation": "line\nbreak"}]}, {"id": 2, "tags": ["law"]}]}',
    ],
)
def test_every_usual_form_is_understood(text: str) -> None:
    assert tags(text) == BOTH


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the answer is empty"),
        (" \n", "the answer is empty"),
        ("I cannot do that.", "the answer holds no JSON with tags"),
        ("[1, 2, null]", "the answer holds no JSON with tags"),
        ("{{{{[[[[", "the answer holds no JSON with tags"),
        ("[" * 100_000, "the answer holds no JSON with tags"),
        ('{"a":' * 50_000, "the answer holds no JSON with tags"),
        ("9" * 10_000, "the answer holds no JSON with tags"),
        (f"[{'9' * 10_000}]", "the answer holds no JSON with tags"),
        ("x" * (MAX_TEXT_CHARS + 1), "the answer is longer than 400000 characters"),
        ('[["a"], ["b"], ["c"]]', "the answer has 3 entries without ids for 2 queries"),
        ('[["a"]]', "the answer has 1 entries without ids for 2 queries"),
        ('[{"id": 0, "tags": ["a"]}, {"id": 2, "tags": ["a"]}]', "the answer numbers the queries otherwise"),
        ('[{"id": 7, "tags": ["a"]}]', "the answer leaves it out"),
        ('[{"id": 1, "tags": "a"}, {"id": 2, "tags": null}]', "its tags are no list"),
        ('[{"id": 1, "tags": [3, {}, "?"]}, {"id": 2, "tags": [null]}]', "none of its tags is usable"),
    ],
)
def test_what_cannot_be_used_has_its_reason(text: str, reason: str) -> None:
    assert parse_answer(text, count=2) == (QueryTags(reason=reason),) * 2


def test_missing_and_cut_off_entries_leave_the_others_usable() -> None:
    assert tags(json.dumps(GOOD)[:-20]) == (("math",), None)
    assert tags('{"results": [{"id": 2, "tags": ["law"]}]}') == (None, ("law",))


def test_a_single_query_may_have_instags_own_list() -> None:
    assert tags('[{"tag": "Math", "explanation": "x"}, {"tag": "Sums"}]', count=1) == (("math", "sums"),)
    assert tags('["Math"]', count=1) == (("math",),)
    assert tags("[]", count=1) == ((),)
    assert tags('{"tags": []}', count=1) == ((),)


def test_an_empty_list_is_an_answer() -> None:
    assert tags('{"results": [{"id": 1, "tags": []}, {"id": 2, "tags": ["law"]}]}') == ((), ("law",))


def test_tags_are_clean_bounded_and_come_once() -> None:
    raw = ["A\x1b[31m B", "a [31m  b", "Ｗｉｄｅ", "x" * (MAX_TAG_CHARS + 1), "two", "three"]
    text = json.dumps([{"id": 1, "tags": raw}])
    assert tags(text, count=1, max_tags=3) == (("a [31m b", "wide", "two"),)
    assert clean_tag("x" * 1_000_000) is None


def test_bad_counts_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="count must be >= 1"):
        parse_answer("[]", count=0)
    with pytest.raises(InvalidValueError, match="max_tags must be >= 1"):
        parse_answer("[]", count=1, max_tags=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["tags", "id", "tag", "results", "1", "2", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
PIECES = st.lists(
    st.sampled_from(['"', "'", "[", "]", "{", "}", ",", ":", "tags", "id", "1", "\\", "“", " ", "None", "```"]),
    max_size=40,
).map("".join)


@settings(max_examples=60)
@given(text=st.text() | PIECES | JSON.map(json.dumps) | JSON.map(str), count=st.integers(1, 4))
def test_no_text_raises_and_each_query_has_an_answer(text: str, count: int) -> None:
    found = parse_answer(text, count=count)
    assert len(found) == count
    for query in found:
        assert query.reason is None or not query.tags
        assert len(query.tags) <= 5
        assert all(0 < len(tag) <= MAX_TAG_CHARS and tag.isprintable() for tag in query.tags)


@settings(max_examples=60)
@given(cut=st.integers(0, len(json.dumps(GOOD))))
def test_a_cut_answer_never_says_anything_wrong(cut: int) -> None:
    for found, right in zip(tags(json.dumps(GOOD)[:cut]), BOTH, strict=True):
        assert found in (None, right)
