"""What learning on line adds to offline training: the paper's Table 1, noisy sources, and what to make of thumbs.

    python -m benchmarks.online_gains table --data DIR [--reference LLM] [--seeds 10]
    python -m benchmarks.online_gains scarce --data DIR …      # the same with far less to train on
    python -m benchmarks.online_gains sources --data DIR …     # planted sources, with and without estimates
    python -m benchmarks.online_gains treatments --data DIR …  # thumbs only, three treatments
    python -m benchmarks.online_gains choose --data DIR …      # exploration, on seeds from 100 on

A fifth of the log is held out. The rest is split into a part to train on (every LLM's outcome known) and a part that
arrives query by query, where only the chosen LLM's outcome is known. Decisions are those of the router: forecasts of
the snapshot, scores, policy; a new snapshot after every 32 queries. Writes benchmarks/results/online_{part}_{log}.json.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from mixllm.assembly import build_judging, build_policy
from mixllm.config import FeedbackConfig, PolicyConfig
from mixllm.decision import DecisionMaker, ScoreWeights
from mixllm.encoders import StaticEncoder
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.contender import Predictions, Split, TrainingData
from mixllm.evaluation.frontier import Frontier, sweep, upper_hull
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.learning import Learner, Snapshot
from mixllm.learning.judging import Judging
from mixllm.learning.offline import TrainedModel, forecast_batch
from mixllm.logs import RoutingLog, open_log
from mixllm.types import Feedback, FeedbackKind, LearningEvent, Outcome, Query

OFFLINE_SHARES = (0.8, 0.5, 0.3)
SCARCE_SHARES = (0.05, 0.02)
TRADE_OFFS = tuple(np.logspace(math.log10(0.5), math.log10(32.0), 7).round(3).tolist())
"""λ of the queries that arrive, in turn: users differ, and the whole frontier is learned about."""

COSTS = np.linspace(0.05, 0.6, 12)
"""Shares of the reference's cost at which qualities are compared; from where the first frontier begins."""

POLICY = PolicyConfig(name="thompson", scale=1.0)
POLICIES = {
    "greedy": PolicyConfig(name="greedy"),
    "ucb 0.3": PolicyConfig(name="ucb", exploration=0.3),
    "ucb 1": PolicyConfig(name="ucb", exploration=1.0),
    "thompson 0.5": PolicyConfig(name="thompson", scale=0.5),
    "thompson 1": PolicyConfig(name="thompson", scale=1.0),
    "squarecb 30": PolicyConfig(name="squarecb", gap_weight=30.0),
}
IN_FLIGHT = 32
SATISFIED_QUALITY, SATISFIED_LATENCY_S = 0.7, 15.0
"""The paper's simulated thumb is up above this quality and below this time."""

Teller = Callable[[float, float, int], tuple[str, FeedbackKind, float] | None]
"""Quality, latency and number of an answer to what is said of it: source, kind, value."""


