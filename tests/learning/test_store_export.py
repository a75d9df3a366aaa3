from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError, LogError
from mixllm.interfaces import Store
from mixllm.learning.store_export import ExportCounts, export_log, judged_quality
from mixllm.logs import check_log, open_log
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.types import (
    Candidate,
    Decision,
    DecisionRecord,
    Estimate,
    Feedback,
    FeedbackKind,
    Forecast,
    Outcome,
    OutcomeEvent,
    OutcomeStatus,
    TagWeight,
)

NAN = float("nan")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SQLiteStore(path=tmp_path / "s.db")
    yield made
    made.close()


def decide(
    store: Store, number: int, *, llm: str = "small", prompt: str | None = None, dimension: int = 3, tags: bool = True
) -> str:
    estimate = Estimate(mean=0.5 + number / 1000, std=0.25)
    forecast = Forecast(
        quality=estimate, tokens_out=estimate, cost_usd=estimate, ttft_s=estimate, wait_s=0.0, latency_s=estimate
    )
    propensities = {"small": 0.75, "large": 0.25}
    decision = Decision(
        decision_id=f"d{number:05d}",
        created_at_s=1000.0 + number,
        llm=llm,
        reason="r",
        policy="squarecb",
        trade_off=1.4,
        cost_scale_usd=0.01,
        model_version=1,
        seed=number,
        tokens_in=10,
        tags=(TagWeight(tag="code", probability=0.25), TagWeight(tag="maths", probability=0.75)) if tags else (),
        candidates=tuple(
            Candidate(llm=name, forecast=forecast, score=0.1, propensity=p) for name, p in propensities.items()
        ),
    )
    encoding = np.full(dimension, number, dtype="<f4").tobytes()
    store.append_decision(DecisionRecord(decision=decision, encoding=encoding, prompt=prompt))
    return decision.decision_id


def call(store: Store, decision_id: str, *, cost_usd: float | None = 0.5, **fields: object) -> None:
    outcome = msgspec.structs.replace(Outcome(cost_usd=cost_usd, tokens_in=7, latency_s=1.5), **fields)
    store.append_outcome(OutcomeEvent(decision_id=decision_id, outcome=outcome, created_at_s=1.0))


def judge(
    store: Store, decision_id: str, name: str, value: float, *, thumb: bool = False, metric: str = "quality"
) -> None:
    kind = FeedbackKind.BINARY if thumb else FeedbackKind.REFINED
    feedback = Feedback(
        feedback_id=f"{decision_id}/{name}", decision_id=decision_id, kind=kind, value=value, metric=metric
    )
    store.append_feedback(feedback).result(20)


