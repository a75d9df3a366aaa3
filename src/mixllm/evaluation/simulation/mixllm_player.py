"""MixLLM itself on a stream: the real router, its real learning, a store in memory and a clock that is set."""

from __future__ import annotations

from mixllm.assembly import Router
from mixllm.clock import ManualClock
from mixllm.config import EncoderConfig, LearningConfig, RoutingConfig, TagsConfig
from mixllm.evaluation.simulation.player import Arrival, Feedback
from mixllm.store import MemoryStore
from mixllm.types import FeedbackKind, LLMSpec, Outcome, Query

__all__ = ["MixLLMPlayer"]

_SECONDS_BETWEEN_QUERIES = 1.0


class _RouterInStep(Router):
    """A router that learns when it is told to, and not in a thread beside it: a run can be repeated."""

    def _ensure_learning(self) -> None:
        pass


class MixLLMPlayer:
    """MixLLM from a cold start.

    Parameters
    ----------
    pool
        The LLMs to start with.
    routing
        Trade-off and policy.
    reference
        The LLM whose price is the scale of cost; it may not be in `pool` yet.
    seed
        Of the decisions' random draws.
    encoder, tags, learning
        Settings of the router; None takes the defaults.
    """

    def __init__(
        self,
        *,
        pool: tuple[LLMSpec, ...],
        routing: RoutingConfig,
        reference: LLMSpec,
        seed: int,
        encoder: EncoderConfig | None = None,
        tags: TagsConfig | None = None,
        learning: LearningConfig | None = None,
    ) -> None:
        self._clock = ManualClock()
        coming = all(spec.name != reference.name for spec in pool)
        self._router = _RouterInStep(
            llms=[*pool, reference] if coming else pool,
            routing=routing,
            encoder=encoder,
            tags=tags,
            learning=learning,
            store=MemoryStore(),
            clock=self._clock,
            seed=seed,
        )
        if coming:
            self._router.remove_llm(reference.name)
        self._pool = pool
        self._ids: dict[int, str] = {}

    @property
    def router(self) -> Router:
        """The router."""
        return self._router

    def choose(self, arrival: Arrival) -> str:
        """Route the query, after the pool has become what it is now."""
        if arrival.pool != self._pool:
            self._change_pool(arrival.pool)
        decision = self._router.route(Query(text=arrival.text, tokens_in=arrival.tokens_in), expect_outcome=False)
        self._ids[arrival.number] = decision.decision_id
        self._clock.advance(_SECONDS_BETWEEN_QUERIES)
        return decision.llm

    def learn(self, feedback: Feedback) -> None:
        """Record the facts, give the judgement if there is one, and learn at once."""
        decision_id = self._ids.pop(feedback.number)
        self._router.record(
            decision_id,
            Outcome(
                tokens_in=feedback.tokens_in,
                tokens_out=feedback.tokens_out,
                cost_usd=feedback.cost_usd,
                latency_s=feedback.latency_s,
                ttft_s=feedback.ttft_s,
            ),
        )
        if feedback.quality is not None:
            if feedback.kind is FeedbackKind.BINARY:
                self._router.feedback(decision_id, thumbs=feedback.quality > 0)
            else:
                self._router.feedback(decision_id, quality=feedback.quality)
        self._router.learn()

    def close(self) -> None:
        """Close the router."""
        self._router.close()

    def _change_pool(self, pool: tuple[LLMSpec, ...]) -> None:
        now = {spec.name: spec for spec in pool}
        before = {spec.name: spec for spec in self._pool}
        for name in before.keys() - now.keys():
            self._router.remove_llm(name)
        for name, spec in now.items():
            if name not in before:
                self._router.add_llm(spec)
            elif before[name] != spec:
                self._router.update_llm(spec)
        self._pool = pool
