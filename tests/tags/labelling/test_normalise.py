from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.encoders import HashingEncoder
from mixllm.errors import InvalidValueError
from mixllm.tags.labelling.normalise import (
    NormalisationSettings,
    TagSets,
    drop_rare,
    merge_companions,
    merge_similar,
    merge_spellings,
    normalise,
    tag_counts,
)
from mixllm.tags.labelling.spelling import spelling_key, word_key

ENCODER = HashingEncoder(dimension=64)
WORDS = ["math", "maths", "problem", "problems", "coding", "code", "in", "c", "c++", "law", "laws", "!", "数学", "-"]
TAGS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
SETS = st.lists(st.frozensets(TAGS, max_size=4), max_size=14).map(tuple)
STEPS: dict[str, Callable[[TagSets], TagSets]] = {
    "spellings": merge_spellings,
    "rare": lambda tags: drop_rare(tags, min_count=2),
    "similar": lambda tags: merge_similar(tags, encoder=ENCODER, similarity=0.6),
    "companions": lambda tags: merge_companions(tags, min_support=2, confidence=0.7),
    "all": lambda tags: normalise(
        tags,
        encoder=ENCODER,
        settings=NormalisationSettings(min_count=2, similarity=0.6, min_support=2, confidence=0.7),
    ),
}


def sets(*names: str) -> TagSets:
    """Return sets from words: ``"a b"`` is a query with the tags a and b."""
    return tuple(frozenset(one.split()) for one in names)


@pytest.mark.parametrize("step", STEPS)
@settings(max_examples=30)
@given(tags=SETS, data=st.data())
def test_each_step_is_idempotent_honest_and_blind_to_order(step: str, tags: TagSets, data: st.DataObject) -> None:
    apply = STEPS[step]
    once = apply(tags)
    assert len(once) == len(tags)
    assert apply(once) == once
    # No tag is invented, and no query gets more tags than it had.
    assert frozenset().union(*once) <= frozenset().union(*tags)
    assert all(len(after) <= len(before) for before, after in zip(tags, once, strict=True))
    order = data.draw(st.permutations(range(len(tags))))
    assert apply(tuple(tags[row] for row in order)) == tuple(once[row] for row in order)


@settings(max_examples=30)
@given(tags=SETS)
def test_what_is_left_is_frequent_unlike_and_goes_alone(tags: TagSets) -> None:
    left = STEPS["all"](tags)
    counts = tag_counts(left)
    assert all(count >= 2 for count in counts.values())
    assert len({spelling_key(tag) for tag in counts}) == len(counts)
    vectors = ENCODER.encode_batch(list(counts)) if counts else np.zeros((0, 64))
    assert all(float(vectors[one] @ vectors[other]) < 0.6 + 1e-6 for one, other in combinations(range(len(counts)), 2))


def test_spellings_become_the_most_frequent_one() -> None:
    tags = tuple(map(frozenset, (["word problem"], ["word-problems"], ["word-problems"], ["Word Problems!"], ["?"])))
    assert merge_spellings(tags) == (*(frozenset({"word-problems"}),) * 4, frozenset())


@pytest.mark.parametrize(
    "forms",
    [
        "query queries querying",
        "program programs programming",
        "write writes writing",
        "code codes coding",
        "translate translates translating",
        "analyse analyses analysing",
        "class classes",
        "box boxes",
        "movie movies",
        "label labels labelling labeling",
        "debug debugging",
        "spell spells spelling",
        "case cases",
        "course courses",
        "database databases",
        "tie ties",
    ],
)
def test_forms_of_a_word_have_one_key(forms: str) -> None:
    assert len({word_key(form) for form in forms.split()}) == 1


def test_other_words_have_other_keys() -> None:
    words = {"physics", "physical", "string", "strong", "sing", "thing", "this", "thus", "bus", "gas", "ga"}
    words |= {"process", "news", "new", "ethics", "bias", "morning"}
    assert len({word_key(word) for word in words}) == len(words)
    assert len({spelling_key(tag) for tag in ("c", "c++", "c#", "f#")}) == 4
    assert spelling_key("to be or not") == "be not"
    assert spelling_key("in and of") == "in and of"


@given(word=st.text(alphabet="aeiosnglxyhcz", max_size=12))
def test_the_key_of_a_key_is_itself(word: str) -> None:
    assert word_key(word_key(word)) == word_key(word)


def test_rare_tags_go() -> None:
    assert drop_rare(sets("a b", "a", "c"), min_count=2) == sets("a", "a", "")
    assert NormalisationSettings().least_count(10) == 2
    assert NormalisationSettings().least_count(51_000) == 20
    assert NormalisationSettings(min_count=1).least_count(51_000) == 1


def test_tags_of_one_meaning_become_the_most_frequent_one() -> None:
    tags = tuple(
        map(frozenset, (["solve linear equation"], ["solve linear equation now"], ["solve linear equation"], ["law"]))
    )
    merged = merge_similar(tags, encoder=ENCODER, similarity=0.6)
    assert merged == (*(frozenset({"solve linear equation"}),) * 3, frozenset({"law"}))
    assert merge_similar(tags, encoder=ENCODER, similarity=1.0) == tags
    assert merge_similar((), encoder=ENCODER, similarity=0.5) == ()


def test_companions_become_the_more_frequent_one_and_specials_stay() -> None:
    # b always comes with a and nearly the other way round; c always comes with a, but a mostly comes without c.
    tags = sets(*["a b"] * 18, "a", *["a b c"] * 2)
    assert merge_companions(tags, min_support=5, confidence=0.95) == sets(*["a"] * 19, *["a c"] * 2)
    assert merge_companions(tags, min_support=5, confidence=1.0) == tags
    assert merge_companions(tags, min_support=21, confidence=0.95) == tags


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"min_count": 0}, "min_count must be >= 1"),
        ({"similarity": 0.0}, "similarity must be above 0"),
        ({"similarity": 1.1}, "similarity must be between 0 and 1"),
        ({"min_support": 0}, "min_support must be >= 1"),
        ({"confidence": 0.5}, "confidence must be above 0.5"),
        ({"confidence": float("nan")}, "confidence must be between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        NormalisationSettings(**bad)
