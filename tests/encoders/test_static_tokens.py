"""A static encoder's tokens, for those who encode in two steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.encoders.small_model import DIMENSION, small_mapping, small_table, small_tokenizer, small_weights

from mixllm.encoders import StaticEncoder
from mixllm.errors import InvalidValueError

ENCODER = StaticEncoder(
    table=small_table(20),
    tokenizer=small_tokenizer(),
    token_weights=small_weights(),
    token_rows=small_mapping(20),
    max_chars=30,
)


def test_tokens_are_counted_not_rows() -> None:
    assert ENCODER.tokens == small_tokenizer().get_vocab_size()
    assert StaticEncoder(table=small_table(), tokenizer=small_tokenizer()).tokens == len(small_table())


@given(st.lists(st.text(max_size=50), max_size=5))
def test_two_steps_are_one(texts: list[str]) -> None:
    every = ENCODER.token_ids(texts)
    assert len(every) == len(texts)
    for text, ids in zip(texts, every, strict=True):
        assert all(0 <= number < ENCODER.tokens for number in ids)
        assert np.array_equal(ENCODER.vector_of(ids), ENCODER.encode(text))


def test_ids_are_those_of_the_words_and_no_unknown_one() -> None:
    vocabulary = small_tokenizer().get_vocab()
    assert ENCODER.token_ids(["sort THE list", "日本", ""]) == [
        [vocabulary["sort"], vocabulary["the"], vocabulary["list"]],
        [],
        [],
    ]


def test_long_texts_are_cut() -> None:
    (ids,) = ENCODER.token_ids(["a " * 500])
    assert 0 < len(ids) <= 30


def test_many_texts_come_in_order() -> None:
    texts = [("sort ", "list ")[number % 2] * (number % 3 + 1) for number in range(600)]
    assert ENCODER.token_ids(texts) == [ENCODER.token_ids([text])[0] for text in texts]


def test_no_tokens_are_the_zero_vector() -> None:
    vector = ENCODER.vector_of([])
    assert vector.shape == (DIMENSION,)
    assert vector.dtype == np.float32
    assert not vector.any()


def test_bad_texts_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="a sequence of strings"):
        ENCODER.token_ids("sort")
    with pytest.raises(InvalidValueError, match=r"texts\[1\] must be a string"):
        ENCODER.token_ids(["sort", 3])  # type: ignore[list-item]
