from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mixllm.encoders import word_by_word
from mixllm.encoders.static_files import read_wordllama
from mixllm.encoders.token_ids import TokenIds
from mixllm.encoders.word_by_word import WordByWord

TOKENIZER = read_wordllama().tokenizer
BY_WORD = WordByWord.of(TOKENIZER)
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="ab \n\t\u2581."),
    st.lists(st.sampled_from(["sort", "  ", " ", "\n", "the", "x=1;", "é", "😀", "\u2581", "\r\n"])).map("".join),
)


def of_library(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return ids


def described(**changes: Any) -> Tokenizer:
    """WordLlama's tokenizer with some of its description changed."""
    description = json.loads(TOKENIZER.to_str())
    description["model"].update(changes.pop("model", {}))
    description.update(changes)
    return Tokenizer.from_str(json.dumps(description))


def counted() -> tuple[list[str], WordByWord]:
    """What gives each word its length as its id, and the words that it was asked for."""
    asked: list[str] = []

    def tokenize(word: str) -> list[int]:
        asked.append(word)
        return [len(word)]

    return asked, WordByWord(tokenize=tokenize)


@given(TEXTS)
@settings(max_examples=300)
def test_it_gives_the_ids_that_the_library_gives(text: str) -> None:
    assert BY_WORD is not None
    assert BY_WORD.ids(text) == of_library(text)


@pytest.mark.parametrize("text", ["", " ", "\n", "  two  spaces  ", "<0x0A> a", "a" * 5000, "\u2581\u2581x \u2581"])
def test_odd_texts_get_the_ids_that_the_library_gives(text: str) -> None:
    assert BY_WORD is not None
    assert BY_WORD.ids(text) == of_library(text)


@pytest.mark.parametrize("text", ["a <s> b", "</s>", "what is <unk>?"])
def test_what_the_tokenizer_cuts_out_first_is_left_to_it(text: str) -> None:
    assert BY_WORD is not None
    assert BY_WORD.ids(text) is None
    assert TokenIds(tokenizer=TOKENIZER).of([text, "plain"])[1] == of_library("plain")


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"normalizer": {"type": "Lowercase"}},
        {"normalizer": None},
        {"model": {"ignore_merges": True}},
        {
            "model": {
                "merges": [["o", "\u2581"], ["\u2581", "t"]],
                "vocab": {"<unk>": 0, "o": 1, "\u2581": 2, "o\u2581": 3, "t": 4, "\u2581t": 5},
            }
        },
        {"model": {"merges": [["o", "\n"]], "vocab": {"<unk>": 0, "o": 1, "\n": 2, "o\n": 3}}},
    ],
)
def test_a_tokenizer_that_may_join_words_is_refused(changes: dict[str, Any]) -> None:
    changes = {**changes, "added_tokens": []}
    assert WordByWord.of(described(**changes)) is None


def test_words_are_forgotten_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_by_word, "_MAX_WORDS", 3)
    asked, by_word = counted()
    for _ in range(2):
        assert by_word.ids("a b c") == [2, 2, 2]
    assert len(asked) == 3
    by_word.ids("d")
    by_word.ids("d e")
    assert len(asked) == 5


def test_long_words_are_not_kept() -> None:
    asked, by_word = counted()
    for _ in range(2):
        by_word.ids("x" * 100)
    assert len(asked) == 2
