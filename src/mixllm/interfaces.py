"""The protocols that rooms are written against; every concrete class is known to `mixllm.assembly` alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mixllm.types import (
    DecisionRecord,
    Estimate,
    Feedback,
    FeedbackReceipt,
    Forecast,
    KeptStart,
    LearnedState,
    LearningEvent,
    LLMSpec,
    OutcomeEvent,
    PlacedChange,
    PoolChange,
    StateInfo,
    StoredDecision,
    StoreHealth,
    Value,
)

__all__ = [
    "Clock",
    "Encoder",
    "FeatureMap",
    "FloatArray",
    "LLMClient",
    "Policy",
    "Predictor",
    "Projection",
    "StartKeeper",
    "Store",
    "Tagger",
    "UpstreamReply",
    "UpstreamStream",
]

FloatArray = NDArray[np.float32] | NDArray[np.float64]
"""An array of float32 or float64."""


class Clock(Protocol):
    """Time, injected so that tests and simulations own it."""

    def time_s(self) -> float:
        """Return the Unix time in seconds."""

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never go back."""


@runtime_checkable
class Encoder(Protocol):
    """Text to a unit vector; the same text always gives the same vector."""

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""

    @property
    def fingerprint(self) -> str:
        """Identity of the encoder; two encoders with the same fingerprint give the same vectors."""

    @property
    def blocking(self) -> bool:
        """Whether `encode` takes so long, or waits for another machine, that an event loop must not call it itself."""

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of `text`, shape (d,); the zero vector where the text has no token."""

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the unit vectors of `texts`, shape (n, d), row by row as `encode` gives them."""


