"""The load test: every router, at every trade-off, under every load, in the same simulated streams."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixllm.config import RoutingConfig
from mixllm.errors import InvalidValueError
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.contender import Predictions, SeesOutcomes, Split
from mixllm.evaluation.load.arrivals import ArrivalKind, Surge, arrival_times, read_trace
from mixllm.evaluation.load.endpoint import EndpointSpec, Outage, SlowTime
from mixllm.evaluation.load.engine import Journey, run_stream
from mixllm.evaluation.load.figures import Figures, Timeline, figures, timeline
from mixllm.evaluation.load.players import Chooser, FeedbackKind, MixLLMPlayer, TrainedRouter, train_router
from mixllm.evaluation.load.results import Level, LoadResults, router_load
from mixllm.evaluation.load.service import Speed, speeds_of
from mixllm.evaluation.load.world import (
    World,
    endpoints_for,
    make_world,
    mean_service_s,
    pool_capacity_per_s,
)
from mixllm.evaluation.registry import contenders
from mixllm.evaluation.splits import Dataset, random_splits
from mixllm.interfaces import FloatArray

__all__ = ["OURS", "TRADE_OFFS", "LoadDone", "LoadSettings", "Stand", "load_test"]

OURS = "mixllm"
TRADE_OFFS = (0.0, 0.1, 0.3, 0.6, 1.0, 1.4, 2.0, 3.0, 5.0, 8.0, 15.0, 40.0, 1000.0)
_MOST_TRADE_OFF = 1e6
_UNBOUNDED = EndpointSpec(servers=None)
_TWO_SERVERS = EndpointSpec(servers=2)
_NO_HURRY_RATE_PER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What to run.

    Parameters
    ----------
    routers
        Names as `contenders` takes them; ``mixllm`` runs as the real router.
    loads
        ρ: rates of arrival as shares of the pool's capacity, > 0.
    trade_offs
        The λ that each router runs at.
    shown_trade_off
        The λ of the timelines; the nearest of `trade_offs` is taken.
    arrivals
        How queries arrive.
    trace
        File of a trace, for arrivals that follow one.
    speeds
        File of llmperf's measurements, for LLMs without latencies.
    endpoint
        What every LLM's endpoint can take; without a `max_queue`, as many wait as are served in a deadline.
    deadline_s
        τ: an answer that comes later scores 0.
    duration_s
        Length of a stream.
    surge, slow, outages
        Times of another rate, and times of trouble of single LLMs.
    attempts, baseline_attempts
        LLMs that MixLLM and that the others try for a query before it is refused.
    tells_servers
        Whether MixLLM is told how many calls an LLM serves at the same time, or has to find out.
    feedback
        Whether MixLLM is told each answer's quality.
    learn_every_s
        MixLLM's learning catches up at the first event after so many simulated seconds.
    routing
        Settings of MixLLM; None takes the defaults with a greedy policy.
    seeds, first_seed
        How many streams, each with a split of its own, and the seed of the first one.
    remember
        Whether each text is encoded once for all runs; not where speed is measured.
    unconstrained
        Whether everything also runs without queues and deadlines.
    """

    routers: tuple[str, ...] = (OURS,)
    loads: tuple[float, ...] = (0.5,)
    trade_offs: tuple[float, ...] = TRADE_OFFS
    shown_trade_off: float = 1.4
    arrivals: ArrivalKind = "paper"
    trace: Path | None = None
    speeds: Path | None = None
    endpoint: EndpointSpec = _TWO_SERVERS
    deadline_s: float = 30.0
    duration_s: float = 300.0
    surge: Surge | None = None
    slow: tuple[SlowTime, ...] = ()
    outages: tuple[Outage, ...] = ()
    attempts: int = 3
    baseline_attempts: int = 1
    tells_servers: bool = True
    feedback: FeedbackKind = "none"
    learn_every_s: float = 0.25
    routing: RoutingConfig | None = None
    seeds: int = 1
    first_seed: int = 0
    remember: bool = True
    unconstrained: bool = True

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InvalidValueError("seeds", self.seeds, ">= 1")
        for name in ("loads", "trade_offs", "routers"):
            if not getattr(self, name):
                raise InvalidValueError(name, getattr(self, name), "one or more")
        for load in self.loads:
            if not 0 < load < math.inf:
                raise InvalidValueError("loads", load, "above 0 and finite")
        for trade_off in self.trade_offs:
            if not 0 <= trade_off <= _MOST_TRADE_OFF:
                raise InvalidValueError("trade_offs", trade_off, f"between 0 and {_MOST_TRADE_OFF:g}")
        for name in ("attempts", "baseline_attempts"):
            if getattr(self, name) < 1:
                raise InvalidValueError(name, getattr(self, name), ">= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadDone:
    """A step that is done: what it was, and how many of how many are done."""

    step: str
    done: int
    total: int


@dataclass(slots=True, kw_only=True)
class Stand:
    """One seed's split, with what its routers learned from the training part.

    Parameters
    ----------
    split
        The log in two parts.
    speeds
        Of each LLM.
    trained
        MixLLM, trained; None where it does not run.
    predictions
        Of all other routers, by name, for the test part.
    cost_unit
        c_ref, the reference's mean cost in the training part.
    service_s
        Mean time of each LLM's calls, shape (K,).
    """

    split: Split
    speeds: tuple[Speed, ...]
    trained: TrainedRouter | None
    predictions: dict[str, Predictions]
    cost_unit: float
    service_s: FloatArray
    known: dict[str, FloatArray] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls, split: Split, *, speeds: tuple[Speed, ...], routers: Sequence[str], told: Callable[[str], None]
    ) -> Stand:
        """Let every router learn."""
        rng = np.random.default_rng([split.seed, 1])
        trained = train_router(split, speeds=speeds, rng=rng) if OURS in routers else None
        if trained is not None:
            told(OURS)
        predictions: dict[str, Predictions] = {}
        others = [name for name in routers if name != OURS]
        for contender in contenders(others, llms=split.test.llms) if others else ():
            contender.fit(split.training(), np.random.default_rng([split.seed, zlib.crc32(contender.name.encode()), 0]))
            if isinstance(contender, SeesOutcomes):
                contender.look(split.test)
            predictions[contender.name] = contender.predict(split.queries())
            told(contender.name)
        return cls(
            split=split,
            speeds=speeds,
            trained=trained,
            predictions=predictions,
            cost_unit=float(split.train.cost_usd[:, split.train.column(split.reference)].mean()),
            service_s=mean_service_s(split, speeds),
        )

    def world(self, settings: LoadSettings, *, rate_per_s: float, trace_s: FloatArray | None) -> World:
        """Return the stream that all routers meet at this rate."""
        rng = np.random.default_rng([self.split.seed, 2])
        arrivals_s = arrival_times(
            settings.arrivals,
            rate_per_s=rate_per_s,
            duration_s=settings.duration_s,
            rng=rng,
            surge=settings.surge,
            trace_s=None if trace_s is None else np.asarray(trace_s, np.float64),
        )
        return make_world(self.split, speeds=self.speeds, arrivals_s=arrivals_s, rng=rng)

    def run(self, router: str, world: World, settings: LoadSettings, *, trade_off: float, bounded: bool) -> Journey:
        """Let one router run through a stream; without bounds nobody waits, and no deadline counts."""
        deadline_s = settings.deadline_s if bounded else math.inf
        endpoints = (
            endpoints_for(np.asarray(self.service_s), spec=settings.endpoint, deadline_s=settings.deadline_s)
            if bounded
            else (_UNBOUNDED,) * len(world.llms)
        )
        slow, outages = (settings.slow, settings.outages) if bounded else ((), ())
        if router != OURS:
            player = Chooser(
                self.predictions[router],
                world=world,
                trade_off=trade_off,
                cost_unit=self.cost_unit,
                attempts=settings.baseline_attempts,
            )
            return run_stream(world, player, endpoints=endpoints, deadline_s=deadline_s, slow=slow, outages=outages)
        assert self.trained is not None, "it was asked for"
        ours = MixLLMPlayer(
            self.trained,
            world=world,
            trade_off=trade_off,
            deadline_s=settings.deadline_s if bounded else None,
            servers=settings.endpoint.servers if settings.tells_servers else None,
            limits=(settings.endpoint.requests_per_minute, settings.endpoint.tokens_per_minute),
            routing=settings.routing,
            feedback=settings.feedback,
            learn_every_s=settings.learn_every_s,
            seed=self.split.seed,
            attempts=settings.attempts,
            known=self.known if settings.remember else None,
        )
        try:
            return run_stream(world, ours, endpoints=endpoints, deadline_s=deadline_s, slow=slow, outages=outages)
        finally:
            ours.close()


