"""schemathesis against a real gateway: a short run of ``benchmarks/fuzzing/api.py``."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from benchmarks.fuzzing.api import fuzz_api
from benchmarks.fuzzing.trees import changed_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.gateway.openapi import OPERATIONS

TREES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """Fuzzers switch logging off."""
    yield
    logging.disable(logging.NOTSET)


def test_the_gateway_answers_as_described_whatever_is_sent() -> None:
    result = fuzz_api(cases=500, seed=20261126, batch=3, variations=5)
    assert result["faults"] == {}
    assert result["next_batch"] >= len(OPERATIONS)
    for answered in ("POST /v1/chat/completions 200", "POST /v1/chat/completions 400", "GET /v1/llms 200"):
        assert result["statuses"][answered] > 0


@settings(max_examples=30)
@given(tree=TREES, seed=st.integers(0, 2**32))
def test_a_tree_is_changed_without_changing_what_was_given(tree: object, seed: int) -> None:
    before = repr(tree)
    changed_tree(tree, np.random.default_rng(seed))
    assert repr(tree) == before
