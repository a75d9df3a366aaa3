"""The lexical block beside a static encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.encoders.small_model import DIMENSION, small_table, small_tokenizer

from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.errors import InvalidValueError, StateError

BASE = StaticEncoder(table=small_table(), tokenizer=small_tokenizer(), max_chars=60)
TAGS = 3


def table(seed: int = 7) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(BASE.tokens, TAGS)).astype(np.float32)


def rarity(seed: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0.5, 4.0, BASE.tokens).astype(np.float32)


def lexical(**changed: Any) -> LexicalEncoder:
    return LexicalEncoder(**{"base": BASE, "table": table(), "rarity": rarity(), **changed})


def test_parameters_reach_their_attributes() -> None:
    made = lexical()
    assert made.base is BASE
    assert (made.dimension, made.lexical_dimension) == (DIMENSION + TAGS, TAGS)
    assert np.array_equal(made.arrays()["lexical_table"], table())
    assert np.array_equal(made.arrays()["lexical_rarity"], rarity())


def test_by_hand() -> None:
    """u = Σ r v / sqrt(Σ r²) over the set of tokens, and x = (s, u) of unit length."""
    text = "sort the list, sort the prime"
    ids = sorted(set(BASE.token_ids([text])[0]))
    r = rarity().astype(np.float64)[ids]
    u = (r[:, None] * table()[ids]).sum(axis=0) / np.sqrt((r**2).sum())
    s = BASE.encode(text)
    expected = np.concatenate([s, u])
    expected /= np.linalg.norm(expected)
    x = lexical().encode(text)
    assert x == pytest.approx(expected, abs=1e-6)
    assert x / np.linalg.norm(x[:DIMENSION]) == pytest.approx(np.concatenate([s, u]), abs=1e-5)


def test_a_word_that_comes_again_says_nothing_new() -> None:
    once, often = (lexical().encode(text) for text in ("sort list", "sort list list sort"))
    assert once / np.linalg.norm(once[:DIMENSION]) == pytest.approx(often / np.linalg.norm(often[:DIMENSION]), abs=1e-5)


def test_tokens_without_rarity_say_nothing() -> None:
    silent = lexical(rarity=np.zeros(BASE.tokens))
    x = silent.encode("sort the list")
    assert x[DIMENSION:].tolist() == [0.0] * TAGS
    assert x[:DIMENSION] == pytest.approx(BASE.encode("sort the list"), abs=1e-7)


def test_known_parts_give_the_same_vectors() -> None:
    texts = ["sort the list", "", "prime", "sort"]
    made = lexical()
    extended = made.extend(BASE.encode_batch(texts), BASE.token_ids(texts))
    assert np.array_equal(extended, made.encode_batch(texts))
    assert made.extend(np.empty((0, DIMENSION), np.float32), []).shape == (0, made.dimension)
    with pytest.raises(ValueError, match="zip"):
        made.extend(BASE.encode_batch(texts), [])


def test_arrays_make_the_same_encoder() -> None:
    made = lexical()
    again = LexicalEncoder.from_arrays(BASE, made.arrays())
    assert again.fingerprint == made.fingerprint
    assert np.array_equal(again.encode("sort a list"), made.encode("sort a list"))
    for name in made.arrays():
        arrays = {key: array for key, array in made.arrays().items() if key != name}
        with pytest.raises(StateError, match=f"lacks the array '{name}'"):
            LexicalEncoder.from_arrays(BASE, arrays)


def test_the_fingerprint_tells_encoders_apart() -> None:
    other_base = StaticEncoder(table=small_table(), tokenizer=small_tokenizer(), max_chars=61)
    others = [
        lexical(table=table(9)),
        lexical(rarity=rarity(9)),
        lexical(base=other_base),
        lexical(table=table()[:, :2]),
    ]
    assert len({lexical().fingerprint, *(other.fingerprint for other in others)}) == 5
    assert lexical().fingerprint == lexical().fingerprint
    assert lexical().fingerprint.startswith(f"{BASE.fingerprint}+lexical-{TAGS}-")


def test_it_keeps_its_own_arrays() -> None:
    given_table, given_rarity = table(), rarity()
    made = lexical(table=given_table, rarity=given_rarity)
    before = made.encode("sort the list")
    given_table[:] = 0.0
    given_rarity[:] = 0.0
    made.arrays()["lexical_table"][:] = 0.0
    assert np.array_equal(made.encode("sort the list"), before)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"table": np.zeros((3, TAGS), np.float32)}, "lexical table has shape"),
        ({"table": np.zeros(BASE.tokens, np.float32)}, "lexical table has shape"),
        ({"table": np.zeros((BASE.tokens, 0), np.float32)}, "lexical table has shape"),
        ({"rarity": np.zeros(3)}, "rarities have shape"),
        ({"rarity": np.full(BASE.tokens, -1.0)}, "rarity below 0"),
        ({"rarity": np.full(BASE.tokens, np.nan)}, "not finite"),
        ({"table": np.full((BASE.tokens, TAGS), np.inf, np.float32)}, "not finite"),
        ({"table": np.full((BASE.tokens, TAGS), 1e300)}, "not finite"),
    ],
)
def test_damaged_arrays_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(StateError, match=words):
        lexical(**changed)


def test_one_string_is_no_batch() -> None:
    with pytest.raises(InvalidValueError, match="a sequence of strings"):
        lexical().encode_batch("sort")
    with pytest.raises(InvalidValueError, match="a string"):
        lexical().encode(None)  # type: ignore[arg-type]
