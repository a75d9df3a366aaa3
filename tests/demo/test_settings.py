"""What a demo refuses to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixllm.demo.settings import DemoSettings
from mixllm.errors import InvalidValueError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queries", 0),
        ("concurrency", 0),
        ("speed", 0.0),
        ("speed", float("nan")),
        ("seed", -1),
        ("trade_off", -0.1),
        ("max_cost_share", 0.0),
        ("max_cost_share", 1.5),
        ("arrivals", "never"),
        ("duration_s", 0.0),
        ("rate_per_s", -1.0),
        ("capacity", 0),
        ("deadline_s", 0.0),
    ],
)
def test_bad_values_are_named(name: str, value: object) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(InvalidValueError, match=name):
        DemoSettings(**arguments)


def test_queries_in_their_own_time_meet_llms_in_theirs() -> None:
    assert DemoSettings().played_speed == 20.0
    assert DemoSettings(arrivals="poisson").played_speed == 1.0
    assert DemoSettings(arrivals="poisson", speed=3.0).played_speed == 3.0


def test_a_synthetic_log_needs_less_quality_for_its_money() -> None:
    assert DemoSettings().played_trade_off == 7.0
    assert DemoSettings(data=Path("log")).played_trade_off == 20.0
    assert DemoSettings(trade_off=3.0).played_trade_off == 3.0
