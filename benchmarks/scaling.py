"""Decisions and updates beside ParetoBandit's, by the number of LLMs and of features, and end to end from text.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.scaling [--minilm DIR] [--figure FILE]

Both take turns, in short blocks, so that a slow spell of the machine hits both; beside the time that passed there is
the processor's own, which other programs do not lengthen. Ratios are of the latter. ``--minilm`` is a local folder of
all-MiniLM-L6-v2 for sentence-transformers, the encoder that ParetoBandit takes text with; without it only MixLLM's own
encoder is given to both. Needs the packages of ``mixllm[bench]`` and, for MiniLM, sentence-transformers.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store, summary_ms
from mixllm import LLMSpec, MemoryStore, Outcome, Price, Query, Router
from mixllm.clock import SystemClock
from mixllm.decision import DecisionMaker, ScoreWeights, UCBPolicy
from mixllm.interfaces import FloatArray
from mixllm.learning import Learner
from mixllm.registry import priced
from mixllm.router import RouterCore
from mixllm.types import Feedback, FeedbackKind, LearningEvent

_POOLS = (2, 5, 11, 50, 200, 1000)
_DIMENSIONS = (16, 32, 64, 128, 256)
_POOL, _DIMENSION = 11, 64
_TAGS = 8
_TEACHING = 4
_BLOCK = 10
_SENTENCE = (
    "A patient of sixty years has fever cough and chest pain since three days which drug should the doctor give first "
    "and why does it work against the bacteria that cause pneumonia in older people"
)

Vector = NDArray[np.float32]


class _Given:
    """Encoder and feature map of vectors that are already there: text ``"7"`` is row 7."""

    def __init__(self, rows: Vector) -> None:
        self.rows = rows
        self.dimension = rows.shape[1]
        self.fingerprint = "given"
        self.tags = tuple(f"tag-{number}" for number in range(_TAGS))
        self.blocking = False

    def encode(self, text: str) -> Vector:
        row: Vector = self.rows[int(text)]
        return row

    def encode_batch(self, texts: Sequence[str]) -> Vector:
        return self.rows[[int(text) for text in texts]]

    def features(self, encoding: FloatArray) -> Vector:
        return np.asarray(encoding, np.float32)


class _Ours:
    """MixLLM on given vectors, K LLMs and D features, each LLM with some judgements and answers."""

    def __init__(self, specs: Sequence[LLMSpec], rows: Vector) -> None:
        given = _Given(rows)
        self.rng = np.random.default_rng(1)
        self.rows = rows
        self.seq = 0
        self.learner = Learner(features=given, encoding_dimension=rows.shape[1], specs=specs)
        for spec in specs:
            for _ in range(_TEACHING):
                self.learner.learn([self.judgement(spec.name), self.answer(spec.name)])
        self.router = RouterCore(
            encoder=given,
            features=given,
            learner=self.learner,
            maker=DecisionMaker(weights=ScoreWeights(), policy=UCBPolicy()),
            store=MemoryStore(max_decisions=1000),
            clock=SystemClock(),
            rng=np.random.default_rng(0),
            price=priced,
        )

    def judgement(self, llm: str) -> LearningEvent:
        quality = float(self.rng.random())
        return self._event(
            llm, feedback=Feedback(feedback_id="f", decision_id="d", kind=FeedbackKind.REFINED, value=quality)
        )

    def answer(self, llm: str) -> LearningEvent:
        tokens_out = int(self.rng.integers(5, 400))
        return self._event(llm, outcome=Outcome(tokens_in=40, tokens_out=tokens_out, latency_s=1.0, cost_usd=1e-4))

    def publish(self) -> None:
        self.router.worker.publish(self.learner.snapshot())

    def decide(self, row: int) -> None:
        self.router.route(Query(text=str(row)), expect_outcome=False)

    def _event(self, llm: str, **what: Any) -> LearningEvent:
        self.seq += 1
        row = self.rows[self.seq % len(self.rows)].astype("<f4").tobytes()
        return LearningEvent(seq=self.seq, decision_id="d", llm=llm, encoding=row, tokens_in=40, **what)


class _Theirs:
    """ParetoBandit on the same vectors, taught as often."""

    def __init__(self, specs: Sequence[LLMSpec], rows: Vector) -> None:
        from pareto_bandit.feature_service import FeatureService

        self.bandit = _bandit(specs, FeatureService.for_precomputed(rows.shape[1]))
        self.rows = rows.astype(np.float64)
        self.rng = np.random.default_rng(1)
        for number in range(min(400, _TEACHING * len(specs))):  # How much it knows does not change its times.
            self.update(self.decide(number % len(rows)))

    def decide(self, row: int) -> str:
        _, log = self.bandit.route(self.rows[row], input_tokens=40)
        return str(log.request_id)

    def update(self, request_id: str) -> None:
        self.bandit.process_feedback(request_id, reward=float(self.rng.random()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", type=Path, help="local folder of all-MiniLM-L6-v2")
    parser.add_argument("--figure", type=Path, default=Path("docs/scaling.svg"))
    options = parser.parse_args()
    result: dict[str, Any] = {
        "by_llms": {str(count): _cell(count, _DIMENSION) for count in _POOLS},
        "by_features": {str(size): _cell(_POOL, size) for size in _DIMENSIONS},
        "end_to_end": _end_to_end(options.minilm),
        "memory_per_llm_kib": {str(size): _memory_per_llm(size) for size in (*_DIMENSIONS, 81)},
    }
    print(store("scaling", result, command="python -m benchmarks.scaling --minilm DIR").read_text())
    _draw(result, options.figure)


def _cell(count: int, size: int) -> dict[str, Any]:
    """Measure K = `count` LLMs and D = `size` features."""
    specs, rows = _specs(count), _rows(size)
    ours, theirs = _Ours(specs, rows), _Theirs(specs, rows)
    rng = np.random.default_rng(2)
    times = {
        name: _Times()
        for name in (
            "mixllm_decision",
            "paretobandit_decision",
            "mixllm_update",
            "mixllm_answer",
            "paretobandit_update",
        )
    }
    snapshots = _Times()
    gc.collect()
    blocks = 30 if count <= 200 else 12
    for _ in range(blocks):
        chosen = rng.integers(0, len(rows), _BLOCK).tolist()
        for row in chosen:
            times["mixllm_decision"].of(ours.decide, row)
        requests = [times["paretobandit_decision"].of(theirs.decide, row) for row in chosen]
        names = [specs[int(place)].name for place in rng.integers(0, count, _BLOCK)]
        for name in names:
            times["mixllm_update"].of(ours.learner.learn, [ours.judgement(name)])
        for name in names:
            times["mixllm_answer"].of(ours.learner.learn, [ours.answer(name)])
        for request in requests:
            times["paretobandit_update"].of(theirs.update, request)
        snapshots.of(ours.publish)
    found: dict[str, Any] = {f"{name}_ms": measured.summary() for name, measured in times.items()}
    found["mixllm_snapshot_ms"] = snapshots.summary()
    found["decision_ratio"] = times["paretobandit_decision"].over(times["mixllm_decision"])
    found["update_ratio"] = times["paretobandit_update"].over(times["mixllm_update"])
    ours.router.close()
    print(f"K={count} D={size}: {found}", flush=True)
    return found


def _end_to_end(minilm: Path | None) -> dict[str, Any]:
    """Measure text to decision with 11 LLMs: MixLLM as it comes, ParetoBandit with its encoder and with MixLLM's."""
    from pareto_bandit.feature_service import FeatureService

    specs = _specs(_POOL)
    router = Router(llms=specs, store=MemoryStore(max_decisions=1000), seed=0)
    static = FeatureService(custom_encoder=router.encoder.encode, embedding_dim=router.encoder.dimension)
    players: dict[str, Callable[[str], object]] = {
        "mixllm": lambda text: router.route(text, expect_outcome=False),
        "paretobandit, MixLLM's encoder": _taught(_bandit(specs, static)),
    }
    features = {"mixllm": router.features.dimension, "paretobandit, MixLLM's encoder": static.dimension}
    if minilm is not None:
        from sentence_transformers import SentenceTransformer

        own = FeatureService()
        own._encoder = SentenceTransformer(str(minilm), device="cpu")  # noqa: SLF001 -- its name would be looked up at a hub
        players["paretobandit, its own encoder"] = _taught(_bandit(specs, own))
        features["paretobandit, its own encoder"] = own.dimension
    found: dict[str, Any] = {"features": features}
    for words in (10, 35, 350):
        rng = np.random.default_rng(words)
        times = {name: _Times() for name in players}
        for block in range(21):
            texts = [" ".join(rng.choice(_SENTENCE.split(), words)) for _ in range(_BLOCK)]
            for name, decide in players.items():
                for text in texts:
                    (times[name] if block else _Times()).of(decide, text)
        found[f"{words} words"] = {
            **{f"{name}_ms": measured.summary() for name, measured in times.items()},
            "ratio": {name: measured.over(times["mixllm"]) for name, measured in times.items() if name != "mixllm"},
        }
        print(f"{words} words: {found[f'{words} words']}", flush=True)
    router.close()
    return found