def test_what_was_chosen_becomes_a_log(store: Store, tmp_path: Path) -> None:
    first, second, third = decide(store, 1), decide(store, 2, llm="large", prompt="kept"), decide(store, 3, tags=False)
    for decision_id in (first, second, third):
        call(store, decision_id, tokens_out=int(decision_id[1:]))
    judge(store, first, "a", 0.25)
    judge(store, first, "b", 0.75)
    judge(store, first, "c", 1.0, metric="style")
    judge(store, third, "up", 1.0, thumb=True)
    judge(store, third, "down", 0.0, thumb=True)
    told: list[tuple[int, int]] = []
    counts = export_log(
        store, tmp_path / "out", encoder_fingerprint="enc/1", on_progress=lambda done, total: told.append((done, total))
    )
    assert counts == ExportCounts(decisions=3, outcomes=3, judged=2, candidates=6)
    assert told == [(3, 3)]
    log = open_log(tmp_path / "out")
    assert (log.name, log.query_ids, log.llms) == ("out", (first, second, third), ("small", "large"))
    assert (log.prompts, log.encoder) == (("", "kept", ""), "enc/1")
    assert dict(log.labels) == {"tag": ("maths", "maths", "")}
    np.testing.assert_array_equal(log.quality, [[0.75, NAN], [NAN, NAN], [0.5, NAN]])
    np.testing.assert_array_equal(log.cost_usd, [[0.5, NAN], [NAN, 0.5], [0.5, NAN]])
    np.testing.assert_array_equal(log.tokens_out, [[1, NAN], [NAN, 2], [3, NAN]])
    assert log.propensities is not None
    np.testing.assert_array_equal(log.propensities, [[0.75, NAN], [NAN, 0.25], [0.75, NAN]])
    assert log.encodings is not None
    np.testing.assert_array_equal(log.encodings, [[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    assert check_log(tmp_path / "out").ok
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith("s.db")) == ["out"]


def test_the_files_have_the_columns_that_are_promised(store: Store, tmp_path: Path) -> None:
    decision_id = decide(store, 1)
    call(store, decision_id)
    export_log(store, tmp_path / "out", encoder_fingerprint="e")
    queries = pq.read_table(tmp_path / "out" / "queries.parquet").to_pylist()
    assert queries == [
        {
            "query_id": decision_id,
            "prompt": "",
            "encoding": [1.0, 1.0, 1.0],
            "encoder": "e",
            "created_at_s": 1001.0,
            "tag": "maths",
        }
    ]
    (outcome,) = pq.read_table(tmp_path / "out" / "outcomes.parquet").to_pylist()
    assert (outcome["propensity"], outcome["policy"], outcome["decision_id"]) == (0.75, "squarecb", decision_id)
    assert outcome["quality"] is None
    candidates = pq.read_table(tmp_path / "out" / "candidates.parquet").to_pylist()
    assert [row["llm"] for row in candidates] == ["small", "large"]
    assert candidates[0] == {
        "decision_id": decision_id,
        "llm": "small",
        "propensity": 0.75,
        "score": 0.1,
        "quality_mean": 0.501,
        "quality_std": 0.25,
        "cost_usd_mean": 0.501,
        "judgements": 0.0,
        "trade_off": 1.4,
        "cost_scale_usd": 0.01,
    }


def test_a_stand_in_has_no_propensity_and_gets_the_judgement(store: Store, tmp_path: Path) -> None:
    decision_id = decide(store, 1)
    call(store, decision_id, status=OutcomeStatus.ERROR, cost_usd=None)
    call(store, decision_id, llm="large", attempt=1, cost_usd=2.0)
    judge(store, decision_id, "a", 0.9)
    assert export_log(store, tmp_path / "out", encoder_fingerprint="e").outcomes == 1
    log = open_log(tmp_path / "out")
    assert (log.llms, log.quality.tolist(), log.cost_usd.tolist()) == (("large",), [[0.9]], [[2.0]])
    assert log.propensities is not None
    assert np.isnan(log.propensities).all()


def test_a_broken_answer_that_was_judged_counts(store: Store, tmp_path: Path) -> None:
    decision_id = decide(store, 1)
    call(store, decision_id, status=OutcomeStatus.BROKEN_STREAM)
    judge(store, decision_id, "a", 0.0)
    export_log(store, tmp_path / "out", encoder_fingerprint="e")
    assert open_log(tmp_path / "out").quality.tolist() == [[0.0]]


def test_what_cannot_be_exported_is_counted(store: Store, tmp_path: Path) -> None:
    good = decide(store, 1)
    decide(store, 2)  # nothing came of it
    failed, free, alone, old = decide(store, 3), decide(store, 4), decide(store, 5), decide(store, 6, dimension=5)
    call(store, failed, status=OutcomeStatus.TIMEOUT)
    call(store, free, cost_usd=None)
    judge(store, alone, "a", 1.0)
    call(store, old)
    call(store, good)
    counts = export_log(store, tmp_path / "out", encoder_fingerprint="e")
    assert counts == ExportCounts(decisions=1, outcomes=1, candidates=2, without_outcome=4, other_encoder=1)
    assert open_log(tmp_path / "out").query_ids == (good,)


def test_many_decisions_take_several_pages_and_row_groups(tmp_path: Path) -> None:
    store = MemoryStore()
    for number in range(1100):
        call(store, decide(store, number))
    judge(store, "d00003", "late", 1.0)
    told: list[int] = []
    counts = export_log(
        store, tmp_path / "out", encoder_fingerprint="e", on_progress=lambda done, _total: told.append(done)
    )
    store.close()
    assert (counts.decisions, counts.judged, told) == (1100, 1, [512, 1024, 1100])
    log = open_log(tmp_path / "out")
    assert log.query_ids == tuple(f"d{number:05d}" for number in range(1100))
    assert log.quality[3, 0] == 1.0
    assert pq.ParquetFile(tmp_path / "out" / "queries.parquet").num_row_groups == 2


@pytest.mark.parametrize("count", [*range(1, 10), 15, 16, 17, 33])
def test_the_last_event_counts_too(tmp_path: Path, count: int) -> None:
    store = MemoryStore()
    for number in range(count):
        call(store, decide(store, number))
    assert export_log(store, tmp_path / "out", encoder_fingerprint="e").decisions == count
    store.close()


def test_a_failed_export_leaves_nothing(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with pytest.raises(LogError, match="nothing to export"):
        export_log(store, target, encoder_fingerprint="e")
    decide(store, 1)
    with pytest.raises(LogError, match="no decision with an outcome"):
        export_log(store, target, encoder_fingerprint="e")
    assert list(target.parent.iterdir()) == []
    call(store, decide(store, 2))
    with pytest.raises(InvalidValueError, match="encoder_fingerprint"):
        export_log(store, target, encoder_fingerprint="")
    target.mkdir()
    assert export_log(store, target, encoder_fingerprint="e").decisions == 1
    with pytest.raises(LogError, match="is there already"):
        export_log(store, target, encoder_fingerprint="e")
    (tmp_path / "file").write_text("x")
    for taken in (tmp_path / "file", tmp_path / "file" / "under"):
        with pytest.raises(LogError, match=r"is there already|cannot be written"):
            export_log(store, taken, encoder_fingerprint="e")


judgements = st.lists(
    st.one_of(
        st.tuples(st.just(FeedbackKind.REFINED), st.floats(0, 1)),
        st.tuples(st.just(FeedbackKind.BINARY), st.sampled_from([0.0, 1.0])),
    )
)


@given(judgements=judgements)
def test_the_last_score_wins_else_the_mean_of_thumbs(judgements: list[tuple[FeedbackKind, float]]) -> None:
    feedback = tuple(
        Feedback(feedback_id=str(number), decision_id="d", kind=kind, value=value)
        for number, (kind, value) in enumerate(judgements)
    )
    scores = [value for kind, value in judgements if kind is FeedbackKind.REFINED]
    thumbs = [value for kind, value in judgements if kind is FeedbackKind.BINARY]
    expected = scores[-1] if scores else float(np.mean(thumbs)) if thumbs else None
    assert judged_quality(feedback) == (None if expected is None else pytest.approx(expected))
    assert judged_quality(tuple(msgspec.structs.replace(one, metric="style") for one in feedback)) is None


def test_people_go_before_the_judge_and_the_judge_before_the_traffic() -> None:
    def said(source: str, value: float, kind: FeedbackKind = FeedbackKind.BINARY) -> Feedback:
        return Feedback(feedback_id=source, decision_id="d", kind=kind, value=value, source=source)

    user, signal = said("user", 1.0), said("implicit:regenerate", 0.0)
    judge = said("judge", 0.25, FeedbackKind.REFINED)

    assert judged_quality((user, judge, signal)) == judged_quality((signal, judge, user)) == 1.0
    assert judged_quality((judge, signal)) == 0.25
    assert judged_quality((signal, said("implicit:error", 0.0))) == 0.0
