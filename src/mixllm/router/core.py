"""The router itself: decide, learn, close."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self, TypedDict

import numpy as np
from msgspec.structs import replace as replace_fields

from mixllm.decision import Choice, DecisionMaker, Forecasts, Outside
from mixllm.errors import (
    BudgetExhaustedError,
    InvalidValueError,
    NoEligibleLLMError,
    PoolBusyError,
    StateError,
    StoreError,
)
from mixllm.interfaces import Clock, Encoder, FeatureMap, FloatArray, Store
from mixllm.learning import DEADLINE_QUANTILE, Checkpoint, Learner, LearningWorker, Snapshot
from mixllm.registry import Breakers, CallUnderWay, Traffic
from mixllm.router.budget import Budget
from mixllm.router.cost_share import CostShare
from mixllm.router.decision_ids import call_id, new_decision_id
from mixllm.router.foresight import Foreseen, foresee, within_time
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
    LearningEvent,
    LLMSpec,
    Outcome,
    OutcomeEvent,
    Query,
    Spending,
    StoredDecision,
    TagWeight,
)
from mixllm.units import positive

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
    in_flight: int


_LOG = logging.getLogger(__name__)
_SHOWN_TAGS = 3
_USUAL_TOKENS_IN = 500
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
    cost_share
        What routing may cost relative to the reference LLM; None: no limit.
    shadows
        Second policies that decide beside `maker`; None: none.
    deadline_quantile
        The probability with which a query's `max_latency_s` and `max_ttft_s` are to be met, in (0, 1).
    max_latency_s, max_ttft_s
        Those of queries that have none of their own, `max_ttft_s` of streamed ones alone; None: no limit.
    max_cooldown_s
        See `mixllm.registry.Traffic`.

    Attributes
    ----------
    traffic
        Calls under way, rate limits and cooldowns.
    shed
        How many queries were refused because the pool was busy.
    breakers
        Know which LLMs fail at present: they are chosen only where no other could take a query. Whoever makes the calls
        tells them; None: none ever fails.
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
        cost_share: CostShare | None = None,
        shadows: Shadows | None = None,
        deadline_quantile: float = DEADLINE_QUANTILE,
        max_latency_s: float | None = None,
        max_ttft_s: float | None = None,
        max_cooldown_s: float = 60.0,
        breakers: Breakers | None = None,
    ) -> None:
        super().__init__(learner=learner, store=store, clock=clock, price=price)
        self.encoder = encoder
        self.features = features
        self.maker = maker
        self.store_prompts = store_prompts
        self.traffic = Traffic(clock=clock, max_cooldown_s=max_cooldown_s)
        self.in_flight = self.traffic.in_flight
        self.shed = 0
        self.budget = budget
        self.cost_share = cost_share
        self.shadows = shadows
        self.breakers = Breakers(clock=clock) if breakers is None else breakers
        if not 0 < deadline_quantile < 1:
            raise InvalidValueError("deadline_quantile", deadline_quantile, "in (0, 1)")
        self.deadline_quantile = deadline_quantile
        self.max_latency_s = None if max_latency_s is None else positive("max_latency_s", max_latency_s)
        self.max_ttft_s = None if max_ttft_s is None else positive("max_ttft_s", max_ttft_s)
        self._deciding = threading.Lock()
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
        self.worker.make_change = self._make_change
        kept = self.worker.restore(quarantine=quarantine)
        if budget is not None:
            if kept is None:
                budget.open(store, until_seq=learner.position)
            else:
                budget.take_over(kept.spending or Spending(since_s=0.0, until_seq=learner.position, usd={}))
            self.worker.starts.spending = budget.spending
        self._observe_costs()
        if quarantine:  # Who may write into the store keeps a copy too.
            self.worker.keep_start()
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
        PoolBusyError
            Where one could take it, but not now; says when. It is a `NoEligibleLLMError` too.
        UnknownLLMError
            Where the pool has no LLM named `llm`.
        BudgetExhaustedError
            Where the budget is spent.
        """
        query = self.within_time(Query(text=query) if isinstance(query, str) else query)
        encoding = self.encoder.encode(query.text)
        features = self.features.features(encoding)
        seed = int(self._rng.integers(0, 1 << 63))
        # Between the look at the calls under way and the count of this one no other decision may come: those of one
        # instant would all see the same idle LLM.
        with self._deciding:
            made = self._made(query, features, seed=seed, llm=llm)
            decision_id = new_decision_id(made.created_at_s)
            if expect_outcome:
                self._begin(decision_id, query, made.choice)
        try:
            decision = self._kept(decision_id, query, encoding, features, made, seed=seed)
            if expect_outcome and self.budget is not None:
                self.budget.reserve(decision)
            if expect_outcome and self.cost_share is not None:
                self.cost_share.decided(decision, self.learner.reference)
        except BaseException:
            self.traffic.finish(decision_id)
            raise
        return decision

    def within_time(self, query: Query) -> Query:
        """Return `query` with `max_latency_s` and `max_ttft_s` of the router where it sets none itself."""
        return within_time(query, max_latency_s=self.max_latency_s, max_ttft_s=self.max_ttft_s)

    def refused(self, llm: str, retry_after_s: float | None = None) -> None:
        """Say that `llm` refuses calls because there are too many: it gets none until then.

        Parameters
        ----------
        llm
            Its name; one that the pool does not have is let pass.
        retry_after_s
            How long it asks to wait, >= 0; None where it does not say, which counts as a second.
        """
        self.traffic.refused(llm, retry_after_s)

    def waits_s(self) -> dict[str, float]:
        """Return for every LLM how long a call of usual length would wait now, rate limits and cooldowns included."""
        snapshot = self._snapshot
        forecasts = self._foresee(
            snapshot, np.zeros(self.features.dimension, np.float32), Query(text="", tokens_in=_USUAL_TOKENS_IN)
        ).forecasts
        return dict(zip((spec.name for spec in snapshot.specs), forecasts.wait_s.tolist(), strict=True))

    def begin_attempt(self, decision: Decision, llm: str, attempt: int) -> None:
        """Note that `llm` is called for `decision`, after or beside the LLM that was chosen.

        The call counts as under way, and is expected to cost what was forecast, until `record` tells the outcome of the
        same `attempt`. Attempt 0, the call that every decision begins with, has to be told only where another LLM than
        the chosen one takes it.
        """
        forecast = next((one.forecast for one in decision.candidates if one.llm == llm), None)
        tokens = decision.tokens_in + (0.0 if forecast is None else forecast.tokens_out.mean)
        # Those at this LLM: the decision counted the calls to the one that it chose.
        under_way = self.traffic.counts().get(llm, 0)
        call = call_id(decision.decision_id, attempt)
        self.traffic.start(call, llm, key_id=decision.key_id, tokens=tokens, in_flight=under_way)
        if self.budget is not None and attempt > 0:
            self.budget.reserve_attempt(decision, llm, attempt)

    def reconsider(self, decision: Decision, query: Query) -> Decision:
        """Return `decision` with all those among its candidates that could take `query` now, for fallbacks.

        The LLM that was chosen stays so, with what was expected of it; the others have propensity 0. Nothing is kept.
        It encodes the query again: for requests whose first call has failed.
        """
        query = self.within_time(query)
        features = self.features.features(self.encoder.encode(query.text))
        try:
            choice = self._made(query, features, seed=decision.seed, llm=None).choice
        except (NoEligibleLLMError, BudgetExhaustedError):
            return decision
        others = tuple(replace_fields(one, propensity=0.0) for one in choice.candidates if one.llm != decision.llm)
        return replace_fields(decision, candidates=(decision.chosen, *others), ineligible=choice.ineligible)

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
        used = None if outcome.tokens_in is None else float(outcome.tokens_in + (outcome.tokens_out or 0))
        call = self._finished(decision_id, outcome.attempt, used) or self.store.decision(decision_id).decision
        llm = outcome.llm or call.llm
        price = self.learner.price(llm, decision_id=decision_id)
        under_way = outcome.in_flight
        if under_way is None and isinstance(call, CallUnderWay):
            under_way = call.in_flight if llm == call.llm else 0
        outcome = measured(outcome, llm=llm, key_id=call.key_id, price=price, in_flight=under_way)
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

    def _observe_costs(self) -> None:
        """Have the worker tell what calls have cost, where a limit counts it: reading every event takes its time."""
        limited = self.budget is not None or self.cost_share is not None
        self.worker.observe = self._charge if limited else None

    def _charge(self, events: Sequence[LearningEvent]) -> None:
        for limit in (self.budget, self.cost_share):
            if limit is not None:
                limit.charge(events)

    def _begin(self, decision_id: str, query: Query, choice: Choice) -> None:
        chosen = choice.chosen
        tokens = query.prompt_tokens + chosen.forecast.tokens_out.mean
        self.traffic.start(decision_id, chosen.llm, key_id=query.key_id, tokens=tokens)

    def _kept(
        self, decision_id: str, query: Query, encoding: FloatArray, features: FloatArray, made: _Made, *, seed: int
    ) -> Decision:
        """Return the decision, which the store keeps."""
        snapshot, choice, outside = made.snapshot, made.choice, made.drawn["outside"]
        decision = Decision(
            decision_id=decision_id,
            created_at_s=made.created_at_s,
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
            shadow=() if self.shadows is None else self.shadows.choices(query, choice, **made.drawn),
            out_of_domain=0.0 if outside is None else outside.score,
            key_id=query.key_id,
            in_flight=made.in_flight,
        )
        self.store.append_decision(
            DecisionRecord(
                decision=decision,
                encoding=encoding.astype("<f4").tobytes(),
                prompt=query.text if self.store_prompts else None,
            )
        )
        return decision

    def _made(self, query: Query, features: FloatArray, *, seed: int, llm: str | None) -> _Made:
        while True:
            snapshot = self._snapshot
            counts, holds, forecasts = self._foresee(snapshot, features, query)
            drawn = _Drawn(
                forecasts=forecasts,
                cost_scale_usd=snapshot.cost_scale_usd,
                draw=(seed >> (63 - _DRAW_BITS)) / (1 << _DRAW_BITS),
                outside=snapshot.outside(features),
            )
            choose: Callable[..., Choice] = partial(
                self.maker.choose,
                specs=snapshot.specs,
                forced=llm,
                holds=holds,
                unavailable=self.breakers.refusing(),
                **drawn,
            )
            if self.cost_share is not None:
                choose = self.cost_share.paced(choose)
            try:
                choice = choose(query) if self.budget is None else self.budget.choose(query, choose, forecasts, llm)
            except PoolBusyError:
                self.shed += 1
                raise
            created_at_s = self.clock.time_s()
            if self._snapshot is snapshot or self._holds(choice.chosen.llm):
                under_way = counts.get(choice.chosen.llm, 0)
                return _Made(snapshot, choice, drawn, created_at_s, under_way)
            # It was removed meanwhile: the decision is made again, without it.

    def _foresee(self, snapshot: Snapshot, features: FloatArray, query: Query) -> Foreseen:
        tail, now_s = self.deadline_quantile, self.clock.time_s()
        return foresee(self.traffic, snapshot, features, query, now_s=now_s, tail=tail)

    def _holds(self, llm: str) -> bool:
        return any(spec.name == llm for spec in self._snapshot.specs)

    def _finished(self, decision_id: str, attempt: int, tokens: float | None) -> CallUnderWay | None:
        call = self.traffic.finish(call_id(decision_id, attempt), tokens=tokens)
        if call is None and attempt > 0:
            # Whoever makes calls of their own accord, without `begin_attempt`, means the one that was counted.
            return self.traffic.finish(decision_id, tokens=tokens)
        return call

    def _ensure_learning(self) -> None:
        if not self.worker.running:
            self.worker.start()

    def _tags(self, features: FloatArray) -> tuple[TagWeight, ...]:
        names = self.features.tags
        probabilities = features[: len(names)].tolist()  # So few that a list is quicker than an array.
        top = sorted(range(len(names)), key=probabilities.__getitem__)[::-1][:_SHOWN_TAGS]
        return tuple([TagWeight(tag=names[place], probability=probabilities[place]) for place in top])
