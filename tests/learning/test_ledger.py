"""Prices of then and now, and what was spent."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.learning.learners import forecasts, make
from tests.learning.world import World, outcome_event, spec

from mixllm.errors import StateError
from mixllm.learning.ledger import Ledger
from mixllm.learning.price_history import PriceHistory
from mixllm.router.decision_ids import new_decision_id
from mixllm.types import LearningEvent, Outcome, OutcomeStatus, Price

CHEAP = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
DEAR = Price(usd_per_million_tokens_in=10, usd_per_million_tokens_out=20, usd_per_million_tokens_cached_in=3)


def test_a_decision_has_the_price_of_its_time() -> None:
    ledger, llm = Ledger(), spec("x")
    ledger.reprice(llm, DEAR, since_s=5.0)
    ledger.reprice(llm, CHEAP, since_s=1_000.0005)
    early, late = new_decision_id(999.9), new_decision_id(1_000.0009)
    assert [ledger.price("x", decision_id=one) for one in (early, late, "no id of ours", None)] == [
        DEAR,
        CHEAP,
        CHEAP,
        CHEAP,
    ]
    assert ledger.price("x", decision_id=new_decision_id(0.0)) == DEAR, "the first price holds since ever"
    assert ledger.price("nobody") is None


def test_prices_and_spending_outlast_a_restart() -> None:
    ledger, llm = Ledger(), spec("x")
    ledger.reprice(llm, DEAR, since_s=None)
    ledger.newest_event_s = 50.0
    ledger.reprice(llm, CHEAP, since_s=None)
    ledger.spend("x", 0.25)
    edited = Ledger()
    edited.reprice(llm, DEAR, since_s=None)
    restored = edited.restored(("x",), ledger.state(("x",)))
    assert restored.spent_usd("x") == 0.25
    assert restored.price("x", decision_id=new_decision_id(49.0)) == DEAR
    assert restored.price("x") == DEAR, "what the configuration says now is the newest"
    plain = Ledger().restored(("x",), ledger.state(("x",)))
    assert plain.price("x", decision_id=new_decision_id(49.0)) == DEAR
    assert plain.price("x", decision_id=new_decision_id(51.0)) == plain.price("x") == CHEAP
    assert Ledger().restored(("x",), {}).spent_usd("x") == 0.0, "an older checkpoint"


def test_only_the_newest_prices_are_kept() -> None:
    history = PriceHistory(price=DEAR)
    for place in range(50):
        history.change(Price(usd_per_million_tokens_in=place, usd_per_million_tokens_out=1), since_s=float(place))
    assert history.state().shape == (8, 5)
    assert history.now.usd_per_million_tokens_in == 49
    assert PriceHistory.from_state(history.state()).state().tolist() == history.state().tolist()


@pytest.mark.parametrize(
    "state",
    [np.zeros(5), np.zeros((0, 5)), np.full((1, 5), np.nan), np.array([[0.0, -1, 1, -1, -1]]), np.full((1, 5), np.inf)],
)
def test_damaged_prices_are_refused(state: NDArray[np.float64]) -> None:
    with pytest.raises(StateError, match="Load another checkpoint"):
        PriceHistory.from_state(state)
    with pytest.raises(StateError, match="Load another checkpoint"):
        Ledger().restored(("x",), {"0.spent_usd": np.array([-1.0])})


def test_two_ledgers_add_up() -> None:
    x = World(31).encoding()
    one, other = make(), make()
    one.learn([outcome_event(1, "small", x, Outcome(cost_usd=1.0))])
    other.learn(
        [
            outcome_event(1, "small", x, Outcome(cost_usd=2.0)),
            outcome_event(2, "large", x, Outcome(cost_usd=4.0)),
        ]
    )
    one.merge(other.checkpoint())
    assert (one.ledger.spent_usd("small"), one.ledger.spent_usd("large")) == (3.0, 4.0)


def test_calls_are_counted_whatever_came_of_them() -> None:
    world, learner = World(30), make()
    x = world.encoding()
    failed = Outcome(status=OutcomeStatus.ERROR, cost_usd=0.5)
    learner.learn([outcome_event(1, "small", x, failed), outcome_event(2, "small", x, Outcome(cost_usd=0.25))])
    assert forecasts(learner, x)["small"].spent_usd == 0.75
    other = make()
    other.restore(learner.checkpoint())
    assert forecasts(other, x)["small"].spent_usd == 0.75


def test_a_change_of_price_does_not_confuse_the_billing_factor() -> None:
    """A call that was decided before the change and recorded after it is compared with the price of then."""
    world, learner = World(31), make()
    x = world.encoding()

    def event(seq: int, at_s: float, cost_usd: float) -> LearningEvent:
        outcome = Outcome(llm="middle", tokens_in=300, tokens_out=100, cost_usd=cost_usd)
        made = outcome_event(seq, "middle", x, outcome)
        return LearningEvent(
            seq=seq,
            decision_id=new_decision_id(at_s),
            llm="middle",
            encoding=made.encoding,
            tokens_in=300,
            outcome=outcome,
            created_at_s=at_s + 500.0,
        )

    learner.learn([event(seq, 100.0, 400e-6) for seq in range(1, 101)])
    assert forecasts(learner, x)["middle"].cost_usd.mean == pytest.approx(400e-6, rel=0.1)
    learner.put_llm(spec("middle", 10.0), at_s=200.0)
    learner.learn([event(seq, 150.0, 400e-6) for seq in range(101, 201)])
    learner.learn([event(seq, 250.0, 4_000e-6) for seq in range(201, 301)])
    assert forecasts(learner, x)["middle"].cost_usd.mean == pytest.approx(4_000e-6, rel=0.1)


def test_another_price_moves_no_other_llm_and_no_scale() -> None:
    world, learner = World(32), make()
    x = world.encoding()
    before, scale = forecasts(learner, x), learner.snapshot().cost_scale_usd
    learner.put_llm(spec("large", 0.5), at_s=1.0)
    after = forecasts(learner, x)
    assert {name: after[name] for name in ("small", "middle")} == {name: before[name] for name in ("small", "middle")}
    assert after["large"].cost_usd.mean == pytest.approx(before["large"].cost_usd.mean / 20)
    assert after["large"].quality == before["large"].quality
    assert learner.snapshot().cost_scale_usd == scale, "the reference LLM's price is that of when it became it"
    other = make()
    other.restore(learner.checkpoint())
    assert other.snapshot().cost_scale_usd == scale
