"""How fast a new LLM gets the queries that it is right for: Llama 3.1 70B comes midway into a stream that never had it.

For each seed 40 % of the log trains two routers, one with all LLMs and one without the newcomer; the rest is the
stream, bandit feedback only, with the newcomer added after half of it, for 1,200 queries more. Two routers run on it:
one that starts from the training without the newcomer, 400 queries before it comes, and one that starts from nothing at
the beginning of the stream.

Right choice
    The newcomer is the right choice for the queries of those tasks in which its mean true reward over the whole log,
    λ/(1+λ)·q − c/(c_ref·(1+λ)), is the highest of all LLMs. (The LLM that turns out best on one query is no fair
    target: qualities are 0 or 1, and which of several good LLMs fails on a query nobody can foresee.)
What the offline router gives it
    Its share of the very same queries where the router that was trained with all LLMs decides, greedily at the same λ.
Exploration
    The newcomer's calls that were not the best-scored choice: what they cost, and how much forecast score they gave up.
    The worth of all that the newcomer changes is the true reward of the run less that of one that goes on without it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from benchmarks.streaming import RouterInStep, Run, World
from mixllm.clock import ManualClock
from mixllm.config import EncoderConfig, PolicyConfig, RoutingConfig
from mixllm.encoders import StaticEncoder
from mixllm.evaluation import prepare
from mixllm.evaluation.splits import Dataset
from mixllm.learning.offline import TrainingSet, train
from mixllm.logs import open_log
from mixllm.saved_router import SavedRouter
from mixllm.store import MemoryStore
from mixllm.tags.sources import labels_from_column
from mixllm.types import Query

_TRAINING_SHARE = 0.4
_WITHIN = 150
_AFTER = 1_200
_BEFORE_TRAINED = 400
_WINDOW = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    dataset: Dataset
    world: World
    encoder: StaticEncoder
    newcomer: str
    policy: PolicyConfig

    @property
    def routing(self) -> RoutingConfig:
        return RoutingConfig(
            trade_off=self.world.trade_off,
            reference_llm=self.dataset.reference,
            wait_weight=0.0,
            policy=self.policy,
        )

    def right(self) -> NDArray[np.bool_]:
        """Return for which queries the newcomer is the right choice, shape (n,)."""
        tasks = np.array(self.dataset.log.labels[self.dataset.label or ""])
        best = [
            task
            for task in np.unique(tasks)
            if self.world.reward[tasks == task].mean(axis=0).argmax() == self.dataset.log.column(self.newcomer)
        ]
        return np.isin(tasks, best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the log cascades")
    parser.add_argument("--newcomer", default="llama3.1-70b")
    parser.add_argument("--trade-off", type=float, default=4.0)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--starts", nargs="+", default=["trained", "cold"])
    parser.add_argument("--policy", help="routing.policy as JSON; the default is MixLLM's own")
    parser.add_argument("--out", default="new_llm_cascades", help="name of the result")
    arguments = parser.parse_args()
    policy = msgspec.json.decode(arguments.policy, type=PolicyConfig) if arguments.policy else PolicyConfig()
    encoder = StaticEncoder.wordllama()
    dataset = prepare(open_log(arguments.data), encoder=encoder)
    setting = _Setting(
        dataset=dataset,
        world=World(dataset=dataset, trade_off=arguments.trade_off),
        encoder=encoder,
        newcomer=arguments.newcomer,
        policy=policy,
    )
    runs: dict[str, list[dict[str, float]]] = {start: [] for start in arguments.starts}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for start, found in _seed(setting, seed, arguments.starts).items():
            runs[start].append(found)
            print(seed, start, {name: round(value, 4) for name, value in found.items()}, flush=True)
    result = {
        "log": dataset.log.name,
        "newcomer": arguments.newcomer,
        "lambda": arguments.trade_off,
        "policy": msgspec.to_builtins(policy),
        "right_for": round(float(setting.right().mean()), 4),
        "seeds": list(range(arguments.first_seed, arguments.first_seed + arguments.seeds)),
        "starts": {start: _summary(found) for start, found in runs.items()},
    }
    command = f"python -m benchmarks.new_llm --data {arguments.data.name} --trade-off {arguments.trade_off:g}"
    print(store(arguments.out, result, command=command).read_text())


def _seed(setting: _Setting, seed: int, starts: list[str]) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(setting.dataset.log))
    training, stream = np.split(order, [round(_TRAINING_SHARE * len(order))])
    before, after = np.array_split(stream, 2)
    after = after[:_AFTER]
    old = [llm for llm in setting.dataset.log.llms if llm != setting.newcomer]
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        _train(setting, training, list(setting.dataset.log.llms), seed, Path(scratch) / "all")
        offline = _offline_choices(setting, Path(scratch) / "all", after, seed)
        if "trained" in starts:
            _train(setting, training, old, seed, Path(scratch) / "old")
        for start in starts:
            began = before[-_BEFORE_TRAINED:] if start == "trained" else before
            run = _started(setting, start, Path(scratch) / "old", seed)
            run.route(began.tolist())
            without = _started(setting, start, Path(scratch) / "old", seed)
            without.router.adopt(run.router.learner.checkpoint())
            run.router.add_llm(next(spec for spec in setting.world.specs if spec.name == setting.newcomer))
            for one in (run, without):
                one.route(after.tolist())
                one.router.close()
            found[start] = _measured(setting, run, without, offline, after)
    return found


def _train(setting: _Setting, rows: NDArray[np.intp], llms: list[str], seed: int, folder: Path) -> None:
    log = setting.dataset.log.select(rows).select_llms(llms)
    label = setting.dataset.label or ""
    labels = labels_from_column(log.query_ids, log.labels[label], source=label)
    data = TrainingSet.from_log(
        log,
        encodings=setting.dataset.encodings[rows],
        token_ids=setting.encoder.token_ids([setting.dataset.texts[row] for row in rows.tolist()]),
        labels=labels,
        reference=setting.dataset.reference,
    )
    model = train(data, base=setting.encoder, rng=np.random.default_rng([seed, len(llms)]))
    saved = SavedRouter.of_training(model, base=setting.encoder, encoder=EncoderConfig(), labels=labels)
    replace(saved, routing=setting.routing).to_folder(folder)


def _offline_choices(setting: _Setting, folder: Path, rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    saved = SavedRouter.from_folder(folder)
    greedy = replace(setting, policy=PolicyConfig(name="greedy")).routing
    replace(saved, routing=greedy).to_folder(folder)
    router = RouterInStep.load(folder, seed=seed)
    choices = []
    for row in rows.tolist():
        query = Query(text=setting.dataset.texts[row], tokens_in=round(float(setting.dataset.tokens_in[row])))
        choices.append(setting.dataset.log.column(router.route(query, expect_outcome=False).llm))
    router.close()
    return np.array(choices)


def _started(setting: _Setting, start: str, folder: Path, seed: int) -> Run:
    specs = [spec for spec in setting.world.specs if spec.name != setting.newcomer]
    clock = ManualClock()
    if start == "trained":
        router = RouterInStep.load(folder, seed=seed)
        router.clock = clock
    else:
        router = RouterInStep(llms=specs, routing=setting.routing, store=MemoryStore(), clock=clock, seed=seed)
    return Run(router=router, clock=clock, world=setting.world, quality=setting.dataset.log.quality)


def _measured(
    setting: _Setting,
    run: Run,
    without: Run,
    offline: NDArray[np.intp],
    after: NDArray[np.intp],
) -> dict[str, float]:
    new = setting.dataset.log.column(setting.newcomer)
    columns = np.array(run.columns[-len(after) :])
    right = np.flatnonzero(setting.right()[after])
    shares = {
        "within": right[:_WITHIN],
        "at": right[_WITHIN - _WINDOW : _WITHIN],
        "later": right[_WITHIN:],
    }
    measured: dict[str, float] = {}
    for name, rows in shares.items():
        measured[f"share_{name}"] = float((columns[rows] == new).mean())
        measured[f"offline_share_{name}"] = float((offline[rows] == new).mean())
        measured[f"ratio_{name}"] = measured[f"share_{name}"] / max(measured[f"offline_share_{name}"], 1e-9)
    elsewhere = np.flatnonzero(~setting.right()[after])
    measured["share_elsewhere"] = float((columns[elsewhere] == new).mean())
    measured["offline_share_elsewhere"] = float((offline[elsewhere] == new).mean())
    measured["queries_until_150"] = float(right[_WITHIN - 1] + 1)
    measured |= _exploration(setting, run, new, after)
    rewards = [
        float(setting.world.reward[after, np.array(one.columns[-len(after) :])].mean()) for one in (run, without)
    ]
    measured["reward_per_query"], measured["reward_per_query_without"] = rewards
    measured["reward_per_query_offline"] = float(setting.world.reward[after, offline].mean())
    return measured


def _exploration(setting: _Setting, run: Run, new: int, after: NDArray[np.intp]) -> dict[str, float]:
    """Return what the newcomer's calls cost that were not the best-scored choice."""
    costs, given_up, calls = 0.0, 0.0, 0
    for decision, row in zip(run.decisions[-len(after) :], after.tolist(), strict=True):
        if decision.llm != setting.newcomer:
            continue
        gap = max(one.score for one in decision.candidates) - decision.chosen.score
        if gap > 0:
            calls += 1
            costs += float(setting.dataset.log.cost_usd[row, new])
            given_up += gap
    spent = setting.dataset.log.cost_usd[after, np.array(run.columns[-len(after) :])].sum()
    return {
        "explored_calls": float(calls),
        "explored_usd": costs,
        "explored_share_of_spend": costs / float(spent),
        "explored_score_given_up": given_up,
    }


def _summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    table = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    return {
        "reached": int((table["ratio_at"] >= 0.8).sum()),
        "of": len(runs),
        **{
            name: {
                "mean": round(float(values.mean()), 5),
                "se": round(float(values.std(ddof=1) / np.sqrt(len(values))), 5) if len(values) > 1 else None,
                "min": round(float(values.min()), 5),
                "max": round(float(values.max()), 5),
            }
            for name, values in table.items()
        },
    }


if __name__ == "__main__":
    main()