class Tagger(Protocol):
    """Encoding to tag probabilities."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the T tags, in the order of the probabilities."""

    @property
    def fingerprint(self) -> str:
        """Identity of the tagger."""

    def tag(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return tag probabilities, shape (T,), that sum to 1."""


class Projection(Protocol):
    """Encoding to the shorter, tag-enhanced vector."""

    @property
    def dimension(self) -> int:
        """Length d' of the projected vectors."""

    @property
    def fingerprint(self) -> str:
        """Identity of the projection."""

    def project(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return the projected encoding, shape (d',)."""


class FeatureMap(Protocol):
    """Encoding to the features that predictors read: tags, projected encoding, 1."""

    @property
    def dimension(self) -> int:
        """Length D of the features."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags; they are the first features."""

    @property
    def fingerprint(self) -> str:
        """Identity of the map; learned state fits only the map that it was learned on."""

    def features(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return z = [π, Wx, 1], shape (D,)."""


class Predictor(Protocol):
    """An online regressor with additive state: one LLM, one target."""

    @property
    def dimension(self) -> int:
        """Length D of the features."""

    @property
    def observations(self) -> float:
        """Sum of the weights of everything learned."""

    def predict(self, features: FloatArray) -> Estimate:
        """Return the estimate at `features`, shape (D,)."""

    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        """Learn one observation; refuses a target out of range and leaves the state as it was."""

    def merge(self, other: Self) -> None:
        """Add what `other` has learned; the result is one learner on the union of both data."""

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the additive state, ready to be saved."""

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Replace the state; raises `StateError` where a name, a shape or a value does not fit."""

    def clone(self) -> Self:
        """Return an untrained copy with the same parameters."""


class Policy(Protocol):
    """Scores to the probability of choosing each candidate."""

    @property
    def name(self) -> str:
        """What decisions are labelled with."""

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return the probability of each of the K candidates, shape (K,); they sum to 1.

        Parameters
        ----------
        scores
            Score of each candidate without any bonus for uncertainty, shape (K,).
        stds
            Standard deviation of each score, shape (K,).
        forecasts
            Forecast of each candidate, for bounds on exploration.
        """


class Store(Protocol):
    """Append-only decisions, outcomes and feedback; the pool's changes; versioned learned state.

    Safe to call from any thread. `append_decision` and `append_outcome` return at once and are durable within the
    store's stated bound; the future of `append_feedback` resolves when the feedback is durable.
    """

    def append_decision(self, record: DecisionRecord) -> None:
        """Keep a decision."""

    def append_outcome(self, event: OutcomeEvent) -> None:
        """Keep the facts of a call; repeated events and events of unknown decisions are dropped (and counted)."""

    def append_feedback(self, feedback: Feedback) -> Future[FeedbackReceipt]:
        """Keep a judgement; the future fails with `UnknownDecisionError` or `ConflictingEventError`."""

    def decision(self, decision_id: str) -> StoredDecision:
        """Return all that is known of a decision, also before it is durable; raises `UnknownDecisionError`."""

    def decisions(self, *, limit: int = 100, before: str | None = None) -> Sequence[StoredDecision]:
        """Return the newest decisions, newest first, older than the id `before` if given."""

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        """Return the durable events after `seq`, in order."""

    def last_seq(self) -> int:
        """Return the `seq` of the newest durable event; 0 where there is none."""

    def wait_for_events(self, seq: int, *, timeout_s: float, change: int | None = None) -> bool:
        """Return True as soon as there are durable events after `seq`; False after `timeout_s`.

        With `change`, also as soon as there is a change of the pool after that number.
        """

    def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> Mapping[str, float]:
        """Return what the durable events since `since_s`, up to `until_seq` if given, have cost, by key that asked.

        The measured cost of calls and of judgements, each event once; keys that cost nothing may be left out.
        """

    def append_pool_change(self, change: PoolChange) -> None:
        """Keep an LLM's addition or removal; returns when durable."""

    def pool_changes(self) -> Sequence[PoolChange]:
        """Return the newest change of each LLM that ever changed, oldest first."""

    def placed_changes(self, number: int, *, limit: int = 512) -> Sequence[PlacedChange]:
        """Return the changes after `number`, of the pool and of what is known, in order, each with its place.

        Where an LLM changed again, its earlier changes may be left out; so may all changes of what is known but the
        newest.
        """

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
        """Keep a checkpoint; returns when durable.

        With `announce`, everyone who follows the store is told to take it over: that is a `StateChange` with a place
        among the other changes, kept with the checkpoint or not at all. The newest of them is not forgotten.
        """

    def load_state(self, version: int | None = None) -> LearnedState | None:
        """Return the checkpoint of `version`, or the newest that is not quarantined; None where there is none."""

    def state_versions(self) -> Sequence[int]:
        """Return the versions of the kept checkpoints that are not quarantined, oldest first."""

    def states(self) -> Sequence[StateInfo]:
        """Return what is known of every kept checkpoint, quarantined ones too, oldest first."""

    def quarantine_state(self, version: int, reason: str) -> None:
        """Mark a checkpoint as not to be used, and keep it; nothing happens where there is none."""

    def release_state(self, version: int) -> None:
        """Take the mark of `quarantine_state` away."""

    def health(self) -> StoreHealth:
        """Return whether it can be written and how much waits for that; returns at once."""

    def flush(self) -> None:
        """Return when everything appended so far is durable."""

    def counts(self) -> Mapping[str, int]:
        """Return how many ``decisions``, ``outcomes`` and ``feedback`` are durable, and how many were ``dropped``."""

    def close(self) -> None:
        """Flush and release everything; further calls raise `StoreClosedError`."""


@runtime_checkable
class StartKeeper(Protocol):
    """A store that can be away when a router starts, and keeps on this machine what that start reads."""

    def keep_start(self, start: KeptStart) -> None:
        """Keep `start` on this machine, in the place of what is older; never raises because a disk does not take it."""

    def kept_start(self) -> KeptStart | None:
        """Return what was kept, where the store was away when it was opened; None where it is to be read itself."""


class UpstreamReply(Value, frozen=True, kw_only=True):
    """A whole answer of an endpoint, status 200."""

    body: bytes
    content_type: str = "application/json"


class UpstreamStream(Protocol):
    """An open stream of an endpoint."""

    def events(self) -> AsyncIterator[bytes]:
        """Yield the data of each server-sent event, ``[DONE]`` included.

        Raises `UpstreamProtocolError` where the stream ends before ``[DONE]``.
        """

    def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield the same events, those that have arrived together at once: never none, and never waiting for more."""


class LLMClient(Protocol):
    """Calls to OpenAI-compatible endpoints."""

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        """Post `body` to ``{api_base}{path}`` and return the whole answer; raises an `UpstreamError`."""

    def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> AbstractAsyncContextManager[UpstreamStream]:
        """Post `body` and open the stream of the answer; raises an `UpstreamError`. Leaving the context cancels."""

    async def close(self) -> None:
        """Close every connection."""
