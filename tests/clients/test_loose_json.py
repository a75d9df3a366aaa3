"""JSON as LLMs write it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.clients.loose_json import json_values, mended

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["tags", "id", "tag", "results", "1", "2", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(value=JSON.filter(lambda value: isinstance(value, list | dict)))
def test_whole_json_is_found_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    assert json.dumps(json_values(f"so: {text} there")) == json.dumps([json.loads(text)])
    if "“" not in text and "”" not in text:
        assert json.loads(mended(text)) == json.loads(text) or "NaN" in text


@pytest.mark.parametrize("text", ["'" * 200_000, "'a, " * 50_000, "“" * 100_000, '"\\' * 100_000, ", " * 100_000])
def test_mending_does_not_take_for_ever(text: str) -> None:
    # It would take minutes if it were quadratic.
    assert len(mended(text)) > 0


def test_mending_leaves_apostrophes_and_strings_alone() -> None:
    assert mended("""I don't know: {'a': ["it's, None", 'b',]}""") == """I don't know: {"a": ["it's, None", "b"]}"""
