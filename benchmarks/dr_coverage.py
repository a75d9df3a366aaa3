"""How often 95 % intervals of off-policy estimates hold the truth, on simulated logs whose truth is known.

    python -m benchmarks.dr_coverage

The world is that of the tests: three LLMs whose quality and cost depend on the query, a router that believes something
shifted and flattened, and a logging policy that tries things. Each log has 600 decisions; asked about is a policy of
another λ. Blocks of 200 logs with seeds of their own show how much a coverage of 200 varies by chance alone (at 95 %:
1.5 points).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from tests.evaluation.offpolicy.planted import log_of, target_of, truth

from benchmarks.measuring import store
from mixllm.evaluation.offpolicy import ESTIMATORS, Sample, sample_of
from mixllm.evaluation.offpolicy.direct import cross_fitted_ridge
from mixllm.evaluation.offpolicy.intervals import normal_interval, percentile_interval, resampled, standard_error

_LEVEL = 0.95
_SELDOM = np.array([0.9, 0.4, 0.7])
_SCENARIOS = {
    "squarecb": ("squarecb", None, False),
    "squarecb, some judged": ("squarecb", _SELDOM, False),
    "squarecb, ridge": ("squarecb", None, True),
    "epsilon 0.3": ("soft", None, False),
    "epsilon 0.3, some judged": ("soft", _SELDOM, False),
}
"""Logging policy, share of the answers of each LLM that are judged, and whether the direct model is a ridge."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--decisions", type=int, default=600)
    parser.add_argument("--replicates", type=int, default=400)
    arguments = parser.parse_args()
    result = {
        "level": _LEVEL,
        "logs": arguments.logs,
        "blocks": arguments.blocks,
        "decisions": arguments.decisions,
        "replicates": arguments.replicates,
        "coverage": {
            name: _scenario(
                name,
                blocks=arguments.blocks,
                logs=arguments.logs,
                decisions=arguments.decisions,
                replicates=arguments.replicates,
            )
            for name in _SCENARIOS
        },
    }
    print(store("dr_coverage", result, command="python -m benchmarks.dr_coverage").read_text())


def _scenario(name: str, *, blocks: int, logs: int, decisions: int, replicates: int) -> dict[str, Any]:
    """Return the coverage of each estimator and kind of interval, block by block."""
    expected, _ = truth()
    found: dict[str, list[float]] = {}
    for block in range(blocks):
        held: dict[str, int] = {}
        for number in range(logs):
            sample = _sample(name, decisions=decisions, seed=[block, number])
            for key, (low, high) in _intervals(sample, replicates=replicates, seed=[block, number, 1]).items():
                held[key] = held.get(key, 0) + int(low <= expected <= high)
        for key, count in held.items():
            found.setdefault(key, []).append(round(count / logs, 4))
    return {key: {"mean": round(float(np.mean(shares)), 4), "blocks": shares} for key, shares in found.items()}


def _sample(name: str, *, decisions: int, seed: list[int]) -> Sample:
    logging, judged, ridge = _SCENARIOS[name]
    rng = np.random.default_rng(seed)
    log, contexts = log_of(rng, decisions=decisions, logging=logging, judged=judged)
    direct = cross_fitted_ridge(log, log.quality, rng=rng) if ridge else log.quality_mean
    return sample_of(log, target=target_of(contexts), rewards=log.quality, direct=direct)


def _intervals(sample: Sample, *, replicates: int, seed: list[int]) -> dict[str, tuple[float, float]]:
    ratios = {name: estimate(sample) for name, estimate in ESTIMATORS.items()}
    drawn = resampled(list(ratios.values()), replicates=replicates, rng=np.random.default_rng(seed))
    intervals = {}
    for column, (name, ratio) in enumerate(ratios.items()):
        intervals[f"{name} normal"] = normal_interval(ratio.value, standard_error(ratio.influence), level=_LEVEL)
        intervals[f"{name} bootstrap"] = percentile_interval(drawn[:, column], level=_LEVEL)
    return intervals


if __name__ == "__main__":
    main()