class _Trainer(MixLLMRouter):
    """Offline training, with what it made and the encodings as it wants them."""

    def trained(self, training: TrainingData, rng: np.random.Generator) -> TrainedModel:
        self.fit(training, rng)
        assert self._model is not None
        return self._model

    def encodings(
        self, model: TrainedModel, encodings: NDArray[np.float32], texts: Sequence[str]
    ) -> NDArray[np.float32]:
        return self._encodings(model, encodings, texts)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One seed and share: a trained model, what arrives, and what it is judged by."""

    trainer: _Trainer
    model: TrainedModel
    arriving: Split
    cost_unit: float
    seed: int

    @classmethod
    def of(cls, dataset: Dataset, trainer: _Trainer, *, share: float, seed: int) -> Trial:
        """Train on the offline part."""
        offline, online, test = parts(len(dataset.log), share=share, seed=seed)
        training = dataset.split(np.sort(offline), test, name=str(seed), seed=seed).training()
        model = trainer.trained(training, np.random.default_rng([seed, 1]))
        arriving = dataset.split(online, test, name=str(seed), seed=seed)
        cost_unit = float(training.log.cost_usd[:, training.log.column(dataset.reference)].mean())
        return cls(trainer=trainer, model=model, arriving=arriving, cost_unit=cost_unit, seed=seed)

    def learner(self, feedback: FeedbackConfig) -> Learner:
        """Return a learner that knows what was trained."""
        trained, model = self.model.learner, self.model
        judging: Judging = build_judging(feedback, dimension=model.features.dimension)
        learner = Learner(
            features=model.features,
            encoding_dimension=model.encoder.dimension,
            specs=trained.snapshot().specs,
            recipe=model.recipe,
            reference=trained.reference,
            bases=trained.bases,
            judging=judging,
        )
        learner.restore(trained.checkpoint())
        return learner

    def frontier(self, snapshot: Snapshot) -> Frontier:
        """Return what the snapshot gets on the test part for its money."""
        split, model = self.arriving, self.model
        encodings = self.trainer.encodings(model, split.test_encodings, split.test_texts)
        forecast = forecast_batch(snapshot, model.features_of(encodings), split.test_tokens_in)
        reference = split.test.column(split.reference)
        return sweep(
            Predictions(quality=forecast.quality, cost_usd=forecast.cost_usd),
            quality=split.test.quality,
            cost_usd=split.test.cost_usd,
            reference=reference,
            cost_unit=self.cost_unit,
        ).hull()


def parts(queries: int, *, share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to train on, those that arrive, in order, and those held out: the same for all shares."""
    order = np.random.default_rng([seed, queries]).permutation(queries)
    held_out = round(0.2 * queries)
    rest = order[held_out:]
    offline = round(share * len(rest))
    return rest[:offline], rest[offline:], np.sort(order[:held_out])


@dataclass(frozen=True, kw_only=True)
class Online:
    """What came of the queries that arrived; `frontier` is that of the answers on the way."""

    snapshot: Snapshot
    learner: Learner
    frontier: Frontier


def go_on_line(
    trial: Trial, tell: Teller, *, policy: PolicyConfig = POLICY, feedback: FeedbackConfig | None = None
) -> Online:
    """Let the queries arrive."""
    learner = trial.learner(feedback or FeedbackConfig())
    maker = DecisionMaker(weights=ScoreWeights(wait_weight=0.0), policy=build_policy(policy))
    log, split = trial.arriving.train, trial.arriving
    encodings = trial.trainer.encodings(trial.model, split.train_encodings, split.train_texts)
    features = trial.model.features_of(encodings)
    draws = np.random.default_rng([trial.seed, 2]).random(len(log))
    snapshot, events = learner.snapshot(), list[LearningEvent]()
    chosen = np.zeros(len(log), np.intp)
    for row in range(len(log)):
        tokens_in = int(split.train_tokens_in[row])
        choice = maker.choose(
            Query(text="", tokens_in=tokens_in, trade_off=TRADE_OFFS[row % len(TRADE_OFFS)]),
            specs=snapshot.specs,
            forecasts=snapshot.forecasts(features[row], tokens_in=tokens_in),
            cost_scale_usd=snapshot.cost_scale_usd,
            draw=float(draws[row]),
        )
        chosen[row] = column = log.column(choice.chosen.llm)
        events += events_of(log, row, column, encodings[row], tokens_in, tell)
        if row % IN_FLIGHT == IN_FLIGHT - 1:
            learner.learn(events)
            snapshot, events = learner.snapshot(), []
    learner.learn(events)
    assert learner.counts.refused == 0
    return Online(snapshot=learner.snapshot(), learner=learner, frontier=on_the_way(trial, chosen))


