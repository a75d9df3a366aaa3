"""Which column names what queries are about."""

from __future__ import annotations

import numpy as np
import pytest
from tests.logs.folders import make_log

from mixllm.logs import default_label


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, None),
        ({"domain": ("a", "b", "a"), "task": ("x", "y", "z")}, "task"),
        ({"task": ("x", "x", "x"), "domain": ("a", "b", "a")}, "domain"),
        ({"task": ("x", "", "x"), "subject": ("a", "b", "")}, "subject"),
        ({"eval_name": ("a", "b", "c"), "split": ("a", "b", "c")}, "eval_name"),
        ({"Task": ("a", "b", "c"), "language": ("a", "b", "c")}, None),
        ({"topic": ("", "", "")}, None),
    ],
)
def test_the_first_that_tells_queries_apart(labels: dict[str, tuple[str, ...]], expected: str | None) -> None:
    assert default_label(make_log([[1.0], [0.0], [1.0]], labels=labels)) == expected


def test_an_id_is_no_tag() -> None:
    for values, expected in ((100, "task"), (101, None)):
        log = make_log(np.ones((101, 1)), labels={"task": tuple(str(min(row, values - 1)) for row in range(101))})
        assert default_label(log) == expected
