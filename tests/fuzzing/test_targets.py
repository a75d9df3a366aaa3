"""The fuzzers of ``benchmarks/fuzzing``, a few hundred cases each, and every case that they once found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from benchmarks.fuzzing.__main__ import TARGETS, target_of
from benchmarks.fuzzing.campaign import attempt

CASES = {"config": 300, "logs": 200, "sse": 500, "streams": 200, "states": 200, "stores": 150}


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """Fuzzers switch logging off."""
    yield
    logging.disable(logging.NOTSET)


def test_every_target_is_tried() -> None:
    assert CASES.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", CASES)
def test_nothing_unexpected_comes_of_changed_inputs(name: str) -> None:
    outcomes = set()
    with closing(target_of(name)) as target:
        for number in range(CASES[name]):
            outcome, fault = attempt(target, seed=20261126, number=number)
            assert fault is None, fault
            outcomes.add(outcome)
    assert len(outcomes) > 1  # Neither all refused nor all accepted: the cases are worth something.
