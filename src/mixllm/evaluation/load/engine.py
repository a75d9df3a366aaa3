"""Discrete events: arrivals, decisions, queues, ends and clients that give up, in simulated time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.load.endpoint import Endpoint, EndpointSpec, Outage, Refusal, SlowTime
from mixllm.evaluation.load.world import World

__all__ = ["End", "Fate", "Journey", "Player", "run_stream"]


class Fate(IntEnum):
    """What became of a query."""

    ANSWERED = 0
    """In time."""
    LATE = 1
    """After the deadline: the work was done and paid for, and nobody reads it."""
    GAVE_UP = 2
    """Its client left at the deadline, before any LLM had started on it."""
    SHED = 3
    """The router turned it away at once."""
    REFUSED = 4
    """The endpoint turned it away, and no other was tried or would have it."""


class End(IntEnum):
    """How a call at an endpoint ended, as a player is told."""

    DONE = 0
    REFUSED = 1
    GAVE_UP = 2


class Player(Protocol):
    """A router in the simulation."""

    @property
    def attempts(self) -> int:
        """How many LLMs it tries for one query before it is refused."""
        ...

    def choose(self, number: int, *, now_s: float, refused: Sequence[int]) -> int | None:
        """Return the column of the LLM that takes arrival `number`; None turns the query away.

        `refused` are columns that have just refused this query.
        """
        ...

    def ended(self, number: int, llm: int, end: End, *, now_s: float, wait_s: float, refusal: Refusal | None) -> None:
        """Be told how the call of arrival `number` at `llm` ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Journey:
    """What became of each of n arrivals.

    Parameters
    ----------
    fate
        A `Fate` each, shape (n,).
    llm
        Column of the LLM that took it last, −1 where none did, shape (n,).
    wait_s
        From arrival until the LLM started on it, or the client left; NaN where no LLM took it, shape (n,).
    latency_s
        From arrival to the last token; infinity where none came, shape (n,).
    queue
        Most calls that waited at each LLM at the same time, shape (K,).
    """

    fate: NDArray[np.int8]
    llm: NDArray[np.int16]
    wait_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    queue: NDArray[np.intp]


_END, _GIVE_UP = 0, 1


def run_stream(
    world: World,
    player: Player,
    *,
    endpoints: Sequence[EndpointSpec],
    deadline_s: float,
    slow: Sequence[SlowTime] = (),
    outages: Sequence[Outage] = (),
) -> Journey:
    """Let a stream run through a player and the LLMs' endpoints until every query has ended.

    Parameters
    ----------
    world
        The stream.
    player
        Chooses.
    endpoints
        Of each LLM.
    deadline_s
        τ: how long clients wait. Infinity: for ever.
    slow, outages
        Times of trouble of single LLMs.
    """
    return _Engine(world, player, endpoints, deadline_s, slow, outages).run()


class _Engine:
    def __init__(
        self,
        world: World,
        player: Player,
        endpoints: Sequence[EndpointSpec],
        deadline_s: float,
        slow: Sequence[SlowTime],
        outages: Sequence[Outage],
    ) -> None:
        for llm in (*[time.llm for time in slow], *[time.llm for time in outages]):
            if llm not in world.llms:
                raise InvalidValueError("llm", llm, f"one of {', '.join(world.llms)}")
        self.world, self.player, self.deadline_s = world, player, deadline_s
        self.endpoints = [
            Endpoint(
                spec,
                slow=[time for time in slow if time.llm == llm],
                outages=[time for time in outages if time.llm == llm],
            )
            for llm, spec in zip(world.llms, endpoints, strict=True)
        ]
        n = len(world)
        self.fate = np.full(n, -1, np.int8)
        self.llm = np.full(n, -1, np.int16)
        self.wait_s = np.full(n, np.nan)
        self.latency_s = np.full(n, np.inf)
        self.queue = np.zeros(len(world.llms), np.intp)
        self._agenda: list[tuple[float, int, int]] = []

    def run(self) -> Journey:
        agenda = self._agenda
        for number, arrival_s in enumerate(self.world.arrivals_s.tolist()):
            while agenda and agenda[0][0] <= arrival_s:
                self._next()
            self._arrive(number, arrival_s)
        while agenda:
            self._next()
        return Journey(fate=self.fate, llm=self.llm, wait_s=self.wait_s, latency_s=self.latency_s, queue=self.queue)

    def _arrive(self, number: int, now_s: float) -> None:
        refused: list[int] = []
        for _ in range(self.player.attempts):
            llm = self.player.choose(number, now_s=now_s, refused=refused)
            if llm is None:
                break
            tokens = int(self.world.tokens_in[number, llm] + self.world.tokens_out[number, llm])
            refusal = self.endpoints[llm].refusal(now_s, tokens=tokens)
            if refusal is None:
                self._take(number, llm, tokens, now_s)
                return
            refused.append(llm)
            self.player.ended(number, llm, End.REFUSED, now_s=now_s, wait_s=0.0, refusal=refusal)
        self.fate[number] = Fate.REFUSED if refused else Fate.SHED

    def _take(self, number: int, llm: int, tokens: int, now_s: float) -> None:
        endpoint = self.endpoints[llm]
        self.llm[number] = llm
        end_s = endpoint.take(number, work_s=float(self.world.work_s[number, llm]), tokens=tokens, now_s=now_s)
        if end_s is not None:
            self._start(number, now_s, end_s)
            return
        self.queue[llm] = max(self.queue[llm], endpoint.waiting)
        if math.isfinite(self.deadline_s):
            heapq.heappush(self._agenda, (now_s + self.deadline_s, _GIVE_UP, number))

    def _start(self, number: int, now_s: float, end_s: float) -> None:
        self.wait_s[number] = now_s - self.world.arrivals_s[number]
        heapq.heappush(self._agenda, (end_s, _END, number))

    def _next(self) -> None:
        now_s, kind, number = heapq.heappop(self._agenda)
        llm = int(self.llm[number])
        if kind == _GIVE_UP:
            if np.isnan(self.wait_s[number]):
                self.endpoints[llm].give_up(number)
                self.wait_s[number] = self.deadline_s
                self.fate[number] = Fate.GAVE_UP
                self.player.ended(number, llm, End.GAVE_UP, now_s=now_s, wait_s=self.deadline_s, refusal=None)
            return
        latency_s = now_s - self.world.arrivals_s[number]
        self.latency_s[number] = latency_s
        self.fate[number] = Fate.ANSWERED if latency_s <= self.deadline_s else Fate.LATE
        following = self.endpoints[llm].leave(now_s=now_s)
        if following is not None:
            self._start(following[0], now_s, following[1])
        self.player.ended(number, llm, End.DONE, now_s=now_s, wait_s=float(self.wait_s[number]), refusal=None)
