"""A domain that training never saw (the paper's Table 3): what it costs, and what online learning gives back.

    python -m benchmarks.held_out_domain --data DIR --label task

For each value of the label and each seed, the domain's queries are halved. Five routers decide for the second half:
(i) trained with the first half and the other domains, (ii) trained without the domain and without the rule, (iii) the
same model with the rule for queries out of domain, (iv) that one after it has served the first half with bandit
feedback, through the router's own `route`, `record`, `feedback` and learning. (v) is (iv) without the rule, and with
judgements that count alike. A fifth of the other domains is kept for a look at queries from inside.

Quality is that of the reference LLM = 1, at the cost at which (i) has 97.25 % of it, and on average over 25 costs.
"""

from __future__ import annotations

import argparse
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from mixllm import Outcome, Query, Router
from mixllm.config import EncoderConfig, OutOfDomainConfig, PolicyConfig, RoutingConfig
from mixllm.decision import Forecasts, OutOfDomainRule
from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.evaluation.contender import Predictions
from mixllm.evaluation.frontier import Frontier, sweep
from mixllm.evaluation.metrics import TARGET
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.learning import Snapshot
from mixllm.learning.offline import MIXLLM, TrainedModel, TrainingSet, forecast_batch, train
from mixllm.logs import open_log
from mixllm.saved_router import SavedRouter
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_column
from mixllm.types import Estimate, Forecast

_ARMS = ("with", "without", "without_rule", "online", "online_plain")
_IN_FLIGHT = 16
"""Answers that are under way when the next query is decided."""

_KEPT_INSIDE = 5
_TRADE_OFF = 1.4
_LARGEST_TRADE_OFF = 1000.0
_COSTS = 25


