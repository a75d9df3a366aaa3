"""The expected wait, by hand."""

from __future__ import annotations

import math

import pytest

from mixllm.errors import InvalidValueError
from mixllm.predictors import expected_wait_s


@pytest.mark.parametrize(
    ("in_flight", "servers", "service_s", "expected"),
    [
        (0, 1, 2.0, 0.0),
        (1, 1, 2.0, 2.0),  # the one under way has to finish
        (3, 1, 2.0, 6.0),
        (3, 4, 2.0, 0.0),
        (4, 4, 2.0, 0.5),  # one of four finishes every half second
        (7, 4, 2.0, 2.0),
        (100, None, 2.0, 0.0),
        (5, 2, 0.0, 0.0),
    ],
)
def test_waits_by_hand(in_flight: int, servers: int | None, service_s: float, expected: float) -> None:
    assert expected_wait_s(in_flight=in_flight, max_in_flight=servers, service_s=service_s) == expected


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"in_flight": -1}, "in_flight"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"service_s": -0.1}, "service_s"),
        ({"service_s": math.nan}, "service_s"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, float], name: str) -> None:
    given: dict[str, float] = {"in_flight": 1, "max_in_flight": 1, "service_s": 1.0, **change}
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        expected_wait_s(
            in_flight=int(given["in_flight"]), max_in_flight=int(given["max_in_flight"]), service_s=given["service_s"]
        )
