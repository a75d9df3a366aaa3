"""A store that a real router has filled: it explored, was judged in part, and learned on the way."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from tests.small_router import question, small_router

from mixllm import Decision, Outcome, Router
from mixllm.config import PolicyConfig, RoutingConfig, ShadowConfig
from mixllm.interfaces import Store
from mixllm.store import SQLiteStore

POLICY = PolicyConfig(name="squarecb", gap_weight=8.0, warmup_judgements=20, warmup_share=0.3)
TRADE_OFF = 1.4
TRUE_QUALITY = {"small": 0.4, "middle": 0.7, "large": 0.8}
FORCED, UNANSWERED = 5, 7


_BATCH = 50


class Ticking:
    """A clock on which every look is a millisecond later, so that ids are in the order of the decisions."""

    def __init__(self) -> None:
        self._ticks = count(1_700_000_000_000)

    def time_s(self) -> float:
        """Return the Unix time."""
        return next(self._ticks) / 1000 + 0.0005

    def monotonic_s(self) -> float:
        """Return the same seconds."""
        return self.time_s()


def router_on(
    store: Store,
    *,
    policy: PolicyConfig = POLICY,
    trade_off: float = TRADE_OFF,
    shadow: tuple[ShadowConfig, ...] = (),
) -> Router:
    """Return a router that explores."""
    routing = RoutingConfig(trade_off=trade_off, policy=policy, reference_llm="large", shadow=shadow)
    return small_router(store=store, routing=routing, clock=Ticking(), seed=11)


def answer(router: Router, decision: Decision, rng: np.random.Generator) -> None:
    """Record a decision's call, and judge seven of ten."""
    tokens_out = int(rng.integers(50, 300))
    router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=tokens_out, latency_s=1.5))
    if rng.uniform() < 0.7:
        router.submit_feedback(decision.decision_id, thumbs=bool(rng.uniform() < TRUE_QUALITY[decision.llm]))


def filled_store(
    path: Path, *, decisions: int = 400, policy: PolicyConfig = POLICY, shadow: tuple[ShadowConfig, ...] = ()
) -> Path:
    """Write a store; `FORCED` more decisions named their LLM, `UNANSWERED` more came to nothing.

    It decides batch by batch and learns in between, so that what it knows does not depend on the background's pace.
    """
    rng = np.random.default_rng(3)
    with router_on(SQLiteStore(path=path), policy=policy, shadow=shadow) as router:
        for first in range(0, decisions, _BATCH):
            numbers = range(first, min(first + _BATCH, decisions))
            batch = [router.route(question(number), expect_outcome=False) for number in numbers]
            for decision in batch:
                answer(router, decision, rng)
            router.learn()
        for number in range(FORCED):
            answer(router, router.route(question(number), llm="large", expect_outcome=False), rng)
        for number in range(UNANSWERED):
            router.route(question(number), expect_outcome=False)
    return path
