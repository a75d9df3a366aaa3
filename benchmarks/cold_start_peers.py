"""MixLLM with default settings and its peers from a cold start, on the same streams, with bandit feedback only.

MABWiser takes minutes for a stream, so it can play fewer seeds; MixLLM's lead over it is then over those.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.measuring import store
from mixllm.assembly import build_untrained_encoder
from mixllm.config import EncoderConfig, TagsConfig
from mixllm.evaluation import prepare
from mixllm.evaluation.results import Number
from mixllm.evaluation.simulation import SimulationResults, SimulationSettings, simulate
from mixllm.logs import open_log

_QUICK = (
    *("mixllm", "mixllm-offline", "epsilon-greedy:0.02", "epsilon-greedy"),
    *("paretobandit", "random", "best-single", "always-strongest", "oracle"),
)
_SLOW = ("mixllm", "mabwiser-linucb:0.1", "mabwiser-lints:0.1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of a routing log")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slow-seeds", type=int, default=3, help="seeds that MABWiser plays")
    parser.add_argument("--journal", type=Path, help="folder by which a stopped run goes on")
    arguments = parser.parse_args()
    dataset = prepare(open_log(arguments.data), encoder=build_untrained_encoder(EncoderConfig(), TagsConfig()))
    result: dict[str, Any] = {"log": dataset.log.name, "reference": dataset.reference, "trade_off": 1.4}
    for part, policies, seeds in (
        ("quick", _QUICK, arguments.seeds),
        ("mabwiser", _SLOW, arguments.slow_seeds),
    ):
        settings = SimulationSettings(policies=policies, seeds=seeds, out=arguments.journal)
        result[part] = {"seeds": seeds, **_table(simulate(dataset, settings))}
        # After each part, so that a stopped benchmark leaves what it has.
        path = store(
            f"cold_start_peers_{dataset.log.name}",
            result,
            command=f"python -m benchmarks.cold_start_peers --data {arguments.data.name}",
        )
        print(path.read_text(), flush=True)


def _table(results: SimulationResults) -> dict[str, Any]:
    return {
        "queries": results.queries,
        "policies": {
            name: {
                "reward": _number(policy.reward),
                "last_third_reward": _number(policy.last_third_reward),
                "seconds": _number(policy.seconds),
                "shares": policy.shares,
            }
            for name, policy in results.policies.items()
        },
        "lead": {
            name: {"reward": _number(lead.reward), "seeds_ahead": lead.seeds_ahead}
            for name, lead in results.lead.items()
        },
    }


def _number(number: Number) -> dict[str, float | None]:
    return {
        key: None if value is None else round(value, 2) for key, value in (("mean", number.mean), ("se", number.se))
    }


if __name__ == "__main__":
    main()
