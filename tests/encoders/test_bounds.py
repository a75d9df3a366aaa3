"""Texts are bounded with both ends kept, and made valid Unicode."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixllm.encoders.bounds import HEAD_SHARE, head_and_tail, well_formed
from mixllm.errors import InvalidValueError

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))


@settings(derandomize=True, deadline=None)
@given(text=st.text(), max_chars=st.integers(1, 60))
@example(text="0123456789", max_chars=1)
@example(text="0123456789", max_chars=4)
@example(text="0123456789", max_chars=5)
def test_result_is_bounded_and_keeps_both_ends(text: str, max_chars: int) -> None:
    short = head_and_tail(text, max_chars=max_chars)
    if len(text) <= max_chars:
        assert short == text
        return
    assert len(short) == max_chars
    head = int((max_chars - 1) * HEAD_SHARE)
    tail = max_chars if head == 0 else max_chars - 1 - head
    assert tail >= max_chars * (1 - HEAD_SHARE) - 1
    assert short.endswith(text[-tail:])
    assert short[:head] == text[:head]
    assert head == 0 or short[head] == "\n"


def test_instruction_and_question_of_a_long_prompt_survive() -> None:
    prompt = f"Answer from the document.\n{'lorem ipsum ' * 5_000}\nWho wrote it?"
    short = head_and_tail(prompt, max_chars=1_000)
    assert short.startswith("Answer from the document.")
    assert short.endswith("Who wrote it?")


@pytest.mark.parametrize("max_chars", [0, -1, -(10**9)])
def test_no_room_at_all_is_refused(max_chars: int) -> None:
    with pytest.raises(InvalidValueError, match="max_chars must be >= 1") as caught:
        head_and_tail("x", max_chars=max_chars)
    assert caught.value.parameter == "max_chars"


@settings(derandomize=True, deadline=None)
@given(text=ANY_TEXT)
@example(text="\ud800")
@example(text="a\udfff\ud800b")
@example(text="\ud83d\ude00")
@example(text="\ud83d\ud83d\ude00\ude00")
def test_well_formed_is_valid_and_changes_nothing_else(text: str) -> None:
    fixed = well_formed(text)
    paired = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: pair.group().encode("utf-16-le", "surrogatepass").decode("utf-16-le"),
        text,
    )
    assert fixed == re.sub("[\ud800-\udfff]", "\ufffd", paired)
    assert fixed.encode().decode() == fixed
    assert well_formed(fixed) == fixed


@settings(derandomize=True, deadline=None)
@given(text=st.text())
def test_valid_text_is_returned_as_it_is(text: str) -> None:
    assert well_formed(text) is text