def events_of(
    log: RoutingLog, row: int, column: int, encoding: NDArray[np.float32], tokens_in: int, tell: Teller
) -> list[LearningEvent]:
    """Return what becomes known of an answer."""
    quality, latency_s = float(log.quality[row, column]), float(log.latency_s[row, column])
    tokens_out = log.tokens_out[row, column]
    shared: dict[str, Any] = {
        "decision_id": str(row),
        "llm": log.llms[column],
        "encoding": encoding.astype("<f4").tobytes(),
        "tokens_in": tokens_in,
    }
    outcome = Outcome(
        tokens_in=tokens_in,
        tokens_out=None if math.isnan(tokens_out) else int(tokens_out),
        cost_usd=float(log.cost_usd[row, column]),
        latency_s=None if math.isnan(latency_s) else latency_s,
    )
    events = [LearningEvent(seq=2 * row + 1, outcome=outcome, **shared)]
    said = tell(quality, latency_s, row)
    if said is not None:
        source, kind, value = said
        judgement = Feedback(feedback_id=str(row), decision_id=str(row), kind=kind, value=value, source=source)
        events.append(LearningEvent(seq=2 * row + 2, feedback=judgement, **shared))
    return events


def on_the_way(trial: Trial, chosen: NDArray[np.intp]) -> Frontier:
    """Return quality over cost of the answers to the queries that arrived, a point for each λ."""
    log = trial.arriving.train
    rows = np.arange(len(log))
    reference = log.column(trial.arriving.reference)
    group = rows % len(TRADE_OFFS)
    points = [
        (
            log.cost_usd[rows, chosen][group == one].mean() / log.cost_usd[group == one, reference].mean(),
            log.quality[rows, chosen][group == one].mean() / log.quality[group == one, reference].mean(),
        )
        for one in range(len(TRADE_OFFS))
    ]
    return upper_hull([cost for cost, _ in points], [quality for _, quality in points])


# ---- what is said of an answer ---------------------------------------------------------------------------------------


def silent(quality: float, latency_s: float, number: int) -> None:
    """Say nothing: only the facts of the call are known."""
    del quality, latency_s, number


def refined(quality: float, latency_s: float, number: int) -> tuple[str, FeedbackKind, float]:
    """Tell the recorded quality."""
    del latency_s, number
    return "user", FeedbackKind.REFINED, quality


def binary(quality: float, latency_s: float, number: int) -> tuple[str, FeedbackKind, float]:
    """Give a thumb as the paper's simulated user does; a latency that is not recorded is bearable."""
    del number
    return "user", FeedbackKind.BINARY, float(quality > SATISFIED_QUALITY and not latency_s >= SATISFIED_LATENCY_S)


def planted(seed: int) -> Teller:
    """Return four sources, a quarter of the judgements each: honest, one in five wrong, at random, the opposite."""
    rng = np.random.default_rng([seed, 3])

    def tell(quality: float, latency_s: float, number: int) -> tuple[str, FeedbackKind, float]:
        which, luck = int(rng.integers(4)), float(rng.random())
        up = binary(quality, latency_s, number)[2]
        if which == 0:
            return "honest", FeedbackKind.REFINED, quality
        if which == 1:
            return "hasty", FeedbackKind.BINARY, up if luck >= 0.2 else 1.0 - up
        if which == 2:
            return "random", FeedbackKind.BINARY, float(luck < 0.5)
        return "opposite", FeedbackKind.BINARY, 1.0 - up

    return tell


# ---- comparing -------------------------------------------------------------------------------------------------------


def gains(before: Frontier, after: Frontier) -> dict[str, float | None]:
    """Return relative gains in quality at equal cost, as shares of what `before` gets there."""
    start = max(before.cost[0], after.cost[0])
    target = before.cost_at(0.9725)
    costs = COSTS[start <= COSTS]
    earlier = np.array([before.quality_at(cost) for cost in costs])
    later = np.array([after.quality_at(cost) for cost in costs])
    cheap = costs <= 0.2
    at_target = None if target is None or target < start else (after.quality_at(target) or 0.0) / 0.9725 - 1.0
    return {
        "at_cost_of_97_25": at_target,
        "mean_over_costs": float((later / earlier).mean() - 1.0),
        "mean_over_costs_to_20": float((later / earlier)[cheap].mean() - 1.0) if cheap.any() else None,
        "highest_quality": float(after.quality[-1] / before.quality[-1] - 1.0),
        "aiq": after.area(0.03, 1.0) / before.area(0.03, 1.0) - 1.0,
    }


