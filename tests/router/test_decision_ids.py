"""Ids of decisions are version-7 UUIDs that sort by time."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from mixllm.router.decision_ids import new_decision_id

TIMES_S = st.floats(0, 1e11)


@given(time_s=TIMES_S)
def test_it_is_a_version_7_uuid_of_that_millisecond(time_s: float) -> None:
    text = new_decision_id(time_s)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == int(time_s * 1000)


@given(earlier_s=TIMES_S, later_s=TIMES_S)
def test_ids_sort_by_time(earlier_s: float, later_s: float) -> None:
    if int(earlier_s * 1000) < int(later_s * 1000):
        assert new_decision_id(earlier_s) < new_decision_id(later_s)
    assert new_decision_id(earlier_s) != new_decision_id(earlier_s)


def test_every_random_bit_is_drawn() -> None:
    drawn = [uuid.UUID(new_decision_id(0.0)).int for _ in range(500)]
    ever_0 = ever_1 = 0
    for value in drawn:
        ever_1 |= value
        ever_0 |= ~value
    random_bits = (1 << 80) - 1 & ~(0xF << 76) & ~(0b11 << 62)
    assert ever_1 & ever_0 & random_bits == random_bits