class _RouterInStep(Router):
    """A router that learns when it is told to, and not in a thread beside it: a run can be repeated."""

    def _ensure_learning(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """Rows of one seed's split."""

    first_half: NDArray[np.intp]
    second_half: NDArray[np.intp]
    inside: NDArray[np.intp]
    others: NDArray[np.intp]


class _Bench:
    """A log, made ready."""

    def __init__(self, dataset: Dataset, encoder: StaticEncoder) -> None:
        assert dataset.label is not None, "prepare took one"
        self.dataset = dataset
        self.encoder = encoder
        self.token_ids = encoder.token_ids(dataset.texts)
        self.values = np.array(dataset.log.labels[dataset.label])
        self.reference = dataset.log.column(dataset.reference)

    def parts(self, domain: str, seed: int) -> _Parts:
        rng = np.random.default_rng([seed, zlib.crc32(domain.encode())])
        within = rng.permutation(np.flatnonzero(self.values == domain))
        without = rng.permutation(np.flatnonzero(self.values != domain))
        half, kept = len(within) // 2, len(without) // _KEPT_INSIDE
        return _Parts(first_half=within[:half], second_half=within[half:], inside=without[:kept], others=without[kept:])

    def train(self, rows: NDArray[np.intp], *, seed: int) -> tuple[TrainedModel, TagLabels]:
        rows, dataset = np.sort(rows), self.dataset
        log = dataset.log.select(rows)
        labels = labels_from_column(log.query_ids, log.labels[str(dataset.label)], source=str(dataset.label))
        data = TrainingSet.from_log(
            log,
            encodings=dataset.encodings[rows],
            token_ids=[self.token_ids[row] for row in rows],
            labels=labels,
            reference=dataset.reference,
        )
        return train(data, base=self.encoder, recipe=MIXLLM, rng=np.random.default_rng([seed, 1])), labels

    def features(self, model: TrainedModel, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        encodings = self.dataset.encodings[rows]
        if isinstance(model.encoder, LexicalEncoder):
            encodings = model.encoder.extend(encodings, [self.token_ids[row] for row in rows])
        return model.features_of(encodings)

    def believed(
        self, snapshot: Snapshot, features: NDArray[np.float32], rows: NDArray[np.intp], rule: OutOfDomainRule | None
    ) -> Predictions:
        """Return quality and cost as the decision takes them."""
        batch = forecast_batch(snapshot, features, self.dataset.tokens_in[rows])
        quality = batch.quality.copy()
        for row, z in enumerate(features):
            outside = snapshot.outside(z)
            if rule is None or outside is None:
                continue
            one = rule.widened(_forecasts(quality[row], batch.quality_std[row]), outside)
            quality[row] = (rule.safe(one) if rule.far(outside.score) else one).quality
        return Predictions(quality=quality, cost_usd=batch.cost_usd)

    def serve(
        self,
        model: TrainedModel,
        labels: TagLabels,
        rows: NDArray[np.intp],
        *,
        routing: RoutingConfig,
        weight: float | None,
        seed: int,
    ) -> tuple[Snapshot, list[float]]:
        """Let a router that starts from `model` serve `rows`; return what it knows then, and the scores it gave."""
        log = self.dataset.log
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            saved = SavedRouter.of_training(model, base=self.encoder, encoder=EncoderConfig(), labels=labels)
            recipe = dict(saved.learning.recipe)
            if weight is not None:
                recipe["outside_judgement_weight"] = weight
            replace(saved, routing=routing, learning=msgspec.structs.replace(saved.learning, recipe=recipe)).to_folder(
                folder
            )
            router = _RouterInStep.load(folder, seed=seed)
        scores: list[float] = []
        with router:
            for start in range(0, len(rows), _IN_FLIGHT):
                for row in rows[start : start + _IN_FLIGHT].tolist():
                    tokens_in = round(float(self.dataset.tokens_in[row]))
                    decision = router.route(Query(text=self.dataset.texts[row], tokens_in=tokens_in))
                    scores.append(decision.out_of_domain)
                    column = log.column(decision.llm)
                    router.record(decision.decision_id, self._outcome(row, column))
                    router.submit_feedback(decision.decision_id, quality=float(log.quality[row, column]))
                router.learn()
            return router.snapshot, scores

    def _outcome(self, row: int, column: int) -> Outcome:
        log = self.dataset.log
        known = {
            name: float(table[row, column])
            for name, table in (("cost_usd", log.cost_usd), ("latency_s", log.latency_s))
            if not np.isnan(table[row, column])
        }
        tokens = {
            name: round(float(table[row, column]))
            for name, table in (("tokens_in", log.tokens_in), ("tokens_out", log.tokens_out))
            if not np.isnan(table[row, column])
        }
        return Outcome(**known, **tokens)  # type: ignore[arg-type]

    def tuned(self, snapshot: Snapshot, model: TrainedModel, rows: NDArray[np.intp], *, unit: float) -> float:
        """Return the λ of least cost that reaches 97.25 % on held-out queries of the domains that are known."""
        predictions = self.believed(snapshot, self.features(model, rows), rows, None)
        found = {"quality": self.dataset.log.quality[rows], "cost_usd": self.dataset.log.cost_usd[rows]}
        points = sweep(predictions, **found, reference=self.reference, cost_unit=unit)
        return min(points.trade_off_for(TARGET), _LARGEST_TRADE_OFF)

    def frontier(self, predictions: Predictions, rows: NDArray[np.intp], *, unit: float) -> Frontier:
        log = self.dataset.log
        found = {"quality": log.quality[rows], "cost_usd": log.cost_usd[rows]}
        return sweep(predictions, **found, reference=self.reference, cost_unit=unit).hull()

    def reward(self, predictions: Predictions, rows: NDArray[np.intp], *, unit: float, trade_off: float) -> float:
        """Return the mean reward at a λ, as the decision would choose."""
        log, share = self.dataset.log, trade_off / (1 + trade_off)
        chosen = (share * predictions.quality - (1 - share) * predictions.cost_usd / unit).argmax(axis=1)
        return float((share * log.quality[rows, chosen] - (1 - share) * log.cost_usd[rows, chosen] / unit).mean())


def run(
    bench: _Bench,
    domain: str,
    seed: int,
    *,
    rule: OutOfDomainConfig,
    policy: PolicyConfig,
    trade_off: float | None,
) -> dict[str, Any]:
    """Return the figures of one domain and seed, served at λ `trade_off`, or at the one tuned on other domains."""
    parts = bench.parts(domain, seed)
    rows, log = parts.second_half, bench.dataset.log
    unit = float(log.cost_usd[parts.others, bench.reference].mean())
    whole, _ = bench.train(np.concatenate([parts.others, parts.first_half]), seed=seed)
    model, labels = bench.train(parts.others, seed=seed)
    active = OutOfDomainRule(**{name: getattr(rule, name) for name in OutOfDomainRule.__slots__})
    before = model.learner.snapshot()
    if trade_off is None:
        trade_off = bench.tuned(before, model, parts.inside, unit=unit)
    routing = RoutingConfig(trade_off=trade_off, wait_weight=0.0, policy=policy, out_of_domain=rule)
    plain = msgspec.structs.replace(routing, out_of_domain=OutOfDomainConfig(enabled=False))
    features = bench.features(model, rows)
    served, scores = bench.serve(model, labels, parts.first_half, routing=routing, weight=None, seed=seed)
    alike, _ = bench.serve(model, labels, parts.first_half, routing=plain, weight=1.0, seed=seed)
    believed = {
        "with": bench.believed(whole.learner.snapshot(), bench.features(whole, rows), rows, None),
        "without": bench.believed(before, features, rows, None),
        "without_rule": bench.believed(before, features, rows, active),
        "online": bench.believed(served, features, rows, active),
        "online_plain": bench.believed(alike, features, rows, None),
    }
    frontiers = {arm: bench.frontier(predictions, rows, unit=unit) for arm, predictions in believed.items()}
    figures: dict[str, Any] = {
        arm: _at_equal_cost(frontiers[arm], frontiers["with"], log.cost_usd[rows], bench.reference) for arm in _ARMS
    }
    for arm in _ARMS:
        figures[arm]["reward"] = bench.reward(believed[arm], rows, unit=unit, trade_off=trade_off)
    figures["trade_off"] = trade_off
    figures["inside"] = _inside(bench, before, served, model, parts, active, unit=unit)
    outside = _scores(before, features)
    figures["score"] = {
        "auroc": _auroc(figures["inside"].pop("scores"), outside),
        "outside_above_half": float((outside > 0.5).mean()),
        "outside_after": float((_scores(served, features) > 0.5).mean()),
        "first_16": float(np.mean(scores[:_IN_FLIGHT])),
        "last_16": float(np.mean(scores[-_IN_FLIGHT:])),
    }
    return figures


def _inside(
    bench: _Bench,
    before: Snapshot,
    served: Snapshot,
    model: TrainedModel,
    parts: _Parts,
    rule: OutOfDomainRule,
    *,
    unit: float,
) -> dict[str, Any]:
    """Return what the rule, and having served another domain, do to queries from inside."""
    rows = parts.inside
    features, costs = bench.features(model, rows), bench.dataset.log.cost_usd[rows]
    arms = {"off": (before, None), "rule": (before, rule), "after": (served, rule)}
    frontiers = {
        name: bench.frontier(bench.believed(snapshot, features, rows, heeded), rows, unit=unit)
        for name, (snapshot, heeded) in arms.items()
    }
    at = {
        name: _at_equal_cost(frontier, frontiers["off"], costs, bench.reference) for name, frontier in frontiers.items()
    }
    scores = _scores(before, features)
    return {
        "rule": {metric: at["rule"][metric] - at["off"][metric] for metric in at["off"]},
        "after": {metric: at["after"][metric] - at["off"][metric] for metric in at["off"]},
        "above_half": float((scores > 0.5).mean()),
        "scores": scores,
    }


def _at_equal_cost(
    frontier: Frontier, standard: Frontier, costs: NDArray[np.float64], reference: int
) -> dict[str, float]:
    cost = standard.cost_at(TARGET)
    cost = float(standard.cost[-1]) if cost is None else cost
    singles = costs.mean(axis=0) / costs.mean(axis=0)[reference]
    grid = np.geomspace(max(float(singles.min()), 1e-3), 1.0, _COSTS)
    corners = frontier.with_origin()
    return {"at_97_25": float(np.interp(cost, *corners)), "mean": float(np.interp(grid, *corners).mean())}


def _forecasts(quality: NDArray[np.float64], std: NDArray[np.float64]) -> Forecasts:
    some = Estimate(mean=0.0, std=0.0)
    rest = Forecast(quality=some, tokens_out=some, cost_usd=some, ttft_s=some, wait_s=0.0, latency_s=some)
    return replace(Forecasts.of([rest] * len(quality)), quality=quality, quality_std=std)


def _scores(snapshot: Snapshot, features: NDArray[np.float32]) -> NDArray[np.float64]:
    found = [snapshot.outside(row) for row in features]
    return np.array([0.0 if one is None else one.score for one in found])


def _auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    ordered = np.sort(inside)
    below, up_to = np.searchsorted(ordered, outside, "left"), np.searchsorted(ordered, outside, "right")
    return float((below + up_to).mean() / 2 / len(inside))


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard error of every figure over `runs`, and the drops against (i)."""

    def of(values: Sequence[float]) -> dict[str, float]:
        spread = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
        return {"mean": round(float(np.mean(values)), 4), "se": round(spread, 4)}

    def each(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {name: each([part[name] for part in parts]) for name in parts[0]}
        return of(parts)

    drops = {
        arm: {
            metric: of([one["with"][metric] - one[arm][metric] for one in runs])
            for metric in ("at_97_25", "mean", "reward")
        }
        for arm in _ARMS[1:]
    }
    return {"drop": drops, **each(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of a routing log")
    parser.add_argument("--label", help="column that names the domains; without it the first that looks so")
    parser.add_argument("--reference", help="LLM to compare with; without it the strongest")
    parser.add_argument("--domains", nargs="+", help="values of the label to hold out; without them all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rule", type=float, nargs=4, help="shrinkage, widening, threshold, pessimism")
    parser.add_argument("--tuned", action="store_true", help="serve at the λ that reaches 97.25 % on known domains")
    parser.add_argument("--dry", action="store_true", help="print, and store nothing")
    arguments = parser.parse_args()
    encoder = StaticEncoder.wordllama()
    dataset = prepare(open_log(arguments.data), encoder=encoder, label=arguments.label, reference=arguments.reference)
    bench = _Bench(dataset, encoder)
    rule = OutOfDomainConfig()
    if arguments.rule:
        rule = OutOfDomainConfig(**dict(zip(OutOfDomainRule.__slots__, arguments.rule, strict=True)))
    policy = PolicyConfig()
    trade_off = None if arguments.tuned else _TRADE_OFF
    runs: dict[str, list[dict[str, Any]]] = {}
    for domain in arguments.domains or sorted(set(bench.values.tolist())):
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            runs.setdefault(domain, []).append(run(bench, domain, seed, rule=rule, policy=policy, trade_off=trade_off))
        print(domain, summary(runs[domain])["drop"], flush=True)
    by_seed = [[of_domain[number] for of_domain in runs.values()] for number in range(arguments.seeds)]
    result = {
        "log": dataset.log.name,
        "reference": dataset.reference,
        "label": dataset.label,
        "seeds": arguments.seeds,
        "first_seed": arguments.first_seed,
        "trade_off": "tuned on held-out queries of the other domains" if arguments.tuned else _TRADE_OFF,
        "rule": msgspec.to_builtins(rule),
        "policy": policy.name,
        "all": summary([_mean(of_seed) for of_seed in by_seed]),
        "domains": {domain: summary(of_domain) for domain, of_domain in runs.items()},
    }
    print(
        result["all"]["drop"],
        result["all"]["inside"],
        result["all"]["score"],
    )
    if not arguments.dry:
        command = f"python -m benchmarks.held_out_domain --data {arguments.data.name} --seeds {arguments.seeds}"
        if arguments.tuned:
            command += f" --tuned --first-seed {arguments.first_seed}"
        name = f"held_out_domain_{dataset.log.name}" + ("_tuned" if arguments.tuned else "")
        print(store(name, result, command=command))


def _mean(runs: Sequence[Any]) -> Any:
    if isinstance(runs[0], dict):
        return {name: _mean([one[name] for one in runs]) for name in runs[0]}
    return float(np.mean(runs))


if __name__ == "__main__":
    main()
