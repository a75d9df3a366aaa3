"""The library's own time: import, text to decision, one update, one snapshot.

    python -m benchmarks.library [--model DIR]

With a model folder of `mixllm train`, text to decision is measured for it too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from benchmarks.measuring import store, summary_ms, times_s
from mixllm import LLMSpec, MemoryStore, Outcome, Price, Query, Router
from mixllm.types import Feedback, FeedbackKind, LearningEvent

_LLMS = 11
_SENTENCE = (
    "A patient of sixty years has fever cough and chest pain since three days which drug should the doctor give first "
    "and why does it work against the bacteria that cause pneumonia in older people"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder that mixllm train wrote")
    model = parser.parse_args().model
    router = _trained_router()
    result: dict[str, Any] = {"import_s": _import_s(), "llms": _LLMS, "text_to_decision_ms": _decisions(router)}
    if model is not None:
        with Router.load(model, store=MemoryStore(max_decisions=1000), seed=0) as trained:
            result["trained_model"] = {
                "llms": len(trained.llms),
                "features": trained.features.dimension,
                "text_to_decision_ms": _decisions(trained),
                "parts_ms": _parts(trained),
                "35 words, in turns with the untrained router, ms": _in_turns(trained, router),
            }
    result["parts_ms"] = _parts(router)
    result["update_ms"] = _updates(router)
    result["snapshot_ms"] = summary_ms(_snapshots(router))
    router.close()
    path = store("library", result, command="python -m benchmarks.library")
    print(path.read_text())


def _decisions(router: Router) -> dict[str, dict[str, float]]:
    found = {}
    for words in (10, 35, 350):
        texts = iter(_texts(words, count=3000))
        query_times = times_s(lambda texts=texts: router.route(Query(text=next(texts))), repeats=2000)  # type: ignore[misc]
        found[f"{words} words"] = summary_ms(query_times)
    return found


def _in_turns(trained: Router, untrained: Router) -> dict[str, dict[str, float]]:
    """Measure both in blocks of 250 queries, one after the other: a slow spell of the machine hits both."""
    texts = iter(_texts(35, count=20_000))
    found: dict[str, list[float]] = {"trained": [], "untrained": []}
    for _ in range(24):
        for name, router in (("trained", trained), ("untrained", untrained)):
            for _ in range(250):
                query = Query(text=next(texts))
                started_s = time.perf_counter()
                router.route(query)
                found[name].append(time.perf_counter() - started_s)
    return {name: summary_ms(times) for name, times in found.items()}


def _import_s() -> dict[str, float]:
    measured = []
    for _ in range(10):
        started_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import mixllm"], check=True)
        whole_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        measured.append(whole_s - (time.perf_counter() - started_s))
    return {"p50": round(float(np.median(measured)), 4), "n": len(measured)}


def _trained_router() -> Router:
    rng = np.random.default_rng(0)
    llms = [
        LLMSpec(
            name=f"llm-{row}",
            price=Price(usd_per_million_tokens_in=0.1 * 1.5**row, usd_per_million_tokens_out=0.4 * 1.5**row),
        )
        for row in range(_LLMS)
    ]
    router = Router(llms=llms, store=MemoryStore(max_decisions=1000), seed=0)
    for text in _texts(20, count=600):
        decision = router.route(text)
        router.record(decision.decision_id, Outcome(tokens_in=30, tokens_out=int(rng.integers(5, 400)), latency_s=1.0))
        router.feedback(decision.decision_id, quality=float(rng.random()))
    router.learn()
    return router


def _texts(words: int, *, count: int) -> list[str]:
    rng = np.random.default_rng(words)
    return [" ".join(rng.choice(_SENTENCE.split(), words)) for _ in range(count)]


def _parts(router: Router) -> dict[str, dict[str, float]]:
    text = _texts(35, count=1)[0]
    encoding = router.encoder.encode(text)
    features = router.features.features(encoding)
    return {
        "encode": summary_ms(times_s(lambda: router.encoder.encode(text), repeats=2000)),
        "features": summary_ms(times_s(lambda: router.features.features(encoding), repeats=2000)),
        "forecasts": summary_ms(times_s(lambda: router.snapshot.forecasts(features, tokens_in=40), repeats=2000)),
        "out of domain": summary_ms(times_s(lambda: router.snapshot.outside(features), repeats=2000)),
    }


def _snapshots(router: Router) -> list[float]:
    """Return how long snapshots took, each after a judgement and an answer of a random LLM: the rest is taken over."""
    encoding = router.encoder.encode(_texts(35, count=1)[0]).astype("<f4").tobytes()
    rng = np.random.default_rng(1)
    measured = []
    for _ in range(200):
        seq, llm = router.learner.position + 1, f"llm-{int(rng.integers(_LLMS))}"
        about = LearningEvent(seq=seq, decision_id="d", llm=llm, encoding=encoding, tokens_in=40)
        feedback = Feedback(feedback_id="f", decision_id="d", kind=FeedbackKind.REFINED, value=0.5)
        outcome = Outcome(tokens_in=40, tokens_out=100, latency_s=1.0, ttft_s=0.2)
        router.learner.learn([replace(about, feedback=feedback), replace(about, seq=seq + 1, outcome=outcome)])
        started_s = time.perf_counter()
        router.learner.snapshot()
        measured.append(time.perf_counter() - started_s)
    return measured


def _updates(router: Router) -> dict[str, dict[str, float]]:
    encoding = router.encoder.encode(_texts(35, count=1)[0]).astype("<f4").tobytes()
    position = router.learner.position

    def event(*, outcome: Outcome | None = None, feedback: Feedback | None = None) -> LearningEvent:
        nonlocal position
        position += 1
        return LearningEvent(
            seq=position,
            decision_id="d",
            llm="llm-3",
            encoding=encoding,
            tokens_in=40,
            outcome=outcome,
            feedback=feedback,
        )

    outcome = Outcome(tokens_in=40, tokens_out=100, latency_s=1.0, ttft_s=0.2)
    feedback = Feedback(feedback_id="f", decision_id="d", kind=FeedbackKind.REFINED, value=0.5)
    return {
        "outcome": summary_ms(times_s(lambda: router.learner.learn([event(outcome=outcome)]), repeats=2000)),
        "feedback": summary_ms(times_s(lambda: router.learner.learn([event(feedback=feedback)]), repeats=2000)),
    }


if __name__ == "__main__":
    main()
