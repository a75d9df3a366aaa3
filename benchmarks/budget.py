"""How near spending comes to a budget, and what pacing costs in quality: the router itself over a routing log.

Queries arrive as a Poisson process with a rate of day and night, in an order that makes dear kinds of queries more and
more frequent (``dearer``), or ever rarer (``cheaper``). What a call cost and how good it was is known minutes later.
The router starts from nothing. Its λ is so high that without a budget it would spend more than any of them.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from benchmarks.streaming import Remembered
from mixllm import LLMSpec, Outcome, Query, Router
from mixllm.clock import ManualClock
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.decision import Period
from mixllm.encoders import StaticEncoder
from mixllm.errors import BudgetExhaustedError
from mixllm.logs import RoutingLog, read_log
from mixllm.playback import AnswerBook
from mixllm.router import BudgetLimits, KeyLimits

DAY_S = 86_400.0
DAYS = 5
SWING = 0.8
"""The rate by day is (1 + SWING) times the mean, by night (1 − SWING) times."""

LATEST_S = 300.0
"""Outcomes and judgements come up to so long after the decision."""

LEARN_EVERY = 50
"""Outcomes are learned from so many at a time, which saves time; what they cost is charged as each comes."""

TRADE_OFF = 30.0
_END = 200
FIXED = (0.3, 1.0, 2.0, 4.0, 9.0, 30.0)
SHARES = (0.1, 0.25, 0.5)
KEY_SHARES = {"key-a": 0.7, "key-b": 0.3}
"""How often each of two keys asks."""


class RouterInStep(Router):
    """A router that learns when it is told to: a run can be repeated."""

    def _ensure_learning(self) -> None:
        pass


ENCODER = Remembered(encoder=StaticEncoder.wordllama())


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Queries in their order, when each comes, who asks, and when its outcome is known."""

    rows: NDArray[np.intp]
    times_s: NDArray[np.float64]
    known_s: NDArray[np.float64]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run has spent and earned."""

    spent_usd: float
    by_key_usd: Mapping[str, float]
    by_day_usd: Sequence[float]
    quality: float
    refused: int
    loose_at_end: bool
    """Whether λ was the requested one when the stream ended: the budget did not bind any more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of a routing log")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--more-seeds", type=int, default=3, help="of these, how many also go by day and by key")
    parser.add_argument("--fixed-seeds", type=int, default=2, help="of these, how many are compared with fixed λ")
    parser.add_argument("--reference", help="LLM whose cost is 100 %%; without it the strongest")
    parser.add_argument("--name", default="budget", help="name of the results")
    arguments = parser.parse_args()
    log = read_log(arguments.data)
    reference = arguments.reference or log.strongest()
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(arguments.seeds):
        for drift in ("dearer", "cheaper"):
            trial = Trial(
                log=log,
                reference=reference,
                stream=stream_of(log, drift=drift, seed=arguments.first_seed + number, queries=arguments.queries),
                seed=arguments.first_seed + number,
            )
            made = trial.of_period(compared=number < arguments.fixed_seeds)
            if drift == "dearer" and number < arguments.more_seeds:
                made |= trial.of_days() | trial.of_keys()
            for name, numbers in made.items():
                found.setdefault(f"{drift}, {name}", []).append(numbers)
                print(trial.seed, drift, name, {key: round(value, 4) for key, value in numbers.items()}, flush=True)
        keep(arguments, log.name, reference, found, seeds=number + 1)


