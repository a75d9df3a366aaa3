"""Every policy that can take part in a simulation, by its name in the results."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.errors import InvalidValueError, did_you_mean
from mixllm.evaluation.simulation.mixllm_player import MixLLMPlayer
from mixllm.evaluation.simulation.peers.at_random import AtRandom
from mixllm.evaluation.simulation.peers.epsilon_greedy import EpsilonGreedy
from mixllm.evaluation.simulation.peers.in_hindsight import BestSingle, Oracle
from mixllm.evaluation.simulation.peers.mabwiser_linear import MABWiserLinear
from mixllm.evaluation.simulation.peers.pareto import ParetoBandit
from mixllm.evaluation.simulation.peers.strongest import AlwaysStrongest
from mixllm.evaluation.simulation.peers.trained_offline import CompleteLog, TrainedOffline
from mixllm.evaluation.simulation.player import Player
from mixllm.evaluation.simulation.stream import Stream
from mixllm.evaluation.splits import Dataset
from mixllm.types import LLMSpec

__all__ = ["DEFAULT_POLICIES", "OURS", "POLICIES", "Seat", "checked_policies", "make_player"]

OURS = "mixllm"
"""MixLLM with its default settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What a player is made from, before the stream begins.

    Parameters
    ----------
    pool
        The LLMs that are there at the start, at their prices.
    llms
        Every LLM of the log, the strongest first.
    reference
        The LLM that is the scale of cost.
    dimension
        Length D of the features.
    trade_off
        λ.
    seed
        Of the player's own randomness.
    log
        What is recorded of the stream's queries: for `TrainedOffline` alone.
    """

    pool: tuple[LLMSpec, ...]
    llms: tuple[str, ...]
    reference: LLMSpec
    dimension: int
    trade_off: float
    seed: int
    log: CompleteLog

    @classmethod
    def at(cls, stream: Stream, *, dataset: Dataset, ranked: Sequence[str], reference: LLMSpec, seed: int) -> Seat:
        """Return the seat before the first query of `stream`."""
        first = stream.arrival(0)
        return cls(
            pool=first.pool,
            llms=tuple(ranked),
            reference=reference,
            dimension=len(first.features),
            trade_off=stream.settings.trade_off,
            seed=seed,
            log=CompleteLog(dataset=dataset, rows=stream.rows, exchange=stream.exchange),
        )

    def rng(self, name: str) -> np.random.Generator:
        """Return the random numbers of the player of that name."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])


def _mixllm(seat: Seat, policy: PolicyConfig, *, caution: float = 0.0) -> Player:
    # The reward of the simulation knows no waiting, so nobody is asked to avoid it.
    routing = RoutingConfig(
        trade_off=seat.trade_off, reference_llm=seat.reference.name, wait_weight=0.0, caution=caution, policy=policy
    )
    return MixLLMPlayer(pool=seat.pool, routing=routing, reference=seat.reference, seed=seat.seed)


def _warm(exploration: float) -> PolicyConfig:
    return PolicyConfig(name="ucb", exploration=exploration, warmup_judgements=10, warmup_share=0.2)


def _as_the_demo(scale: float) -> PolicyConfig:
    return PolicyConfig(name="thompson", scale=scale, early_judgements=0.0, warmup_judgements=20, warmup_share=0.6)