def summary(rows: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    """Return mean and standard error of each figure, over the seeds that have it."""
    found: dict[str, dict[str, float | int | None]] = {}
    for name in rows[0]:
        values = [value for row in rows if (value := row[name]) is not None]
        found[name] = {
            "mean": round(float(np.mean(values)), 5) if values else None,
            "se": round(float(np.std(values, ddof=1) / math.sqrt(len(values))), 5) if len(values) > 1 else None,
            "seeds": len(values),
        }
    return found


# ---- the parts -------------------------------------------------------------------------------------------------------


def scarce(dataset: Dataset, trainer: _Trainer, seeds: Sequence[int]) -> dict[str, Any]:
    """Table 1 where there is little to train on."""
    return table(dataset, trainer, seeds, shares=SCARCE_SHARES)


def table(
    dataset: Dataset, trainer: _Trainer, seeds: Sequence[int], *, shares: Sequence[float] = OFFLINE_SHARES
) -> dict[str, Any]:
    """Table 1: shares of offline data by kinds of feedback."""
    found: dict[str, Any] = {}
    for share in shares:
        rows: dict[str, list[dict[str, float | None]]] = {}
        way: dict[str, list[dict[str, float | None]]] = {}
        levels: dict[str, list[dict[str, float | None]]] = {}
        for seed in seeds:
            trial = Trial.of(dataset, trainer, share=share, seed=seed)
            runs = {kind: go_on_line(trial, tell) for kind, tell in KINDS.items()}
            frontiers = {kind: trial.frontier(run.snapshot) for kind, run in runs.items()}
            frontiers["offline only"] = trial.frontier(trial.model.learner.snapshot())
            if share == min(shares):
                everything = Trial.of(dataset, trainer, share=1.0, seed=seed)
                frontiers["all outcomes"] = everything.frontier(everything.model.learner.snapshot())
            for kind, frontier in frontiers.items():
                levels.setdefault(kind, []).append(
                    {"aiq": frontier.area(0.03, 1.0), "cost_at_97_25": frontier.cost_at(0.9725)}
                )
                if kind != "none":
                    rows.setdefault(kind, []).append(gains(frontiers["none"], frontier))
            for kind in ("refined", "binary"):
                way.setdefault(kind, []).append(gains(runs["none"].frontier, runs[kind].frontier))
            print(
                f"{share:g} seed {seed}",
                {k: round(v[-1]["mean_over_costs"] or 0, 4) for k, v in rows.items()},
                flush=True,
            )
        found[f"{round(100 * share)}:{round(100 - 100 * share)}"] = {
            "offline_queries": len(parts(len(dataset.log), share=share, seed=0)[0]),
            "online_queries": len(parts(len(dataset.log), share=share, seed=0)[1]),
            "level": {kind: summary(runs) for kind, runs in levels.items()},
            "gain_on_test_part_over_none": {kind: summary(runs) for kind, runs in rows.items()},
            "gain_on_the_way_over_none": {kind: summary(runs) for kind, runs in way.items()},
        }
    return found


def sources(dataset: Dataset, trainer: _Trainer, seeds: Sequence[int]) -> dict[str, Any]:
    """Planted sources, a quarter each."""
    rows: dict[str, list[dict[str, float | None]]] = {}
    channels: dict[str, list[list[float]]] = {}
    for seed in seeds:
        trial = Trial.of(dataset, trainer, share=0.3, seed=seed)
        none = go_on_line(trial, silent)
        runs = {
            "all honest": go_on_line(trial, refined),
            "estimated": go_on_line(trial, planted(seed)),
            "at face value": go_on_line(trial, planted(seed), feedback=FeedbackConfig(treatment="plain")),
        }
        before = trial.frontier(none.snapshot)
        for name, run in runs.items():
            rows.setdefault(name, []).append(gains(before, trial.frontier(run.snapshot)))
        for name, channel in runs["estimated"].learner.judging.sources().items():
            channels.setdefault(name, []).append([channel.bias, channel.gain, channel.weight])
        print(f"seed {seed}", {k: round(v[-1]["mean_over_costs"] or 0, 4) for k, v in rows.items()}, flush=True)
    return {
        "gain_on_test_part_over_none": {name: summary(runs) for name, runs in rows.items()},
        "sources": {
            name: {
                "bias_gain_weight": np.mean(values, axis=0).round(3).tolist(),
                "std": np.std(values, axis=0).round(3).tolist(),
            }
            for name, values in channels.items()
        },
    }


def treatments(dataset: Dataset, trainer: _Trainer, seeds: Sequence[int]) -> dict[str, Any]:
    """Thumbs alone, and thumbs of four sources, by each treatment."""
    rows: dict[str, list[dict[str, float | None]]] = {}
    names: tuple[Any, ...] = ("noisy-label", "plain", "dynamic")
    for seed in seeds:
        trial = Trial.of(dataset, trainer, share=0.3, seed=seed)
        before = trial.frontier(go_on_line(trial, silent).snapshot)
        for treatment in names:
            for kind, tell in (("binary", binary), ("planted", planted(seed))):
                run = go_on_line(trial, tell, feedback=FeedbackConfig(treatment=treatment))
                rows.setdefault(f"{treatment}, {kind}", []).append(gains(before, trial.frontier(run.snapshot)))
        print(f"seed {seed}", {k: round(v[-1]["mean_over_costs"] or 0, 4) for k, v in rows.items()}, flush=True)
    return {"gain_on_test_part_over_none": {name: summary(runs) for name, runs in rows.items()}}


def choose(dataset: Dataset, trainer: _Trainer, seeds: Sequence[int]) -> dict[str, Any]:
    """Exploration, on seeds that nothing else uses."""
    rows: dict[str, list[dict[str, float | None]]] = {}
    for seed in (100 + seed for seed in seeds):
        trial = Trial.of(dataset, trainer, share=0.3, seed=seed)
        before = trial.frontier(trial.model.learner.snapshot())
        greedy = go_on_line(trial, silent, policy=POLICIES["greedy"]).frontier
        for name, policy in POLICIES.items():
            run = go_on_line(trial, refined, policy=policy)
            gain = gains(before, trial.frontier(run.snapshot))
            gain["on_the_way"] = gains(greedy, run.frontier)["mean_over_costs"]
            rows.setdefault(name, []).append(gain)
        print(f"seed {seed}", {k: round(v[-1]["mean_over_costs"] or 0, 4) for k, v in rows.items()}, flush=True)
    return {"gain_on_test_part_over_offline": {name: summary(runs) for name, runs in rows.items()}}


KINDS: dict[str, Teller] = {"none": silent, "refined": refined, "binary": binary}
PARTS = {"table": table, "scarce": scarce, "sources": sources, "treatments": treatments, "choose": choose}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    started = time.perf_counter()
    dataset = prepare(open_log(options.data), encoder=StaticEncoder.wordllama(), reference=options.reference)
    with one_thread():
        found = PARTS[options.part](dataset, _Trainer(), range(options.seeds))
    result = {
        "log": dataset.log.name,
        "reference": dataset.reference,
        "queries": len(dataset.log),
        "seeds": options.seeds,
        "policy": "see the rows" if options.part == "choose" else f"{POLICY.name}, scale {POLICY.scale:g}",
        "trade_offs": TRADE_OFFS,
        **found,
        "seconds": round(time.perf_counter() - started, 1),
    }
    command = f"python -m benchmarks.online_gains {options.part} --data {options.data.name} --seeds {options.seeds}"
    print(store(f"online_{options.part}_{dataset.log.name}", result, command=command).read_text())


if __name__ == "__main__":
    main()