def _memory_per_llm(size: int) -> dict[str, float]:
    """Return what one more LLM takes: the difference between 50 and 10 of them, traced."""
    rows = _rows(size)

    def traced_kib(count: int) -> tuple[float, float, float]:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        learner = Learner(features=_Given(rows), encoding_dimension=size, specs=_specs(count))
        learned = tracemalloc.get_traced_memory()[0]
        snapshot = learner.snapshot()
        frozen = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(snapshot.specs) == count
        return (learned - before) / 1024, (frozen - learned) / 1024, len(learner.checkpoint().to_bytes()) / 1024

    few, many = traced_kib(10), traced_kib(50)
    learner, snapshot, saved = ((after - before) / 40 for before, after in zip(few, many, strict=True))
    return {"learner": round(learner, 1), "snapshot": round(snapshot, 1), "checkpoint": round(saved, 1)}


def _bandit(specs: Sequence[LLMSpec], features: Any) -> Any:
    from pareto_bandit import BanditRouter

    pricing = {
        spec.name: {
            "input_cost_per_m": spec.price.usd_per_million_tokens_in,
            "output_cost_per_m": spec.price.usd_per_million_tokens_out,
        }
        for spec in specs
        if spec.price is not None
    }
    return BanditRouter.create(model_registry=pricing, priors="none", feature_service=features, bandit_seed=0)