POLICIES: dict[str, Callable[[Seat, float | None], Player]] = {
    OURS: lambda seat, _: _mixllm(seat, PolicyConfig()),
    "mixllm-greedy": lambda seat, _: _mixllm(seat, PolicyConfig(name="greedy")),
    "mixllm-ucb": lambda seat, alpha: _mixllm(seat, PolicyConfig(name="ucb", exploration=_or(alpha, 1.0))),
    "mixllm-squarecb": lambda seat, gap: _mixllm(seat, PolicyConfig(name="squarecb", gap_weight=_or(gap, 100.0))),
    "mixllm-thompson": lambda seat, scale: _mixllm(seat, PolicyConfig(name="thompson", scale=_or(scale, 1.0))),
    "mixllm-warm": lambda seat, alpha: _mixllm(seat, _warm(_or(alpha, 1.0))),
    "mixllm-demo": lambda seat, scale: _mixllm(seat, _as_the_demo(_or(scale, 0.15)), caution=1.0),
    "paretobandit": lambda seat, alpha: ParetoBandit(
        pool=seat.pool, dimension=seat.dimension, seed=seat.seed, alpha=alpha
    ),
    "paretobandit-own-cost": lambda seat, alpha: ParetoBandit(
        pool=seat.pool, dimension=seat.dimension, seed=seat.seed, alpha=alpha, own_cost=True
    ),
    "mabwiser-linucb": lambda seat, alpha: MABWiserLinear(
        kind="ucb", alpha=_or(alpha, 1.0), llms=seat.llms, seed=seat.seed, rng=seat.rng("mabwiser")
    ),
    "mabwiser-lints": lambda seat, alpha: MABWiserLinear(
        kind="ts", alpha=_or(alpha, 1.0), llms=seat.llms, seed=seat.seed, rng=seat.rng("mabwiser")
    ),
    "epsilon-greedy": lambda seat, epsilon: EpsilonGreedy(epsilon=_or(epsilon, 0.05), rng=seat.rng("epsilon-greedy")),
    "random": lambda seat, _: AtRandom(rng=seat.rng("random")),
    "best-single": lambda _seat, _: BestSingle(),
    "always-strongest": lambda seat, _: AlwaysStrongest(ranked=seat.llms),
    "mixllm-offline": lambda seat, _: TrainedOffline(log=seat.log, seed=seat.seed),
    "oracle": lambda _seat, _: Oracle(),
}
"""What makes a player, by its name; a number after a colon is its exploration."""

_WITH_NUMBER = frozenset(
    {
        *("mixllm-ucb", "mixllm-squarecb", "mixllm-thompson", "mixllm-warm", "mixllm-demo", "paretobandit"),
        *("paretobandit-own-cost", "mabwiser-linucb", "mabwiser-lints", "epsilon-greedy"),
    }
)

DEFAULT_POLICIES = (
    OURS,
    "paretobandit",
    "mabwiser-linucb",
    "mabwiser-lints",
    "epsilon-greedy",
    "random",
    "best-single",
    "always-strongest",
    "oracle",
)
"""What runs where nothing is chosen."""


def make_player(name: str, seat: Seat) -> Player:
    """Return a new player.

    Parameters
    ----------
    name
        One of `POLICIES`, for some with its exploration after a colon: ``mixllm-thompson:0.5``.
    seat
        What it is made from.

    Raises
    ------
    InvalidValueError
        Where the name is not known, or its number is none that it takes.
    MissingExtraError
        Where its package is not installed.
    """
    base, number = _parsed(name)
    return POLICIES[base](seat, number)


def checked_policies(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the policies to run, or refuse them; None gives `DEFAULT_POLICIES`.

    Raises
    ------
    InvalidValueError
        Where there is none, one comes twice, or one is not known.

    Examples
    --------
    >>> checked_policies(["mixllm-ucb:0.5", "random"])
    ('mixllm-ucb:0.5', 'random')
    """
    if names is None:
        return DEFAULT_POLICIES
    if not names or len(set(names)) != len(names):
        raise InvalidValueError("policies", list(names), "one name or more, each once")
    for name in names:
        _parsed(name)
    return tuple(names)


def _parsed(name: str) -> tuple[str, float | None]:
    base, colon, rest = name.partition(":")
    if base not in POLICIES:
        raise InvalidValueError("policies", name, f"out of: {', '.join(POLICIES)}.{did_you_mean(base, POLICIES)}")
    if not colon:
        return base, None
    if base not in _WITH_NUMBER:
        raise InvalidValueError("policies", name, f"{base!r} without a number")
    try:
        number = float(rest)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InvalidValueError("policies", name, f"{base!r}, a colon and a number >= 0")
    return base, number


def _or(number: float | None, otherwise: float) -> float:
    return otherwise if number is None else number
