"""Who chooses in the simulation: a contender of the benchmark by its predictions, or MixLLM itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.assembly import Router
from mixllm.clock import ManualClock
from mixllm.config import EncoderConfig, LearningConfig, RoutingConfig
from mixllm.encoders import StaticEncoder, SurfaceEncoder
from mixllm.errors import BudgetExhaustedError, MixLLMError, StateError, StoreError, UnknownLLMError
from mixllm.evaluation.contender import Predictions, Split
from mixllm.evaluation.frontier import choose
from mixllm.evaluation.load.endpoint import Refusal
from mixllm.evaluation.load.engine import End
from mixllm.evaluation.load.service import Speed
from mixllm.evaluation.load.world import World
from mixllm.interfaces import Encoder, FloatArray
from mixllm.learning import Checkpoint
from mixllm.learning.feature_model import FeatureModel
from mixllm.learning.offline import MIXLLM, TrainingRecipe, TrainingSet, train
from mixllm.saved_router import SavedRouter
from mixllm.store import MemoryStore
from mixllm.tags import PrototypeTagger
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_clusters, labels_from_column
from mixllm.types import LLMSpec, Outcome, OutcomeStatus, Query

__all__ = ["Chooser", "FeedbackKind", "MixLLMPlayer", "TrainedRouter", "train_router"]

FeedbackKind = Literal["none", "refined"]
_CLUSTERS = 12
_TOO_MANY = 429
_FAULTS = (UnknownLLMError, StoreError, StateError, BudgetExhaustedError)
"""Errors of a route that do not mean that no LLM can take the query now."""


class Chooser:
    """A contender as published: the highest v·q̂ − ĉ/c_ref, knowing nothing of time.

    Parameters
    ----------
    predictions
        Of the test part, by row.
    world
        The stream.
    trade_off
        v.
    cost_unit
        c_ref in dollars.
    attempts
        LLMs that are tried, 1: a refusal is final. More: a gateway in front of it takes its next best.
    """

    def __init__(
        self, predictions: Predictions, *, world: World, trade_off: float, cost_unit: float, attempts: int = 1
    ) -> None:
        self.attempts = attempts
        self._chosen: list[int] = choose(predictions, trade_off=trade_off, cost_unit=cost_unit)[world.rows].tolist()
        self._rows = world.rows
        self._scores = trade_off * predictions.quality - predictions.cost_usd / cost_unit

    def choose(self, number: int, *, now_s: float, refused: Sequence[int]) -> int | None:
        """Return the best LLM by its predictions, or the best of those that have not refused."""
        del now_s
        if not refused:
            return self._chosen[number]
        scores = self._scores[self._rows[number]].copy()
        if len(refused) == len(scores):
            return None
        scores[list(refused)] = -np.inf
        return int(scores.argmax())

    def ended(self, number: int, llm: int, end: End, *, now_s: float, wait_s: float, refusal: Refusal | None) -> None:
        """Learn nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedRouter:
    """What offline training made of a split's training part, to start routers from."""

    specs: tuple[LLMSpec, ...]
    features: FeatureModel
    checkpoint: Checkpoint
    learning: LearningConfig
    encoder: EncoderConfig
    reference: str


