"""A small world with a planted truth: vectors, LLMs that are linear in them, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import FloatArray, Store
from mixllm.types import (
    Decision,
    DecisionRecord,
    Feedback,
    FeedbackKind,
    LearningEvent,
    LLMSpec,
    Outcome,
    OutcomeEvent,
    Price,
)

DIMENSION = 6
"""Length of the world's encodings."""

Vector = NDArray[np.float32]


class PlainFeatures:
    """Encoding and constant, the first two dimensions called tags."""

    def __init__(self, *, fingerprint: str = "plain/1") -> None:
        self.fingerprint = fingerprint

    @property
    def dimension(self) -> int:
        return DIMENSION + 1

    @property
    def tags(self) -> tuple[str, ...]:
        return ("one", "two")

    def features(self, encoding: FloatArray) -> Vector:
        return np.append(encoding, 1.0).astype(np.float32)


def spec(name: str, usd: float = 1.0, *, max_in_flight: int | None = None) -> LLMSpec:
    """Return an LLM that costs `usd` per million tokens."""
    price = Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)
    return LLMSpec(name=name, price=price, max_in_flight=max_in_flight)


SPECS = (spec("small", 0.1), spec("middle", 1.0), spec("large", 10.0))


class World:
    """LLMs whose quality and log length are linear in the query's vector, with shared and own slopes."""

    def __init__(self, seed: int, *, names: Sequence[str] = ("small", "middle", "large")) -> None:
        self.rng = np.random.default_rng(seed)
        shared = self.rng.normal(0, 0.12, DIMENSION)
        self.levels = {name: 0.45 + 0.1 * place for place, name in enumerate(names)}
        self.slopes = {name: shared + self.rng.normal(0, 0.06, DIMENSION) for name in names}
        self.log_lengths = {name: 4.0 + 0.5 * place for place, name in enumerate(names)}

    def encoding(self) -> Vector:
        """Return the unit vector of a new query."""
        x = self.rng.normal(size=DIMENSION)
        return (x / np.linalg.norm(x)).astype(np.float32)

    def quality(self, llm: str, x: Vector) -> float:
        """Return the true mean quality."""
        return float(np.clip(self.levels[llm] + x @ self.slopes[llm], 0.0, 1.0))

    def judged(self, llm: str, x: Vector) -> float:
        """Return one judgement."""
        return float(np.clip(self.quality(llm, x) + 0.1 * self.rng.normal(), 0.0, 1.0))

    def outcome(self, llm: str, x: Vector) -> Outcome:
        """Return one call's facts: 0.5 s and 10 ms a token."""
        tokens = int(np.exp(self.log_lengths[llm] + 0.5 * x[0] + 0.2 * self.rng.normal()))
        return Outcome(llm=llm, tokens_in=300, tokens_out=tokens, latency_s=0.5 + 0.01 * tokens, ttft_s=0.5)


def outcome_event(seq: int, llm: str, x: Vector, outcome: Outcome, *, tokens_in: int = 300) -> LearningEvent:
    """Return an outcome as the store gives it."""
    return LearningEvent(
        seq=seq, decision_id=str(seq), llm=llm, encoding=x.astype("<f4").tobytes(), tokens_in=tokens_in, outcome=outcome
    )


def feedback_event(
    seq: int, llm: str, x: Vector, quality: float, *, metric: str = "quality", key_id: str = ""
) -> LearningEvent:
    """Return a judgement as the store gives it."""
    feedback = Feedback(
        feedback_id=str(seq),
        decision_id=str(seq),
        kind=FeedbackKind.REFINED,
        value=quality,
        metric=metric,
        key_id=key_id,
    )
    return LearningEvent(
        seq=seq,
        decision_id=str(seq),
        llm=llm,
        encoding=x.astype("<f4").tobytes(),
        tokens_in=300,
        feedback=feedback,
    )


def events(
    world: World, count: int, *, first: int = 1, llms: Sequence[str] = ("small", "middle", "large")
) -> list[LearningEvent]:
    """Return `count` outcomes and judgements in turn."""
    made: list[LearningEvent] = []
    for seq in range(first, first + count):
        llm, x = llms[int(world.rng.integers(len(llms)))], world.encoding()
        if seq % 2:
            made.append(outcome_event(seq, llm, x, world.outcome(llm, x)))
        else:
            made.append(feedback_event(seq, llm, x, world.judged(llm, x)))
    return made


def fill(
    store: Store, world: World, count: int, *, first: int = 1, llms: Sequence[str] = ("small", "middle", "large")
) -> None:
    """Append `count` decisions, each with its outcome and a judgement."""
    for number in range(first, first + count):
        llm, x = llms[int(world.rng.integers(len(llms)))], world.encoding()
        decision = Decision(
            decision_id=f"{number:06d}",
            created_at_s=0.0,
            llm=llm,
            reason="",
            policy="test",
            trade_off=1.4,
            cost_scale_usd=1.0,
            model_version=1,
            seed=0,
            tokens_in=300,
            tags=(),
            candidates=(),
        )
        store.append_decision(DecisionRecord(decision=decision, encoding=x.astype("<f4").tobytes()))
        store.append_outcome(
            OutcomeEvent(decision_id=decision.decision_id, outcome=world.outcome(llm, x), created_at_s=0.0)
        )
        store.append_feedback(
            Feedback(
                feedback_id=f"f{number}",
                decision_id=decision.decision_id,
                kind=FeedbackKind.REFINED,
                value=world.judged(llm, x),
            )
        ).result()
