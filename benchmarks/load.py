"""Routers under load: what is left of a frontier, of a pool at 1.5 times its capacity, of an LLM that slows down.

    python -m benchmarks.load frontier --data DIR/cascades --reference gpt-4o
    python -m benchmarks.load surge --data DIR/cascades --reference gpt-4o
    python -m benchmarks.load slow --data DIR/cascades --reference gpt-4o --base 0.3
    python -m benchmarks.load speed --data DIR/cascades --reference gpt-4o

docs/load.md says what load, capacity, service times and deadlines mean here. Seeds below 100 are for choosing settings;
what is reported begins with seed 100.

frontier
    MixLLM and the benchmark's routers at several λ under each load, and without the constraint of time. `kept` is
    MixLLM's quality under the constraint as a share of its own without, at equal cost: the two frontiers of a seed at
    20 costs, from where both have begun to the reference's. `fluid:oracle` is the best that any router could do
    under that load (all answers known, nobody waits), `fluid:mixllm` the same with MixLLM's predictions, judged by what
    is true.
surge
    At `--base` of the capacity, for a minute 1.5 times it. Recovered is from when on nobody is turned away for thirty
    seconds and waits are no longer than before (95 % quantile of the ten-second windows before, at least a second).
slow
    The LLM that MixLLM uses most becomes ten times slower for 100 s. Its share is compared with that in the same stream
    without, over 30 arrivals at a time. Lost is from when on the share is at most a quarter; back, three quarters.
speed
    Simulated over real time of MixLLM at the paper's rate of 10 queries a second, each text encoded anew; and over the
    process's own time, which does not count what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load_frontier import frontier
from benchmarks.load_stands import SERVERS, stands
from benchmarks.load_troubles import slow, surge
from benchmarks.measuring import store
from mixllm.assembly import build_encoder
from mixllm.config import EncoderConfig, RoutingConfig
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.load.endpoint import EndpointSpec
from mixllm.evaluation.load.loading import OURS, LoadSettings
from mixllm.evaluation.registry import ROUTERS, SINGLE
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.logs import open_log


def main() -> None:
    others = [name for name in ROUTERS if not name.startswith(OURS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("frontier", "surge", "slow", "speed"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference")
    parser.add_argument("--speeds", type=Path, help="llmperf's measurements, for a log without latencies")
    parser.add_argument("--arrivals", default="paper", choices=("paper", "poisson", "bursts"))
    parser.add_argument("--loads", type=float, nargs="+", default=[0.2, 0.4, 0.6, 0.8, 0.9])
    parser.add_argument("--base", type=float, default=0.6)
    parser.add_argument("--routers", nargs="+", default=[OURS, *others, SINGLE])
    parser.add_argument("--trade-off", type=float, default=3.0)
    parser.add_argument("--duration", type=float, default=240.0)
    parser.add_argument("--baseline-attempts", type=int, default=1)
    parser.add_argument("--untold", action="store_true", help="MixLLM has to find out how many calls an LLM serves")
    parser.add_argument("--routing", default="{}", help="changes of MixLLM's settings of routing, as JSON")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", help="name of the result; without it load_WHAT_LOG")
    arguments = parser.parse_args()
    dataset = prepare(open_log(arguments.data), encoder=build_encoder(EncoderConfig()), reference=arguments.reference)
    greedy = msgspec.convert({"policy": {"name": "greedy"}, **json.loads(arguments.routing)}, RoutingConfig)
    settings = LoadSettings(
        routing=greedy,
        arrivals=arguments.arrivals,
        endpoint=EndpointSpec(servers=SERVERS),
        duration_s=arguments.duration,
        tells_servers=not arguments.untold,
        baseline_attempts=arguments.baseline_attempts,
    )
    measure: dict[str, Callable[..., dict[str, Any]]] = {
        "frontier": frontier,
        "surge": surge,
        "slow": slow,
        "speed": _speed,
    }
    with one_thread():
        found = measure[arguments.what](dataset, settings, arguments)
    result = {
        "log": dataset.log.name,
        "reference": dataset.reference,
        "arrivals": arguments.arrivals,
        "servers": SERVERS,
        "deadline_s": settings.deadline_s,
        "duration_s": settings.duration_s,
        "told_servers": settings.tells_servers,
        "routing": json.loads(arguments.routing),
        "seeds": list(range(arguments.first_seed, arguments.first_seed + arguments.seeds)),
        **found,
    }
    command = f"python -m benchmarks.load {arguments.what} --data {arguments.data.name} --reference {dataset.reference}"
    print(store(arguments.out or f"load_{arguments.what}_{dataset.log.name}", result, command=command).read_text())


def _speed(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = replace(settings, remember=False, duration_s=120.0)
    arguments.seeds = min(arguments.seeds, 3)
    ratios, on_processor = [], []
    for stand in stands(dataset, arguments, [OURS]):
        world = stand.world(settings, rate_per_s=10.0, trace_s=None)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        stand.run(OURS, world, settings, trade_off=arguments.trade_off, bounded=True)
        ratios.append(settings.duration_s / (time.perf_counter() - began_s))
        on_processor.append(settings.duration_s / (time.process_time() - began_cpu_s))
        print(ratios[-1], on_processor[-1], flush=True)
    return {"rate_per_s": 10.0, "simulated_over_real": ratios, "simulated_over_processor_time": on_processor}


if __name__ == "__main__":
    main()