def train_router(
    split: Split,
    *,
    speeds: tuple[Speed, ...],
    rng: np.random.Generator,
    recipe: TrainingRecipe = MIXLLM,
    encoder: EncoderConfig | None = None,
) -> TrainedRouter:
    """Train MixLLM on the training part, by the code of ``mixllm train``.

    Where the log has no latencies, the training part gets some of this world: what its LLMs' calls would have taken.

    Parameters
    ----------
    split
        The log in two parts.
    speeds
        Of each LLM.
    rng
        Source of randomness.
    recipe
        What training makes.
    encoder
        Settings of the split's encoder; None: the default.
    """
    log, base = split.train, split.encoder
    if isinstance(base, SurfaceEncoder):
        base = base.base
    encodings = split.train_encodings[:, : base.dimension]
    token_ids = base.token_ids(split.train_texts) if isinstance(base, StaticEncoder) else None
    labels = _labels(split, encodings, base, rng)
    data = TrainingSet.from_log(log, encodings=encodings, token_ids=token_ids, labels=labels, reference=split.reference)
    slowness = np.exp(rng.standard_normal(data.latency_s.shape) * np.array([speed.scatter for speed in speeds]))
    out = np.where(np.isnan(data.tokens_out), 1.0, data.tokens_out)
    drawn = np.stack([speed.median_s(data.tokens_in, out[:, k]) for k, speed in enumerate(speeds)], axis=1) * slowness
    data = replace(data, latency_s=np.where(np.isnan(data.latency_s), drawn, data.latency_s))
    model = train(data, base=base, recipe=recipe, rng=rng)
    saved = SavedRouter.of_training(model, base=base, encoder=encoder or EncoderConfig(), labels=labels)
    assert saved.features is not None, "training makes features"
    return TrainedRouter(
        specs=saved.llms,
        features=saved.features,
        checkpoint=saved.checkpoint,
        learning=saved.learning,
        encoder=saved.encoder,
        reference=split.reference,
    )


def _labels(split: Split, encodings: NDArray[np.float32], base: Encoder, rng: np.random.Generator) -> TagLabels:
    if split.label is not None:
        return labels_from_column(split.train.query_ids, split.train.labels[split.label], source=split.label)
    return labels_from_clusters(
        split.train.query_ids,
        encodings,
        clusters=_CLUSTERS,
        tagger=PrototypeTagger.from_domains(encoder=base),
        rng=rng,
    )


class _RouterInStep(Router):
    """A router that learns when it is told to, and not in a thread beside it: a run can be repeated."""

    def _ensure_learning(self) -> None:
        pass


class _Remembered:
    """An encoder that encodes each text once, however many runs there are."""

    def __init__(self, encoder: Encoder, known: dict[str, FloatArray]) -> None:
        self._encoder, self._known = encoder, known
        self.dimension, self.fingerprint, self.blocking = encoder.dimension, encoder.fingerprint, encoder.blocking

    def encode(self, text: str) -> NDArray[np.float32]:
        vector = self._known.get(text)
        if vector is None:
            vector = self._known[text] = self._encoder.encode(text)
        return np.asarray(vector, np.float32)

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encoder.encode_batch(texts)