def load_test(
    dataset: Dataset, settings: LoadSettings, *, on_progress: Callable[[LoadDone], None] = lambda _: None
) -> LoadResults:
    """Run every router in the same streams.

    Parameters
    ----------
    dataset
        A log made ready, encoded by the base encoder.
    settings
        What to run.
    on_progress
        Called after each step.

    Raises
    ------
    InvalidValueError
        Where a router or an LLM is not known, or arrivals follow a trace that is not named.
    LogError
        Where the log has no latencies and no measurements are named, or a file cannot be read.
    MissingExtraError
        Where scikit-learn or scipy is not installed.
    """
    names = [OURS] if OURS in settings.routers else []
    others = [name for name in settings.routers if name != OURS]
    names += [one.name for one in contenders(others, llms=dataset.log.llms)] if others else []
    trace_s = None if settings.trace is None else read_trace(settings.trace)
    speeds = speeds_of(dataset.log, measured=settings.speeds)
    loads: list[float | None] = [*([None] if settings.unconstrained else []), *settings.loads]
    total = settings.seeds * len(names) * (1 + len(loads))
    done = 0

    def told(step: str) -> None:
        nonlocal done
        done += 1
        on_progress(LoadDone(step=step, done=done, total=total))

    found: dict[tuple[float | None, str], list[list[Figures]]] = {}
    timelines: dict[tuple[float | None, str], Timeline] = {}
    rates: dict[float | None, float] = {}
    simulated_s = took_s = 0.0
    service_s: FloatArray = np.zeros(len(dataset.log.llms))
    capacity = 0.0
    shown = min(settings.trade_offs, key=lambda trade_off: abs(trade_off - settings.shown_trade_off))
    with one_thread():
        for split in random_splits(dataset, splits=settings.seeds, seed=settings.first_seed):
            stand = Stand.prepare(split, speeds=speeds, routers=names, told=told)
            servers = np.full(len(split.test.llms), settings.endpoint.servers or 1, np.intp)
            first = capacity == 0.0
            if first:
                service_s = stand.service_s
                capacity = pool_capacity_per_s(np.asarray(service_s), servers)
            for load in loads:
                rate = _NO_HURRY_RATE_PER_S if load is None else load * capacity
                rates[load] = rate
                world = stand.world(settings, rate_per_s=rate, trace_s=trace_s)
                for name in names:
                    row = []
                    for trade_off in settings.trade_offs:
                        began_s = time.perf_counter()
                        journey = stand.run(name, world, settings, trade_off=trade_off, bounded=load is not None)
                        if name == OURS:
                            took_s += time.perf_counter() - began_s
                            simulated_s += settings.duration_s
                        row.append(figures(world, journey))
                        if trade_off == shown and first:
                            timelines[load, name] = timeline(world, journey)
                    found.setdefault((load, name), []).append(row)
                    told(name)
    return LoadResults(
        log=dataset.log.name,
        reference=dataset.reference,
        llms=list(dataset.log.llms),
        arrivals=settings.arrivals,
        seeds=list(range(settings.first_seed, settings.first_seed + settings.seeds)),
        deadline_s=settings.deadline_s,
        service_s=dict(zip(dataset.log.llms, np.asarray(service_s).round(5).tolist(), strict=True)),
        servers=settings.endpoint.servers or 1,
        capacity_per_s=capacity,
        levels=[
            Level(
                load=load,
                rate_per_s=rates[load],
                routers={
                    name: router_load(settings.trade_offs, found[load, name], timeline=timelines.get((load, name)))
                    for name in names
                },
            )
            for load in loads
        ],
        shown_trade_off=shown,
        simulated_s=simulated_s,
        took_s=took_s,
    )
