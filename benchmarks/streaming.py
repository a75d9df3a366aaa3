"""A router on a stream of a routing log, in step with it: what the benchmarks of a changing pool share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mixllm import Decision, LLMSpec, Outcome, Query, Router
from mixllm.clock import ManualClock
from mixllm.evaluation.splits import Dataset
from mixllm.interfaces import Encoder
from mixllm.logs import fit_price

IN_FLIGHT = 16
"""Answers that are under way when the next query is decided, as with concurrent clients."""


class Remembered:
    """An encoder that encodes each text of a log once, however many runs there are.

    Parameters
    ----------
    encoder
        The encoder.
    """

    _known: ClassVar[dict[tuple[str, str], NDArray[np.float32]]] = {}

    def __init__(self, *, encoder: Encoder) -> None:
        self._encoder = encoder
        self.dimension, self.fingerprint = encoder.dimension, encoder.fingerprint
        self.blocking = encoder.blocking

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the vector of `text`, shape (d,)."""
        key = (self.fingerprint, text)
        if key not in self._known:
            self._known[key] = self._encoder.encode(text)
        return self._known[key]

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`, shape (n, d)."""
        return self._encoder.encode_batch(texts)


class RouterInStep(Router):
    """A router that learns when it is told to, and not in a thread beside it: a run can be repeated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.encoder = Remembered(encoder=self.encoder)

    def _ensure_learning(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What every LLM makes of every query of a log, arrays of shape (n, K), and what that is worth.

    Parameters
    ----------
    dataset
        The log, made ready.
    trade_off
        λ.
    """

    dataset: Dataset
    trade_off: float
    specs: tuple[LLMSpec, ...] = field(init=False)
    reward: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        log = self.dataset.log
        specs = tuple(
            LLMSpec(
                name=llm,
                price=fit_price(
                    cost_usd=log.cost_usd[:, column],
                    tokens_in=log.tokens_in[:, column],
                    tokens_out=log.tokens_out[:, column],
                ),
            )
            for column, llm in enumerate(log.llms)
        )
        object.__setattr__(self, "specs", specs)
        object.__setattr__(self, "reward", self.reward_of(log.quality))

    def reward_of(self, quality: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return λ/(1+λ)·q − c/(c_ref·(1+λ)), c_ref the reference LLM's mean recorded cost."""
        log = self.dataset.log
        scale_usd = log.mean_cost_usd()[log.column(self.dataset.reference)]
        rewards: NDArray[np.float64] = (self.trade_off * quality - log.cost_usd / scale_usd) / (1.0 + self.trade_off)
        return rewards


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A router on its way through a stream.

    Parameters
    ----------
    router
        The router.
    clock
        Its clock.
    world
        What happens.
    quality
        Qualities as they are now, shape (n, K): the caller may change them in place.
    """

    router: RouterInStep
    clock: ManualClock
    world: World
    quality: NDArray[np.float64]
    decisions: list[Decision] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    _waiting: list[tuple[str, int, int]] = field(default_factory=list)

    def route(self, rows: Sequence[int]) -> None:
        """Route the queries of these rows of the log, and tell what came of each sixteen together."""
        log, texts = self.world.dataset.log, self.world.dataset.texts
        for row in rows:
            decision = self.router.route(
                Query(text=texts[row], tokens_in=round(float(self.world.dataset.tokens_in[row]))), expect_outcome=False
            )
            self.clock.advance(1.0)
            column = log.column(decision.llm)
            self.decisions.append(decision)
            self.columns.append(column)
            self._waiting.append((decision.decision_id, int(row), column))
            if len(self._waiting) == IN_FLIGHT:
                self.tell()

    def tell(self) -> None:
        """Tell what came of the queries that were routed."""
        log = self.world.dataset.log
        for decision_id, row, column in self._waiting:
            self.router.record(
                decision_id,
                Outcome(
                    tokens_in=int(log.tokens_in[row, column]),
                    tokens_out=int(log.tokens_out[row, column]),
                    cost_usd=float(log.cost_usd[row, column]),
                    latency_s=float(log.latency_s[row, column]),
                ),
            )
            self.router.submit_feedback(decision_id, quality=float(self.quality[row, column]))
        self._waiting.clear()
        self.router.learn()
