"""The router: route · record · feedback · add_llm · remove_llm, on protocols alone."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from mixllm.decision import DecisionMaker
from mixllm.errors import DuplicateLLMError, InvalidValueError, StateError, UnknownLLMError
from mixllm.interfaces import Clock, Encoder, FeatureMap, FloatArray, Store
from mixllm.learning import Checkpoint, Learner, LearningWorker, Snapshot
from mixllm.registry import InFlight
from mixllm.types import (
    Decision,
    DecisionRecord,
    Feedback,
    FeedbackKind,
    FeedbackReceipt,
    LLMSpec,
    Outcome,
    OutcomeEvent,
    PoolChange,
    Query,
    StoredDecision,
    TagWeight,
)
from mixllm.units import fraction

__all__ = ["RouterCore"]

_SHOWN_TAGS = 3
_DRAW_BITS = 53


class RouterCore:
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
    ) -> None:
        self.encoder = encoder
        self.features = features
        self.learner = learner
        self.maker = maker
        self.store = store
        self.clock = clock
        self.store_prompts = store_prompts
        self.in_flight = InFlight(clock=clock)
        self._price = price
        self._rng = rng
        self._closed = False
        self._pool_lock = threading.Lock()
        self._publish_lock = threading.Lock()
        self._replay_pool_changes()
        self.worker = LearningWorker(
            store=store,
            learner=learner,
            publish=self._publish,
            clock=clock,
            checkpoint_interval_s=checkpoint_interval_s,
        )
        self._snapshot = learner.snapshot()
        self.worker.restore()
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
        """
        query = Query(text=query) if isinstance(query, str) else query
        snapshot = self._snapshot
        encoding = self.encoder.encode(query.text)
        features = self.features.features(encoding)
        tokens_in = query.prompt_tokens
        forecasts = snapshot.forecasts(
            features,
            tokens_in=tokens_in,
            max_tokens_out=query.max_tokens_out,
            in_flight=self._waiting(snapshot),
        )
        seed = int(self._rng.integers(0, 1 << 63))
        choice = self.maker.choose(
            query,
            specs=snapshot.specs,
            forecasts=forecasts,
            cost_scale_usd=snapshot.cost_scale_usd,
            draw=(seed >> (63 - _DRAW_BITS)) / (1 << _DRAW_BITS),
            forced=llm,
        )
        decision = Decision(
            decision_id=self._new_id(),
            created_at_s=self.clock.time_s(),
            llm=choice.chosen.llm,
            reason=choice.reason,
            policy=choice.policy,
            trade_off=choice.trade_off,
            cost_scale_usd=snapshot.cost_scale_usd,
            model_version=snapshot.version,
            seed=seed,
            tokens_in=tokens_in,
            tags=self._tags(features),
            candidates=choice.candidates,
            ineligible=choice.ineligible,
        )
        self.store.append_decision(
            DecisionRecord(
                decision=decision,
                encoding=encoding.astype("<f4").tobytes(),
                prompt=query.text if self.store_prompts else None,
            )
        )
        if expect_outcome:
            self.in_flight.start(decision.decision_id, decision.llm)
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
        llm = self.in_flight.finish(decision_id)
        if llm is None:
            llm = self.store.decision(decision_id).decision.llm
        outcome = self._priced(outcome, llm=outcome.llm or llm)
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
    ) -> Future[FeedbackReceipt]:
        """Do what `feedback` does, without waiting: the future resolves when the judgement is durable."""
        feedback = Feedback(
            feedback_id=f"{decision_id}/{source}/{metric}" if feedback_id is None else feedback_id,
            decision_id=decision_id,
            kind=FeedbackKind.REFINED if thumbs is None else FeedbackKind.BINARY,
            value=_judgement(quality, thumbs),
            metric=metric,
            source=source,
            created_at_s=self.clock.time_s(),
            tags=tuple(sorted((tags or {}).items())),
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

    # ---- pool -----------------------------------------------------------------------------------------------------

    @property
    def llms(self) -> tuple[LLMSpec, ...]:
        """The LLMs of the pool, each with its price."""
        return self._snapshot.specs

    def llm(self, name: str) -> LLMSpec:
        """Return the LLM of that name; raises `UnknownLLMError`."""
        for spec in self._snapshot.specs:
            if spec.name == name:
                return spec
        raise UnknownLLMError(name, [spec.name for spec in self._snapshot.specs])

    def add_llm(self, spec: LLMSpec) -> LLMSpec:
        """Add an LLM; it can be chosen as soon as the call returns. Return it with its price.

        Nothing is trained: it starts from what the pool has in common and what its price suggests. One that was
        removed before continues with what was learned of it.

        Raises
        ------
        DuplicateLLMError
            Where the pool has an LLM of that name.
        UnknownPriceError
            Where its price is neither given nor listed.
        """
        with self._pool_lock:
            if any(known.name == spec.name for known in self._snapshot.specs):
                raise DuplicateLLMError(spec.name)
            spec = self._price(spec)
            self.store.append_pool_change(PoolChange(spec=spec, active=True, created_at_s=self.clock.time_s()))
            self.learner.put_llm(spec)
            self._publish(self.learner.snapshot())
        return spec

    def remove_llm(self, name: str) -> None:
        """Remove an LLM; no decision made after the call returns chooses it. What was learned of it is kept.

        Raises
        ------
        UnknownLLMError
            Where the pool has no LLM of that name.
        """
        with self._pool_lock:
            spec = self.llm(name)
            self.store.append_pool_change(PoolChange(spec=spec, active=False, created_at_s=self.clock.time_s()))
            self.learner.drop_llm(name)
            self._publish(self.learner.snapshot())

    # ---- inspect and close ----------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What decisions are made from now."""
        return self._snapshot

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

    def _publish(self, snapshot: Snapshot) -> None:
        # The worker and a pool change may publish at the same time; the newer version wins.
        with self._publish_lock:
            if snapshot.version > self._snapshot.version:
                self._snapshot = snapshot

    def _replay_pool_changes(self) -> None:
        for change in self.store.pool_changes():
            if change.active or change.spec.name not in self.learner.llms:
                self.learner.put_llm(self._price(change.spec))
            if not change.active:
                # Put before: events of a removed LLM go on teaching, as they did before the restart.
                self.learner.drop_llm(change.spec.name)

    def _ensure_learning(self) -> None:
        if not self.worker.running:
            self.worker.start()

    def _waiting(self, snapshot: Snapshot) -> list[int] | None:
        counts = self.in_flight.counts()
        return [counts.get(spec.name, 0) for spec in snapshot.specs] if counts else None

    def _tags(self, features: FloatArray) -> tuple[TagWeight, ...]:
        names = self.features.tags
        probabilities = features[: len(names)]
        top = np.argsort(probabilities)[::-1][:_SHOWN_TAGS]
        return tuple(TagWeight(tag=names[place], probability=float(probabilities[place])) for place in top)

    def _new_id(self) -> str:
        # UUID version 7 (RFC 9562): sorts by time, so that stores and people can page through decisions.
        milliseconds = int(self.clock.time_s() * 1000) & ((1 << 48) - 1)
        bits = int.from_bytes(os.urandom(10), "big")
        value = milliseconds << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | bits & ((1 << 62) - 1)
        return str(uuid.UUID(int=value))

    def _priced(self, outcome: Outcome, *, llm: str) -> Outcome:
        # The measured cost where the caller knows it, else the tokens at the LLM's price; never the forecast.
        cost_usd = outcome.cost_usd
        price = self.learner.price(llm)
        if cost_usd is None and price is not None and outcome.tokens_in is not None and outcome.tokens_out is not None:
            cost_usd = price.cost_usd(
                tokens_in=outcome.tokens_in,
                tokens_out=outcome.tokens_out,
                cached_tokens_in=outcome.cached_tokens_in,
                reasoning_tokens=outcome.reasoning_tokens,
            )
        return msgspec.structs.replace(outcome, llm=llm, cost_usd=cost_usd)


def _judgement(quality: float | None, thumbs: bool | None) -> float:
    if (quality is None) == (thumbs is None):
        raise InvalidValueError("quality, thumbs", (quality, thumbs), "given exactly one of them")
    if quality is not None:
        return float(fraction("quality", quality))
    if not isinstance(thumbs, (bool, np.bool_)):
        raise InvalidValueError("thumbs", thumbs, "True or False")
    return float(thumbs)
