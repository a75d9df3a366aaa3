"""A router whose questions change: it notices, says so, and gets used to them."""

from __future__ import annotations

import numpy as np
from tests.small_router import SPECS

from mixllm import Router
from mixllm.config import OutOfDomainConfig, RoutingConfig

STRANGE = "Does the tenant owe damages where the landlord broke the lease under the civil code?"
LAWYERS = ("tenant", "landlord", "court", "statute", "contract", "plaintiff", "damages", "lease", "clause", "appeal")
VERBS = ("add", "subtract", "multiply", "divide", "compare")


def sum_of(number: int) -> str:
    """Return one of many different sums."""
    return f"{VERBS[number % 5]} {number} and {number * 37 % 101}, then take away {number * 11 % 53}"


def taught(*, enabled: bool = True) -> Router:
    """Return a router that has been asked sums."""
    rng = np.random.default_rng(0)
    router = Router(llms=SPECS, routing=RoutingConfig(out_of_domain=OutOfDomainConfig(enabled=enabled)), seed=7)
    for number in range(400):
        decision = router.route(sum_of(number))
        router.submit_feedback(decision.decision_id, quality=float(rng.uniform()))
    router.learn()
    return router


def test_a_question_of_another_kind_is_told_in_the_decision_and_in_its_events() -> None:
    with taught() as router:
        usual = router.route(sum_of(1003))
        strange = router.route(STRANGE)
        assert usual.out_of_domain < 0.5 < strange.out_of_domain
        assert "unlike" in strange.reason
        assert "unlike" not in usual.reason
        assert router.decision(strange.decision_id).decision.out_of_domain == strange.out_of_domain
        before = router.learner.position
        router.feedback(strange.decision_id, quality=1.0)
        (event,) = router.store.events_after(before)
        assert event.out_of_domain == strange.out_of_domain


def test_it_gets_used_to_them() -> None:
    rng = np.random.default_rng(1)
    asked = [f"Does the {' '.join(rng.choice(LAWYERS, 6))} owe damages under the civil code?" for _ in range(100)]
    with taught() as router:
        first = [router.route(text).out_of_domain for text in asked[80:]]
        for text in asked[:80]:
            router.submit_feedback(router.route(text).decision_id, quality=0.5)
        router.learn()
        then = [router.route(text).out_of_domain for text in asked[80:]]
    assert np.mean(first) > 0.9
    assert np.mean(then) < 0.5


def test_switched_off_it_is_reported_all_the_same() -> None:
    with taught(enabled=False) as router:
        strange = router.route(STRANGE)
        assert strange.out_of_domain > 0.5
        assert "unlike" not in strange.reason
