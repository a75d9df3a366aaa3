"""The ledger: each event once, in the period in which it was recorded, whatever the batches and restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.decision import Period
from mixllm.router.ledger import Ledger
from mixllm.store import MemoryStore
from mixllm.types import Feedback, FeedbackKind, LearningEvent, Outcome

DAY_S = 86_400.0


def event(seq: int, *, usd: float | None, at_s: float = 10.0, key_id: str = "") -> LearningEvent:
    return LearningEvent(
        seq=seq,
        decision_id=f"d{seq}",
        llm="a",
        encoding=b"",
        tokens_in=1,
        outcome=Outcome(cost_usd=usd),
        created_at_s=at_s,
        key_id=key_id,
    )


def ledger(now_s: float = 0.0) -> Ledger:
    return Ledger(period=Period(name="day"), now_s=now_s)


def test_an_event_is_charged_once() -> None:
    one = ledger()
    assert one.charge(event(3, usd=0.5, key_id="k"))
    assert not one.charge(event(3, usd=0.5, key_id="k"))
    assert not one.charge(event(2, usd=9.0, key_id="k")), "a checkpoint was rolled back: events come again"
    assert (one.total_usd, one.of_usd("k"), one.of_usd("nobody"), one.position) == (0.5, 0.5, 0.0, 3)


def test_what_nobody_knows_the_cost_of_costs_nothing() -> None:
    one = ledger()
    assert one.charge(event(1, usd=None))
    assert one.total_usd == 0.0


def test_a_judgement_costs_what_it_cost() -> None:
    verdict = Feedback(
        feedback_id="f", decision_id="d", kind=FeedbackKind.BINARY, value=1.0, key_id="judge", cost_usd=0.2
    )
    one = ledger()
    one.charge(
        LearningEvent(
            seq=1, decision_id="d", llm="a", encoding=b"", tokens_in=1, feedback=verdict, created_at_s=1.0, key_id="k"
        )
    )
    assert (one.of_usd("k"), one.of_usd("judge")) == (0.2, 0.0)


def test_a_period_begins_with_nothing_and_takes_what_is_recorded_in_it() -> None:
    one = ledger()
    one.charge(event(1, usd=1.0))
    assert not one.turn(DAY_S - 1)
    assert one.turn(DAY_S)
    assert (one.total_usd, one.start_s, one.end_s) == (0.0, DAY_S, 2 * DAY_S)
    assert one.charge(event(2, usd=1.0, at_s=DAY_S - 1)), "recorded before midnight, seen after it"
    assert one.total_usd == 0.0
    one.charge(event(3, usd=0.25, at_s=DAY_S + 1))
    assert one.total_usd == 0.25
    assert not one.turn(0.0), "a clock that goes back begins no period"
    assert one.total_usd == 0.25


def test_an_event_of_a_later_period_begins_it() -> None:
    one = ledger()
    one.charge(event(1, usd=1.0))
    one.charge(event(2, usd=0.5, at_s=DAY_S + 5))
    assert (one.total_usd, one.start_s) == (0.5, DAY_S)


def test_it_opens_with_what_the_store_knows() -> None:
    class Known(MemoryStore):
        def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> dict[str, float]:
            assert (since_s, until_seq) == (DAY_S, 7)
            return {"k": 0.5, "": 0.25}

    one = ledger(DAY_S + 5)
    one.open(Known(), until_seq=7)
    assert (one.total_usd, one.of_usd("k")) == (0.75, 0.5)
    assert not one.charge(event(7, usd=1.0, at_s=DAY_S + 1))
    assert one.charge(event(8, usd=1.0, at_s=DAY_S + 1))
    assert one.total_usd == 1.75


EVENTS = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 3 * DAY_S), st.sampled_from(["", "a", "b"])), min_size=1, max_size=30
)


@given(EVENTS, st.data())
def test_batches_repetitions_and_restarts_do_not_matter(
    facts: list[tuple[float, float, str]], data: st.DataObject
) -> None:
    facts.sort(key=lambda fact: fact[1])
    events = [event(seq, usd=usd, at_s=at_s, key_id=key) for seq, (usd, at_s, key) in enumerate(facts, start=1)]
    straight = ledger()
    for one in events:
        straight.charge(one)
    stumbling = ledger()
    place = 0
    while place < len(events):
        back = data.draw(st.integers(0, place), label="goes back to")
        place = data.draw(st.integers(place + 1, len(events)), label="goes on to")
        for one in events[back:place]:
            stumbling.charge(one)
    assert stumbling.total_usd == pytest.approx(straight.total_usd)
    for key in ("", "a", "b"):
        assert stumbling.of_usd(key) == pytest.approx(straight.of_usd(key))
    last_day = events[-1].created_at_s // DAY_S
    assert straight.total_usd == pytest.approx(sum(usd for usd, at_s, _ in facts if at_s // DAY_S == last_day))
