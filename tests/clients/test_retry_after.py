from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.clients import retry_after_s

NOW_S = 1_000_000_000.0  # Sun, 09 Sep 2001 01:46:40 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "tomorrow"}, None),
        ({"Retry-After": "Sun, 09 Sep 2001 01:46:50 GMT"}, 10.0),
        ({"Retry-After": "Sun, 09 Sep 2001 01:46:30 GMT"}, 0.0),
        ({"Retry-After": "Sunday, 09-Sep-01 01:46:50 GMT"}, 10.0),
        ({"Retry-After": "Sun Sep  9 01:46:50 2001"}, 10.0),
        ({"Retry-After": "Sun, 09 Sep 2001 01:46:50 GMT", "Date": "Sun, 09 Sep 2001 01:46:47 GMT"}, 3.0),
        ({"Retry-After": "Sun, 09 Sep 2001 01:46:50 GMT", "Date": "now"}, 10.0),
        ({"Retry-After": "9", "retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "9", "retry-after-ms": "x"}, 9.0),
    ],
)
def test_waits(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, now_s=NOW_S) == expected


@given(value=st.text(max_size=40), date=st.text(max_size=40))
def test_any_text_gives_a_wait_or_none(value: str, date: str) -> None:
    wait_s = retry_after_s({"Retry-After": value, "Date": date}, now_s=NOW_S)
    assert wait_s is None or 0 <= wait_s < float("inf")
