"""Logged decisions out of real stores and out of their exports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.evaluation.offpolicy.routed import FORCED, POLICY, TRADE_OFF, UNANSWERED, filled_store, router_on

from mixllm import Outcome
from mixllm.assembly import build_policy
from mixllm.config import PolicyConfig
from mixllm.errors import LogError
from mixllm.evaluation.offpolicy import LoggedDecisions, TargetPolicy, decisions_of_export, decisions_of_store
from mixllm.learning.store_export import export_log
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.types import OutcomeStatus


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_store(tmp_path_factory.mktemp("routed") / "mixllm.db", decisions=600)


@pytest.fixture(scope="module")
def store(path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(path=path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def log(store: SQLiteStore) -> LoggedDecisions:
    return decisions_of_store(store)


@pytest.fixture
def folder(store: SQLiteStore, tmp_path: Path) -> Path:
    export_log(store, tmp_path / "export", encoder_fingerprint="e")
    return tmp_path / "export"


def test_a_store_is_read_page_by_page_oldest_first(store: SQLiteStore, log: LoggedDecisions) -> None:
    told: list[tuple[int, int]] = []
    again = decisions_of_store(store, on_progress=lambda done, total: told.append((done, total)))
    everything = 600 + FORCED + UNANSWERED
    assert told == [(512, everything), (everything, everything)]
    assert (len(log), log.forced, log.without_outcome, log.incomplete) == (600, FORCED, UNANSWERED, 0)
    assert dict(log.policies) == {"squarecb": 600}
    assert set(log.llms) == {"small", "middle", "large"}
    np.testing.assert_array_equal(again.propensities, log.propensities)
    np.testing.assert_allclose(log.trade_off, TRADE_OFF)
    assert log.judgements[0].max() <= log.judgements[-1].min()
    assert not np.isnan(log.cost_usd).any()
    assert np.mean(~np.isnan(log.quality)) == pytest.approx(0.7, abs=0.07)


def test_the_routers_own_propensities_follow_from_the_logged_forecasts(log: LoggedDecisions) -> None:
    """Squarecb with its warm-up, replayed at the same λ, is what was logged; at another λ it is not."""
    policy = build_policy(POLICY)
    np.testing.assert_allclose(TargetPolicy(policy=policy).propensities(log), log.propensities, atol=1e-9)
    np.testing.assert_allclose(
        TargetPolicy(policy=policy, trade_off=TRADE_OFF).propensities(log), log.propensities, atol=1e-9
    )
    assert np.abs(TargetPolicy(policy=policy, trade_off=9.0).propensities(log) - log.propensities).max() > 0.05


def test_another_trade_off_is_what_a_router_of_that_trade_off_decides() -> None:
    memory = MemoryStore()
    with router_on(memory) as one, router_on(MemoryStore(), trade_off=6.0) as other:
        decision = one.route("python loop bug")
        one.record(decision.decision_id, Outcome(tokens_in=9, tokens_out=9, latency_s=1.0))
        expected = [candidate.score for candidate in other.route("python loop bug").candidates]
        log = decisions_of_store(memory)
        seen: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []

        class Watching:
            name = "watching"

            def propensities(self, *, scores, stds, forecasts):  # type: ignore[no-untyped-def]
                seen.append(scores)
                return np.full(len(scores), 1 / len(scores))

        TargetPolicy(policy=Watching(), trade_off=6.0).propensities(log)
    np.testing.assert_allclose(seen[0], expected, atol=1e-9)


def test_a_stand_in_belongs_to_the_choice_and_all_calls_cost() -> None:
    memory = MemoryStore()
    with router_on(memory) as router:
        decision = router.route("solve the equation")
        stand_in = next(spec.name for spec in router.llms if spec.name != decision.llm)
        failed = Outcome(status=OutcomeStatus.ERROR, cost_usd=0.25)
        router.record(decision.decision_id, failed)
        router.record(decision.decision_id, Outcome(llm=stand_in, attempt=1, cost_usd=0.5, latency_s=1.0))
        router.feedback(decision.decision_id, quality=0.75)
        log = decisions_of_store(memory)
    assert log.llms[log.chosen[0]] == decision.llm
    assert (log.quality[0], log.cost_usd[0]) == (0.75, 0.75)


def test_an_empty_store_is_refused() -> None:
    memory = MemoryStore()
    with pytest.raises(LogError, match=r"holds no decision of a policy with an outcome \(0 named"):
        decisions_of_store(memory)
    memory.close()


def test_an_export_says_the_same_as_its_store(folder: Path, log: LoggedDecisions) -> None:
    exported = decisions_of_export(folder)
    assert (len(exported), exported.forced, exported.incomplete) == (600, FORCED, 0)
    order = [exported.llms.index(llm) for llm in log.llms]
    np.testing.assert_allclose(exported.propensities[:, order], log.propensities)
    np.testing.assert_array_equal(np.array(order)[log.chosen], exported.chosen)
    np.testing.assert_array_equal(exported.quality, log.quality)
    np.testing.assert_allclose(exported.cost_usd, log.cost_usd)
    np.testing.assert_array_equal(exported.trade_off, log.trade_off)
    np.testing.assert_array_equal(exported.cost_scale_usd, log.cost_scale_usd)
    np.testing.assert_array_equal(exported.judgements[:, order], log.judgements)
    assert exported.judgements[exported.candidates].max() > 0
    asked = TargetPolicy(policy=build_policy(PolicyConfig(name="squarecb", gap_weight=8.0)), trade_off=4.0)
    np.testing.assert_allclose(asked.propensities(exported)[:, order], asked.propensities(log))


def test_broken_exports_are_refused(folder: Path) -> None:
    with pytest.raises(LogError, match=r"holds no candidates\.parquet"):
        decisions_of_export(folder.parent)
    file = folder / "candidates.parquet"
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["score"]), file)
    with pytest.raises(LogError, match="score"):
        decisions_of_export(folder)
    doubled = pa.array(2 * table["propensity"].to_numpy())
    pq.write_table(table.set_column(2, "propensity", doubled), file)
    with pytest.raises(LogError, match="contradicts itself"):
        decisions_of_export(folder)
    nameless = pa.array([None, *table["llm"].to_pylist()[1:]])
    pq.write_table(table.set_column(1, "llm", nameless), file)
    with pytest.raises(LogError, match="row 0"):
        decisions_of_export(folder)


def test_a_choice_that_the_export_does_not_name_is_counted(folder: Path) -> None:
    file = folder / "outcomes.parquet"
    table = pq.read_table(file)
    propensity = [None, *table["propensity"].to_pylist()[1:]]
    pq.write_table(table.set_column(table.column_names.index("propensity"), "propensity", pa.array(propensity)), file)
    log = decisions_of_export(folder)
    assert (len(log), log.incomplete) == (599, 1)
