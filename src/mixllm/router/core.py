"""The router itself: decide, learn, close."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self, TypedDict

import numpy as np

from mixllm.decision import Choice, DecisionMaker, Forecasts, Outside
from mixllm.errors import InvalidValueError, StateError, StoreError
from mixllm.interfaces import Clock, Encoder, FeatureMap, FloatArray, Store
from mixllm.learning import DEADLINE_QUANTILE, Checkpoint, Learner, LearningWorker, Snapshot
from mixllm.registry import InFlight
from mixllm.router.budget import Budget
from mixllm.router.decision_ids import new_decision_id
from mixllm.router.judgements import judgement
from mixllm.router.measured import measured
from mixllm.router.pool import RoutedPool
from mixllm.router.shadows import Shadows
from mixllm.types import (
    Decision,
    DecisionRecord,
    Feedback,
    FeedbackKind,
    FeedbackReceipt,
    LLMSpec,
    Outcome,
    OutcomeEvent,
    Query,
    StoredDecision,
    TagWeight,
)

__all__ = ["RouterCore"]


class _Drawn(TypedDict):
    """What every policy that decides on a query is given alike."""

    forecasts: Forecasts
    cost_scale_usd: float
    draw: float
    outside: Outside | None


class _Made(NamedTuple):
    """A choice, from which snapshot and with what it was made, and when."""

    snapshot: Snapshot
    choice: Choice
    drawn: _Drawn
    created_at_s: float


_LOG = logging.getLogger(__name__)
_SHOWN_TAGS = 3
_DRAW_BITS = 53


class RouterCore(RoutedPool):
    """Decides which LLM takes a query, and learns from what comes back; thread-safe.

    The request path only reads an immutable snapshot. Facts (`record`) and judgements (`feedback`) go to the store;
    the learning worker reads them there and publishes the next snapshot.

    Parameters
    ----------
    encoder
        Text to vector.
    features
        Vector to the features of the predictors.
    learner
        Holds the pool and everything learned.
    maker
        Constraints, scores, policy.
    store
        Where decisions, outcomes, feedback, pool changes and checkpoints live.
    clock
        Time.
    rng
        Source of the decisions' seeds.
    price
        Gives a spec its price, or raises `UnknownPriceError`.
    store_prompts
        Whether the store keeps the encoded text beside its vector.
    checkpoint_interval_s
        How often learned state is kept.
    stalled_after_s
        See `LearningWorker`.
    quarantine
        Whether checkpoints that are found unusable are marked in the store.
    budget
        What may be spent; None: no limit.
    shadows
        Second policies that decide beside `maker`; None: none.
    deadline_quantile
        The probability with which a query's `max_latency_s` and `max_ttft_s` are to be met, in (0, 1).
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        features: FeatureMap,
        learner: Learner,
        maker: DecisionMaker,
        store: Store,
        clock: Clock,
        rng: np.random.Generator,
        price: Callable[[LLMSpec], LLMSpec],
        store_prompts: bool = False,
        checkpoint_interval_s: float = 30.0,
        stalled_after_s: float = 60.0,
        quarantine: bool = True,
        budget: Budget | None = None,
        shadows: Shadows | None = None,
        deadline_quantile: float = DEADLINE_QUANTILE,
    ) -> None:
        super().__init__(learner=learner, store=store, clock=clock, price=price)
        self.encoder = encoder
        self.features = features
        self.maker = maker
        self.store_prompts = store_prompts
        self.in_flight = InFlight(clock=clock)
        self.budget = budget
        self.shadows = shadows
        if not 0 < deadline_quantile < 1:
            raise InvalidValueError("deadline_quantile", deadline_quantile, "in (0, 1)")
        self.deadline_quantile = deadline_quantile
        self._rng = rng
        self._closed = False
        self.worker = LearningWorker(
            store=store,
            learner=learner,
            publish=self._publish,
            clock=clock,
            checkpoint_interval_s=checkpoint_interval_s,
            stalled_after_s=stalled_after_s,
        )
        self.worker.restore(quarantine=quarantine)
        if budget is not None:
            budget.open(store, until_seq=learner.position)
            self.worker.observe = budget.charge
        self._snapshot = learner.snapshot()

    # ---- decide ---------------------------------------------------------------------------------------------------

    def route(self, query: Query | str, *, llm: str | None = None, expect_outcome: bool = True) -> Decision:
        """Decide which LLM takes `query`.

        Parameters
        ----------
        query
            A query, or just its text.
        llm
            Name of the LLM to take without any choice; the decision is kept and learned from all the same.
        expect_outcome
            Whether a call follows and will be recorded; it then counts as under way until `record`.

        Raises
        ------
        NoEligibleLLMError
            Where hard constraints rule out every LLM.
        UnknownLLMError
            Where the pool has no LLM named `llm`.
        BudgetExhaustedError
            Where the budget is spent.
        """
        query = Query(text=query) if isinstance(query, str) else query
        encoding = self.encoder.encode(query.text)
        features = self.features.features(encoding)
        seed = int(self._rng.integers(0, 1 << 63))
        snapshot, choice, drawn, created_at_s = self._choice(query, features, seed=seed, llm=llm)
        outside = drawn["outside"]
        decision = Decision(
            decision_id=new_decision_id(created_at_s),
            created_at_s=created_at_s,
            llm=choice.chosen.llm,
            reason=choice.reason,
            policy=choice.policy,
            trade_off=choice.trade_off,
            cost_scale_usd=snapshot.cost_scale_usd,
            model_version=snapshot.version,
            seed=seed,
            tokens_in=query.prompt_tokens,
            tags=self._tags(features),
            candidates=choice.candidates,
            ineligible=choice.ineligible,
            shadow=() if self.shadows is None else self.shadows.choices(query, choice, **drawn),
            out_of_domain=0.0 if outside is None else outside.score,
            key_id=query.key_id,
            in_flight=self.in_flight.count(choice.chosen.llm),
        )
        self.store.append_decision(
            DecisionRecord(
                decision=decision,
                encoding=encoding.astype("<f4").tobytes(),
                prompt=query.text if self.store_prompts else None,
            )
        )
        if expect_outcome:
            self.in_flight.start(decision.decision_id, decision.llm, key_id=decision.key_id)
            if self.budget is not None:
                self.budget.reserve(decision)
        return decision

    # ---- learn ----------------------------------------------------------------------------------------------------

    def record(self, decision_id: str, outcome: Outcome) -> Outcome:
        """Keep the facts of a call, and return them as kept. Idempotent: the first record of an attempt counts.

        Parameters
        ----------
        decision_id
            Which decision's call it was.
        outcome
            Its facts; a missing cost is priced from its tokens.

        Raises
        ------
        UnknownDecisionError
            Where there is no such decision.
        """
        call = self.in_flight.finish(decision_id) or self.store.decision(decision_id).decision
        llm = outcome.llm or call.llm
        price = self.learner.price(llm, decision_id=decision_id)
        outcome = measured(outcome, llm=llm, key_id=call.key_id, price=price)
        self.store.append_outcome(
            OutcomeEvent(decision_id=decision_id, outcome=outcome, created_at_s=self.clock.time_s())
        )
        self._ensure_learning()
        return outcome

    def feedback(
        self,
        decision_id: str,
        *,
        quality: float | None = None,
        thumbs: bool | None = None,
        metric: str = "quality",
        source: str = "user",
        feedback_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        key_id: str = "",
        cost_usd: float = 0.0,
    ) -> FeedbackReceipt:
        """Keep a judgement of an answer; returns when it is durable.

        Parameters
        ----------
        decision_id
            Which decision's answer is judged.
        quality, thumbs
            A score in [0, 1], or up (True) or down (False); exactly one of them.
        metric
            What is judged; ``quality`` teaches.
        source
            Who judges.
        feedback_id
            Idempotency key; None makes one of decision, source and metric, so that each source judges once.
        tags
            Labels to keep with it.
        key_id
            Name of the API key that sends it.
        cost_usd
            What the judgement itself cost.

        Raises
        ------
        InvalidValueError
            Where not exactly one of `quality` and `thumbs` is given, or it is out of range.
        UnknownDecisionError
            Where there is no such decision.
        ConflictingEventError
            Where the id was used before with another judgement.
        """
        return self.submit_feedback(
            decision_id,
            quality=quality,
            thumbs=thumbs,
            metric=metric,
            source=source,
            feedback_id=feedback_id,
            tags=tags,
            key_id=key_id,
            cost_usd=cost_usd,
        ).result()

    def submit_feedback(
        self,
        decision_id: str,
        *,
        quality: float | None = None,
        thumbs: bool | None = None,
        metric: str = "quality",
        source: str = "user",
        feedback_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        key_id: str = "",
        cost_usd: float = 0.0,
    ) -> Future[FeedbackReceipt]:
        """Do what `feedback` does, without waiting: the future resolves when the judgement is durable."""
        feedback = Feedback(
            feedback_id=f"{decision_id}/{source}/{metric}" if feedback_id is None else feedback_id,
            decision_id=decision_id,
            kind=FeedbackKind.REFINED if thumbs is None else FeedbackKind.BINARY,
            value=judgement(quality, thumbs),
            metric=metric,
            source=source,
            created_at_s=self.clock.time_s(),
            tags=tuple(sorted((tags or {}).items())),
            key_id=key_id,
            cost_usd=cost_usd,
        )
        receipt = self.store.append_feedback(feedback)
        self._ensure_learning()
        return receipt

    def learn(self) -> int:
        """Learn everything recorded so far, now, and return how many events that were.

        The background does this by itself; call it where the next decision must know the last feedback.
        """
        self.store.flush()
        return self.worker.catch_up()

    def add_llm(self, spec: LLMSpec) -> LLMSpec:
        """Add an LLM, as `RoutedPool.add_llm` does, and keep what is expected of it.

        That rests on what the pool has shown by now, which no event would tell a router that starts again.
        """
        added = super().add_llm(spec)
        try:
            self.worker.checkpoint(always=True)
        except StoreError as error:
            _LOG.error("what is expected of LLM %r is not kept over a restart: %s", added.name, error)
        return added

    # ---- inspect and close ----------------------------------------------------------------------------------------

    def decision(self, decision_id: str) -> StoredDecision:
        """Return everything known of a decision; raises `UnknownDecisionError`."""
        return self.store.decision(decision_id)

    def adopt(self, checkpoint: Checkpoint) -> None:
        """Take over what another router has learned, before this one learns anything itself.

        Raises
        ------
        StateError
            Where the checkpoint does not fit, or this router has already learned something.
        """
        if self.learner.position > 0:
            raise StateError("This router has already learned from its store. Load a saved router into an empty store.")
        self.learner.restore(replace(checkpoint, position=0))
        self._publish(self.learner.snapshot())
        self.worker.checkpoint(always=True)  # No event of the store tells what was adopted.

    def close(self) -> None:
        """Learn what is left, keep a checkpoint, and close the store; a second call does nothing.

        Raises
        ------
        StoreError
            Where the store cannot be read or written; it is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.store.flush()
            self.worker.stop()
        finally:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _choice(self, query: Query, features: FloatArray, *, seed: int, llm: str | None) -> _Made:
        while True:
            snapshot = self._snapshot
            forecasts = snapshot.forecasts(
                features,
                tokens_in=query.prompt_tokens,
                max_tokens_out=query.max_tokens_out,
                in_flight=self._waiting(snapshot),
                streamed=query.streamed,
                now_s=self.clock.time_s(),
                tail=self.deadline_quantile,
                warm=query.warm,
                choices=query.choices,
            )
            drawn = _Drawn(
                forecasts=forecasts,
                cost_scale_usd=snapshot.cost_scale_usd,
                draw=(seed >> (63 - _DRAW_BITS)) / (1 << _DRAW_BITS),
                outside=snapshot.outside(features),
            )
            choose = partial(self.maker.choose, specs=snapshot.specs, forced=llm, **drawn)
            choice = choose(query) if self.budget is None else self.budget.choose(query, choose, forecasts, llm)
            created_at_s = self.clock.time_s()
            if self._snapshot is snapshot or self._holds(choice.chosen.llm):
                return _Made(snapshot=snapshot, choice=choice, drawn=drawn, created_at_s=created_at_s)
            # It was removed meanwhile: the decision is made again, without it.

    def _holds(self, llm: str) -> bool:
        return any(spec.name == llm for spec in self._snapshot.specs)

    def _ensure_learning(self) -> None:
        if not self.worker.running:
            self.worker.start()

    def _waiting(self, snapshot: Snapshot) -> list[int] | None:
        if not snapshot.queues:
            return None
        counts = self.in_flight.counts()
        return [counts.get(spec.name, 0) for spec in snapshot.specs] if counts else None

    def _tags(self, features: FloatArray) -> tuple[TagWeight, ...]:
        names = self.features.tags
        probabilities = features[: len(names)].tolist()  # So few that a list is quicker than an array.
        top = sorted(range(len(names)), key=probabilities.__getitem__)[::-1][:_SHOWN_TAGS]
        return tuple([TagWeight(tag=names[place], probability=probabilities[place]) for place in top])
