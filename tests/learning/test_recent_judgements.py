"""The last judgements: those of others, and no more than there is room for."""

from __future__ import annotations

import numpy as np
import pytest

from mixllm.errors import StateError
from mixllm.learning.recent_judgements import RecentJudgements


def test_only_others_of_the_same_answer_are_told() -> None:
    recent = RecentJudgements()
    for source, value in (("judge", 0.5), ("user", 1.0), ("user", 0.0)):
        recent.add("d", source, value)
    recent.add("e", "judge", 0.25)
    assert recent.by_others("d", "judge") == [("user", 1.0), ("user", 0.0)]
    assert recent.by_others("d", "user") == [("judge", 0.5)]
    assert recent.by_others("nowhere", "user") == []


def test_the_oldest_are_forgotten() -> None:
    recent = RecentJudgements()
    for number in range(3000):
        recent.add(str(number), "judge", 0.5)
    values, answers, sources = recent.state()
    assert len(values) == len(answers) == len(sources) == 1024
    assert recent.by_others("1975", "user") == []
    assert recent.by_others("1976", "user") == [("judge", 0.5)]


def test_the_state_comes_back_and_names_no_decision() -> None:
    recent, again = RecentJudgements(), RecentJudgements()
    recent.add("decision-1", "judge", 0.5)
    again.load_state(*recent.state())
    assert again.by_others("decision-1", "user") == [("judge", 0.5)]
    assert "decision-1" not in "".join(recent.state()[1])


def test_merged_ones_are_the_newest() -> None:
    one, other = RecentJudgements(), RecentJudgements()
    for number in range(1024):
        one.add(str(number), "judge", 0.5)
    other.add("other", "user", 1.0)
    one.merge(other)
    assert one.by_others("other", "judge") == [("user", 1.0)]
    assert one.by_others("0", "user") == []


@pytest.mark.parametrize(
    ("values", "answers"), [(np.zeros(2), ("a",)), (np.full(1, np.nan), ("a",)), (np.full(1, 2.0), ("a",))]
)
def test_a_damaged_state_is_refused(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], answers: tuple[str, ...]
) -> None:
    with pytest.raises(StateError, match="Load another checkpoint"):
        RecentJudgements().load_state(values, answers, ("judge",) * len(answers))