def keep(
    arguments: argparse.Namespace, log: str, reference: str, found: Mapping[str, list[dict[str, float]]], *, seeds: int
) -> None:
    """Store what was found so far."""
    result = {
        "log": log,
        "reference": reference,
        "queries": arguments.queries,
        "seeds": seeds,
        "requested_lambda": TRADE_OFF,
        "period": f"{DAYS} days; one day where it says so",
        "runs": {name: summary(numbers) for name, numbers in sorted(found.items())},
    }
    store(arguments.name, result, command=f"python -m benchmarks.budget --data {arguments.data.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One stream, routed under several budgets."""

    log: RoutingLog
    reference: str
    stream: Stream
    seed: int

    @property
    def reference_usd(self) -> float:
        """What always the reference LLM would cost."""
        return float(self.log.cost_usd[self.stream.rows, self.log.column(self.reference)].sum())

    @property
    def reference_quality(self) -> float:
        """Mean quality of always the reference LLM."""
        return float(self.log.quality[self.stream.rows, self.log.column(self.reference)].mean())

    def of_period(self, *, compared: bool) -> dict[str, dict[str, float]]:
        """Return what comes of budgets for the whole stream, beside fixed λ in hindsight where that is wanted."""
        frontier = [self.run(trade_off=one, limits=None) for one in FIXED] if compared else []
        found: dict[str, dict[str, float]] = {}
        for share in SHARES:
            usd = share * self.reference_usd
            made = self.run(trade_off=TRADE_OFF, limits=BudgetLimits(period=Period(seconds=DAYS * DAY_S), usd=usd))
            numbers = self.numbers(made)
            numbers["error"] = made.spent_usd / usd - 1.0
            if any(one.spent_usd <= usd for one in frontier):
                numbers["fixed_quality_ratio"] = hindsight(frontier, usd) / self.reference_quality
                numbers["quality_beyond_fixed"] = numbers["quality_ratio"] - numbers["fixed_quality_ratio"]
            found[f"{share:.0%}"] = numbers
        return found

    def of_days(self) -> dict[str, dict[str, float]]:
        """Return what comes of a budget for each day."""
        daily_usd = 0.25 * self.reference_usd / DAYS
        made = self.run(trade_off=TRADE_OFF, limits=BudgetLimits(period=Period(name="day"), usd=daily_usd))
        numbers = self.numbers(made)
        for day, usd in enumerate(made.by_day_usd, start=1):
            numbers[f"error_day_{day}"] = usd / daily_usd - 1.0
        return {"25% by day": numbers}

    def of_keys(self) -> dict[str, dict[str, float]]:
        """Return what comes of a budget for each of two keys."""
        keys = {key: KeyLimits(usd=0.2 * self.reference_usd * share) for key, share in KEY_SHARES.items()}
        limits = BudgetLimits(period=Period(seconds=DAYS * DAY_S), keys=keys)
        made = self.run(trade_off=TRADE_OFF, limits=limits)
        numbers = self.numbers(made)
        for key, own in keys.items():
            numbers[f"error_{key}"] = made.by_key_usd[key] / (own.usd or 1.0) - 1.0
        return {"20% by key": numbers}

    def numbers(self, made: Run) -> dict[str, float]:
        """Return what is told of every run."""
        return {
            "quality_ratio": made.quality / self.reference_quality,
            "refused_share": made.refused / len(self.stream.rows),
            "loose_at_end": float(made.loose_at_end),
        }

    def run(self, *, trade_off: float, limits: BudgetLimits | None) -> Run:
        """Route the stream once."""
        return run(self.log, self.reference, self.stream, trade_off=trade_off, limits=limits, seed=self.seed)


def stream_of(log: RoutingLog, *, drift: str, seed: int, queries: int) -> Stream:
    """Return queries whose mix drifts, with the times at which they come."""
    rng = np.random.default_rng(seed)
    dearness = log.cost_usd.mean(axis=1)
    rank = np.argsort(np.argsort(dearness)) / len(log)
    rows = rng.permutation(len(log))[:queries]
    place = rank[rows] + rng.random(queries)
    rows = rows[np.argsort(place if drift == "dearer" else -place)]
    # Given their number, the times of a Poisson process are independent draws from its rate.
    times_s = np.empty(0)
    while len(times_s) < queries:
        drawn = rng.random(4 * queries) * DAYS * DAY_S
        rate = 1.0 + SWING * np.sin(2 * np.pi * drawn / DAY_S - np.pi / 2)
        times_s = np.concatenate([times_s, drawn[rng.random(len(drawn)) * (1.0 + SWING) < rate]])
    times_s = np.sort(times_s[:queries])
    names = list(KEY_SHARES)
    keys = [names[number] for number in rng.choice(len(names), queries, p=list(KEY_SHARES.values()))]
    return Stream(rows=rows, times_s=times_s, known_s=times_s + rng.random(queries) * LATEST_S, keys=keys)


def run(
    log: RoutingLog, reference: str, stream: Stream, *, trade_off: float, limits: BudgetLimits | None, seed: int
) -> Run:
    """Route the stream once, from nothing."""
    book = AnswerBook(log=log)
    clock = ManualClock()
    router = RouterInStep(
        llms=[LLMSpec(name=llm, price=book.price(llm)) for llm in log.llms],
        routing=RoutingConfig(
            trade_off=trade_off,
            reference_llm=reference,
            policy=PolicyConfig(name="ucb", exploration=1.0, warmup_judgements=10, warmup_share=0.2),
        ),
        budget=limits,
        clock=clock,
        seed=seed,
    )
    router.encoder = ENCODER
    waiting: list[tuple[float, str, int, int]] = []
    spent, quality, refused, used = np.zeros(len(stream.rows)), 0.0, 0, []
    known_s = np.zeros(len(stream.rows))
    pending, charged = 0, 0

    def tell(until_s: float) -> None:
        nonlocal pending, charged
        while waiting and waiting[0][0] <= until_s:
            at_s, decision_id, row, column = heapq.heappop(waiting)
            clock.advance(max(0.0, at_s - clock.time_s()))
            facts = Outcome(
                tokens_in=int(log.tokens_in[row, column]),
                tokens_out=int(log.tokens_out[row, column]),
                cost_usd=float(log.cost_usd[row, column]),
                latency_s=float(log.latency_s[row, column]),
            )
            router.record(decision_id, facts)
            router.submit_feedback(decision_id, quality=float(log.quality[row, column]))
            pending += 1
            if router.budget is not None:
                events = router.store.events_after(charged)
                router.budget.charge(events)
                charged = events[-1].seq
        if pending >= LEARN_EVERY or (until_s == np.inf and pending):
            router.learn()
            pending = 0

    with router:
        for number, (row, time_s) in enumerate(zip(stream.rows.tolist(), stream.times_s.tolist(), strict=True)):
            tell(time_s)
            clock.advance(max(0.0, time_s - clock.time_s()))
            query = Query(text=log.prompts[row], tokens_in=int(log.tokens_in[row, 0]), key_id=stream.keys[number])
            try:
                decision = router.route(query)
            except BudgetExhaustedError:
                refused += 1
                continue
            column = log.column(decision.llm)
            spent[number] = log.cost_usd[row, column]
            known_s[number] = stream.known_s[number]
            quality += float(log.quality[row, column])
            used.append(decision.trade_off)
            heapq.heappush(waiting, (float(stream.known_s[number]), decision.decision_id, row, column))
        tell(np.inf)
    keys = np.array(stream.keys)
    days = np.minimum(known_s // DAY_S, DAYS - 1)
    return Run(
        spent_usd=float(spent.sum()),
        by_key_usd={key: float(spent[keys == key].sum()) for key in KEY_SHARES},
        by_day_usd=[float(spent[days == day].sum()) for day in range(DAYS)],
        quality=quality / len(stream.rows),
        refused=refused,
        loose_at_end=bool(np.median(used[-_END:]) == trade_off),
    )


def hindsight(frontier: Sequence[Run], usd: float) -> float:
    """Return the best quality for `usd` of fixed λ, or of a coin between two of them."""
    best = max(one.quality for one in frontier if one.spent_usd <= usd)
    for low in frontier:
        for high in frontier:
            if low.spent_usd <= usd < high.spent_usd:
                share = (usd - low.spent_usd) / (high.spent_usd - low.spent_usd)
                best = max(best, (1.0 - share) * low.quality + share * high.quality)
    return best


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean, standard error and, of errors, the largest one, over the seeds."""
    found: dict[str, dict[str, float]] = {}
    for name in runs[0]:
        values = np.array([one[name] for one in runs if name in one])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        found[name] = {"mean": round(float(values.mean()), 5), "se": round(float(error), 5)}
        if name.startswith("error"):
            found[name] |= {
                "mean_absolute": round(float(np.abs(values).mean()), 5),
                "largest_absolute": round(float(np.abs(values).max()), 5),
            }
    bound = np.abs([one["error"] for one in runs if "error" in one and not one["loose_at_end"]])
    if len(bound):
        found["error_where_it_bound_to_the_end"] = {
            "runs": len(bound),
            "mean_absolute": round(float(bound.mean()), 5),
            "largest_absolute": round(float(bound.max()), 5),
            "within_1_percent": int((bound <= 0.01).sum()),
        }
    return found


if __name__ == "__main__":
    main()