def _taught(bandit: Any) -> Callable[[str], object]:
    rng = np.random.default_rng(3)
    for _ in range(_TEACHING * _POOL):
        _, log = bandit.route(" ".join(rng.choice(_SENTENCE.split(), 20)))
        bandit.process_feedback(log.request_id, reward=float(rng.random()))
    decide: Callable[[str], object] = bandit.route
    return decide


def _specs(count: int) -> tuple[LLMSpec, ...]:
    """Return `count` LLMs between 0.1 and 10 USD per million prompt tokens."""
    usd = np.geomspace(0.1, 10.0, count).tolist()
    return tuple(
        LLMSpec(name=f"llm-{row}", price=Price(usd_per_million_tokens_in=each, usd_per_million_tokens_out=4 * each))
        for row, each in enumerate(usd)
    )


def _rows(size: int) -> Vector:
    """Return 200 vectors as features are: shares of tags, a vector of length 1, and the constant."""
    rng = np.random.default_rng(size)
    shares = rng.dirichlet(np.ones(_TAGS), 200)
    rest = rng.normal(size=(200, size - _TAGS - 1))
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    rows: Vector = np.hstack([shares, rest, np.ones((200, 1))]).astype(np.float32)
    return rows


class _Times:
    """Times of one thing: what passed, and what the processor worked."""

    def __init__(self) -> None:
        self.passed_s: list[float] = []
        self.worked_s: list[float] = []

    def of(self, call: Callable[..., Any], *given: Any) -> Any:
        """Call, and keep how long it took."""
        passed_s, worked_s = time.perf_counter(), time.process_time()
        result = call(*given)
        self.worked_s.append(time.process_time() - worked_s)
        self.passed_s.append(time.perf_counter() - passed_s)
        return result

    def summary(self) -> dict[str, float]:
        """Return percentiles of the time that passed in ms, and the median of the processor's."""
        return {**summary_ms(self.passed_s), "cpu_p50": summary_ms(self.worked_s)["p50"]}

    def over(self, other: _Times) -> float:
        """Return how many times as much work this is as `other`, by the medians."""
        return round(float(np.median(self.worked_s) / np.median(other.worked_s)), 2)


def _draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "mixllm", "svg.fonttype": "path"}):
        from matplotlib import pyplot as plt

        figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
        for panel, key, label in (
            (panels[0], "by_llms", f"LLMs K (d = {_DIMENSION})"),
            (panels[1], "by_features", f"features d (K = {_POOL})"),
        ):
            cells = result[key]
            at = [int(name) for name in cells]
            for name, colour, style, what in (
                ("mixllm_decision_ms", "C0", "o-", "MixLLM, decision"),
                ("paretobandit_decision_ms", "C3", "o-", "ParetoBandit, decision"),
                ("mixllm_update_ms", "C0", "s:", "MixLLM, update"),
                ("paretobandit_update_ms", "C3", "s:", "ParetoBandit, update"),
                ("mixllm_snapshot_ms", "C7", "^--", "MixLLM, snapshot (off the request path)"),
            ):
                panel.plot(
                    at, [cell[name]["cpu_p50"] for cell in cells.values()], style, color=colour, label=what, ms=4
                )
            panel.set(xscale="log", yscale="log", xlabel=label, xticks=at, xticklabels=[str(each) for each in at])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        panels[0].set_ylabel("median processor time, ms")
        panels[0].legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
