"""What a policy must do to take part in a simulation, and all that it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.types import FeedbackKind, LLMSpec, Value

__all__ = ["Arrival", "Feedback", "Player", "SeesTruth", "Truth"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A query that has just come in: nothing about any answer can be reached from here.

    Parameters
    ----------
    number
        Its place in the stream, from 0.
    text
        What is encoded.
    features
        z = [π, Wx, f, 1] of MixLLM's shipped tags, projection and surface features, float64, shape (D,).
    tokens_in
        Tokens of its prompt, recorded or estimated.
    pool
        The LLMs that may take it, each at the price that it has now.
    """

    number: int
    text: str
    features: NDArray[np.float64]
    tokens_in: int
    pool: tuple[LLMSpec, ...]

    @property
    def eligible(self) -> tuple[str, ...]:
        """Names of the LLMs that may take it."""
        return tuple(spec.name for spec in self.pool)


class Feedback(Value, frozen=True, kw_only=True):
    """What the chosen LLM revealed about one query; of the others nothing is ever told.

    Parameters
    ----------
    number
        Place of the query in the stream.
    llm
        The chosen LLM.
    kind
        Whether `quality` is a score or a thumb.
    quality
        The judgement in [0, 1]; None where nobody judged.
    cost_usd, tokens_in, tokens_out
        What the call cost and used.
    latency_s, ttft_s
        Its times; None where the log has none.
    reward
        The scalar reward of the judgement and the cost (see `mixllm.evaluation.simulation.Exchange`); None where nobody
        judged.
    """

    number: int
    llm: str
    kind: FeedbackKind
    quality: float | None
    cost_usd: float
    tokens_in: int
    tokens_out: int
    latency_s: float | None
    ttft_s: float | None
    reward: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What really happens on a stream of n queries with K LLMs: for players that look back from the end.

    Parameters
    ----------
    llms
        Names of the K LLMs.
    reward
        Reward of each choice, shape (n, K).
    in_pool
        Whether the LLM could be chosen then, shape (n, K).
    """

    llms: tuple[str, ...]
    reward: NDArray[np.float64]
    in_pool: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.reward.shape != self.in_pool.shape or self.reward.shape[1:] != (len(self.llms),):
            raise InvalidValueError("reward", f"shape {self.reward.shape}", f"of shape (n, {len(self.llms)})")


class Player(Protocol):
    """A policy in a simulation: it starts from nothing and plays one stream."""

    def choose(self, arrival: Arrival) -> str:
        """Return the name of the LLM that takes the query, one of `arrival.eligible`."""
        ...

    def learn(self, feedback: Feedback) -> None:
        """Learn from what the chosen LLM revealed; the next `choose` may use it."""
        ...

    def close(self) -> None:
        """Release what it holds; called once, after the last query."""
        ...


@runtime_checkable
class SeesTruth(Protocol):
    """The door of the bounds: a player that is shown the whole stream before it begins, and says so."""

    def look(self, truth: Truth) -> None:
        """See what every choice is worth."""
        ...
