"""What a demo refuses to do."""

from __future__ import annotations

from typing import Any

import pytest

from mixllm.demo.settings import DemoSettings
from mixllm.errors import InvalidValueError


@pytest.mark.parametrize(
    ("name", "value"),
    [("queries", 0), ("concurrency", 0), ("speed", 0.0), ("speed", float("nan")), ("seed", -1), ("trade_off", -0.1)],
)
def test_bad_values_are_named(name: str, value: float) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(InvalidValueError, match=name):
        DemoSettings(**arguments)
