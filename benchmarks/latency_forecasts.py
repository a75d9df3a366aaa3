"""Predicted against recorded latency: a routing log's calls, in shuffled order, each forecast before it is learned.

Every LLM answers every query, plainly and without waiting, as the log recorded it. Forecasts are those of the snapshot
that the router would have had, renewed every `--batch` queries; the first `--warm-up` queries teach and do not count.
Reported for each LLM and over all: the median relative error of the latency, as forecast and for an answer whose
length is known, and how often the 90 % interval and the 95 % tail held.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from mixllm.assembly import build_features, build_untrained_encoder
from mixllm.config import EncoderConfig, TagsConfig
from mixllm.interfaces import FloatArray
from mixllm.learning import Learner, Snapshot
from mixllm.logs import RoutingLog, read_log
from mixllm.playback import AnswerBook
from mixllm.types import LearningEvent, LLMSpec, Outcome

_TAIL = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of a routing log with latencies")
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--warm-up", type=int, default=300)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--no-store", action="store_true", help="print only")
    arguments = parser.parse_args()
    log = read_log(arguments.data)
    runs = [
        _run(log, queries=arguments.queries, warm_up=arguments.warm_up, batch=arguments.batch, seed=seed)
        for seed in arguments.seeds
    ]
    result: dict[str, Any] = {
        "log": log.name,
        "queries": arguments.queries,
        "warm_up": arguments.warm_up,
        "seeds": arguments.seeds,
        "llms": {llm: _summary([run[:, row] for run in runs]) for row, llm in enumerate(log.llms)},
        "all": _summary([run.reshape(-1, run.shape[2]) for run in runs]),
    }
    if arguments.no_store:
        print(result["all"], {llm: part["median_error"] for llm, part in result["llms"].items()})
        return
    path = store(
        f"latency_forecasts_{log.name}",
        result,
        command=f"python -m benchmarks.latency_forecasts --data {arguments.data.name}",
    )
    print(path.read_text())


def _run(log: RoutingLog, *, queries: int, warm_up: int, batch: int, seed: int) -> NDArray[np.float64]:
    """Return measured and forecast times, shape (n, K, 6), of the queries after the warm-up."""
    encoder = build_untrained_encoder(EncoderConfig(), TagsConfig())
    features = build_features(TagsConfig(), encoder)
    book = AnswerBook(log=log)
    specs = [LLMSpec(name=llm, price=book.price(llm)) for llm in log.llms]
    learner = Learner(features=features, encoding_dimension=encoder.dimension, specs=specs)
    snapshot = learner.snapshot()
    rows: list[NDArray[np.float64]] = []
    for place, row in enumerate(np.random.default_rng(seed).permutation(len(log))[:queries].tolist()):
        if place % batch == 0:
            snapshot = learner.snapshot()
        encoding = encoder.encode(log.prompts[row])
        if place >= warm_up:
            rows.append(_compared(log, row, snapshot, features.features(encoding)))
        learner.learn(_events(log, row, place * len(specs) + 1, encoding))
    return np.array(rows)


def _tokens_in(log: RoutingLog, row: int) -> int:
    """Return the prompt's length as a router would estimate it: the LLMs' own counts are known only afterwards."""
    return max(1, len(log.prompts[row]) // 4)


def _events(log: RoutingLog, row: int, first: int, encoding: FloatArray) -> list[LearningEvent]:
    return [
        LearningEvent(
            seq=first + column,
            decision_id=str(first + column),
            llm=llm,
            encoding=encoding.astype("<f4").tobytes(),
            tokens_in=_tokens_in(log, row),
            outcome=Outcome(
                llm=llm,
                tokens_out=int(log.tokens_out[row, column]),
                cost_usd=float(log.cost_usd[row, column]),
                latency_s=float(log.latency_s[row, column]),
            ),
            created_at_s=float(first),
        )
        for column, llm in enumerate(log.llms)
    ]


def _compared(log: RoutingLog, row: int, snapshot: Snapshot, z: FloatArray) -> NDArray[np.float64]:
    """Return recorded latency, forecast, forecast at the true length, low, high and tail of each LLM, shape (K, 6)."""
    tokens_in = _tokens_in(log, row)
    made = snapshot.forecasts(z, tokens_in=tokens_in, tail=_TAIL)
    pace = np.ones(len(log.llms)) if snapshot.pace is None else snapshot.pace.predict(z)
    known = [
        latency.latency_s(float(log.tokens_out[row, column]), tokens_in=tokens_in).mean
        for column, latency in enumerate(snapshot.latency)
    ]
    return np.stack(
        [
            log.latency_s[row],
            made.latency_s,
            np.array(known) * pace,
            made.latency_low_s,
            made.latency_high_s,
            made.latency_tail_s,
        ],
        axis=1,
    )


def _summary(runs: list[NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    figures = [_figures(run) for run in runs]
    return {
        name: {
            "mean": round(float(np.mean([one[name] for one in figures])), 4),
            "std_over_seeds": round(float(np.std([one[name] for one in figures])), 4),
        }
        for name in figures[0]
    }


def _figures(times: NDArray[np.float64]) -> dict[str, float]:
    measured, forecast, known, low, high, tail = times.T
    return {
        "median_error": float(np.median(np.abs(forecast - measured) / measured)),
        "median_error_of_known_length": float(np.median(np.abs(known - measured) / measured)),
        "coverage_90": float(np.mean((low <= measured) & (measured <= high))),
        "held_by_tail_95": float(np.mean(measured <= tail)),
    }


if __name__ == "__main__":
    main()