class MixLLMPlayer:
    """The real router on a simulated clock: it decides, records what came of its calls, and learns from that.

    Parameters
    ----------
    trained
        What it starts from.
    world
        The stream.
    trade_off
        λ.
    deadline_s
        τ; None leaves time out of account: no waiting penalty, no limit.
    servers
        Calls that each LLM serves at the same time, as its spec tells; None leaves the router to find out.
    limits
        Requests and tokens per minute of each LLM, None for none.
    routing
        Settings of the router; None takes the defaults with a greedy policy. λ, τ and the reference are put into them.
    feedback
        Whether each answer's quality is told.
    learn_every_s
        Learning catches up at the first event after so many simulated seconds.
    seed
        Of the decisions' random draws.
    attempts
        LLMs that are tried for a query.
    known
        Encodings by text, shared between runs; None encodes every query anew, as the gateway does.
    """

    def __init__(
        self,
        trained: TrainedRouter,
        *,
        world: World,
        trade_off: float,
        deadline_s: float | None,
        servers: int | None,
        limits: tuple[int | None, int | None] = (None, None),
        routing: RoutingConfig | None = None,
        feedback: FeedbackKind = "none",
        learn_every_s: float = 0.25,
        seed: int = 0,
        attempts: int = 3,
        known: dict[str, FloatArray] | None = None,
    ) -> None:
        self.attempts = attempts
        self._world, self._deadline_s, self._feedback = world, deadline_s, feedback
        self._clock = ManualClock()
        routing = routing or RoutingConfig(policy=msgspec.structs.replace(RoutingConfig().policy, name="greedy"))
        changed = {"trade_off": trade_off, "reference_llm": trained.reference}
        timed = {"wait_weight": 0.0} if deadline_s is None else {"deadline_s": deadline_s}
        specs = [
            msgspec.structs.replace(
                spec,
                max_in_flight=None if deadline_s is None else servers,
                requests_per_minute=limits[0],
                tokens_per_minute=limits[1],
            )
            for spec in trained.specs
        ]
        self._router = _RouterInStep(
            llms=specs,
            routing=msgspec.structs.replace(routing, **changed, **timed),
            encoder=trained.encoder,
            learning=trained.learning,
            store=MemoryStore(),
            clock=self._clock,
            seed=seed,
            trained=trained.features,
            start=trained.checkpoint,
        )
        if known is not None:
            self._router.encoder = _Remembered(self._router.encoder, known)
        self._columns = {llm: column for column, llm in enumerate(world.llms)}
        self._calls: dict[int, str] = {}
        self._learn_every_s, self._learned_s, self._news = learn_every_s, 0.0, False

    @property
    def router(self) -> Router:
        """The router."""
        return self._router

    def choose(self, number: int, *, now_s: float, refused: Sequence[int]) -> int | None:
        """Route the query; None where the router says that no LLM can take it now."""
        self._move(now_s)
        world = self._world
        allowed = None
        if refused:
            allowed = frozenset(llm for column, llm in enumerate(world.llms) if column not in refused)
            if not allowed:
                return None
        query = Query(
            text=world.texts[world.rows[number]],
            tokens_in=int(world.prompt_tokens[number]),
            max_latency_s=self._deadline_s,
            allowed_llms=allowed,
        )
        try:
            decision = self._router.route(query)
        except _FAULTS:
            raise
        except MixLLMError:  # Nobody eligible, or everybody busy: a 429.
            return None
        self._calls[number] = decision.decision_id
        return self._columns[decision.llm]

    def ended(self, number: int, llm: int, end: End, *, now_s: float, wait_s: float, refusal: Refusal | None) -> None:
        """Record the call as the gateway would."""
        self._move(now_s)
        world, decision_id = self._world, self._calls.pop(number)
        if end is not End.DONE:
            status = OutcomeStatus.ERROR if end is End.REFUSED else OutcomeStatus.CANCELLED
            error = None if refusal is None else f"status {refusal.status}"
            if refusal is not None and (refusal.status == _TOO_MANY or refusal.retry_after_s is not None):
                self._tell_refusal(world.llms[llm], refusal.retry_after_s)
            self._router.record(decision_id, Outcome(status=status, cost_usd=0.0, latency_s=wait_s, error=error))
        else:
            self._router.record(
                decision_id,
                Outcome(
                    tokens_in=int(world.tokens_in[number, llm]),
                    tokens_out=int(world.tokens_out[number, llm]),
                    cost_usd=float(world.cost_usd[number, llm]),
                    latency_s=now_s - float(world.arrivals_s[number]),
                ),
            )
            if self._feedback == "refined":
                self._router.submit_feedback(decision_id, quality=float(world.quality[number, llm]))
        self._news = True

    def close(self) -> None:
        """Close the router's store; nothing more is learned."""
        self._router.store.close()

    def _tell_refusal(self, llm: str, retry_after_s: float | None) -> None:
        # Routers that keep no cooldowns have nobody to tell.
        refused = getattr(self._router, "refused", None)
        if refused is not None:
            refused(llm, retry_after_s)

    def _move(self, now_s: float) -> None:
        self._clock.advance(max(0.0, now_s - self._clock.monotonic_s()))
        if self._news and now_s - self._learned_s >= self._learn_every_s:
            self._router.learn()
            self._learned_s, self._news = now_s, False
