"""Figures of a report, each against what was put in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.dashboard.decided import NOW_S, decided, judged, keep

from mixllm.dashboard import read_report
from mixllm.dashboard.figures import Report, Share
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.types import Outcome, OutcomeStatus, StoredDecision


def answer(cost_usd: float | None, *, llm: str | None = None, attempt: int = 0, latency_s: float = 1.0) -> Outcome:
    return Outcome(llm=llm, cost_usd=cost_usd, latency_s=latency_s, ttft_s=latency_s / 10, attempt=attempt)


FAILED = Outcome(status=OutcomeStatus.ERROR, cost_usd=0.0, latency_s=0.1)
DECISIONS = (
    decided("small", answer(0.002), feedback=[judged(0.5)], key_id="key-a", shadow="small"),
    decided("small", answer(0.001, latency_s=1.5), feedback=[judged(0.9)], best="large", shadow="large"),
    decided("large", answer(0.012, latency_s=9.0), feedback=[judged(1.0, source="judge", cost_usd=0.003)], tag="law"),
    decided("large", FAILED, answer(0.001, llm="small", attempt=1), key_id="key-a", outside=0.7),
    decided("small", FAILED, key_id="key-a"),
    decided("small", Outcome(status=OutcomeStatus.CANCELLED, latency_s=1.0)),
    decided("small"),
    decided("large", answer(0.011, latency_s=3.0), policy="forced"),
)


def report_on(*decisions: StoredDecision, **options: object) -> Report:
    store = MemoryStore()
    keep(store, decisions)
    return read_report(store, now_s=NOW_S, span_s=3600.0, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report() -> Report:
    return report_on(*DECISIONS, reference="large")


def test_what_came_of_the_decisions(report: Report) -> None:
    assert (report.decisions, report.answered, report.failed, report.cancelled) == (8, 5, 1, 1)
    assert (report.without_outcome, report.forced, report.fallbacks) == (1, 1, 1)
    assert (report.calls.ok, report.calls.error, report.calls.cancelled) == (5, 2, 1)
    assert (report.from_s, report.to_s, report.complete) == (NOW_S - 3600, NOW_S, True)


def test_each_llm_has_the_answers_it_gave_and_the_calls_it_got(report: Report) -> None:
    small, large = report.llms["small"], report.llms["large"]
    assert list(report.llms) == ["small", "large"]
    assert (small.decisions, large.decisions) == (6, 2)
    assert (small.share, large.share) == (0.75, 0.25)
    assert (small.calls.ok, small.calls.error, large.calls.ok, large.calls.error) == (3, 1, 2, 1)
    assert small.cost_usd == pytest.approx(0.004)
    assert large.cost_usd == pytest.approx(0.023)
    assert small.quality is not None
    assert small.quality.mean == pytest.approx(0.7)
    assert small.quality.count == 2
    assert large.latency_s.p95 == pytest.approx(9.0, rel=0.01)
    assert small.ttft_s.p50 == pytest.approx(0.1, rel=0.01)


def test_quality_and_spending(report: Report) -> None:
    assert report.quality is not None
    assert report.quality.mean == pytest.approx(0.8)
    assert report.quality.count == 3
    assert report.quality.std_error == pytest.approx(0.264575 / 3**0.5, rel=1e-4)
    assert report.spend.calls_usd == pytest.approx(0.027)
    assert report.spend.judging_usd == pytest.approx(0.003)
    assert report.spend.total_usd == pytest.approx(0.030)
    assert report.feedback.by_source == {"judge": 1, "user": 2}


def test_savings_rest_on_the_reference_s_forecasts_and_measure_its_own_calls(report: Report) -> None:
    saved = report.savings
    assert saved is not None
    # Left out: the client named the LLM, nothing is known, the client left and no cost is known.
    assert (saved.decisions, saved.left_out) == (5, 3)
    # 0.010 forecast for three that went to small; as measured, 0.012 and the stand-in's 0.001, for two that went to it.
    assert saved.reference_cost_usd == pytest.approx(3 * 0.010 + 0.012 + 0.001)
    assert saved.cost_usd == pytest.approx(0.002 + 0.001 + 0.0 + 0.012 + 0.001)
    assert saved.saved_usd == pytest.approx(0.027)
    assert saved.saved_share == pytest.approx(0.027 / 0.043)
    assert saved.saved_net_usd == pytest.approx(0.024)
    assert saved.quality_forecast == pytest.approx((3 * 0.6 + 2 * 0.9) / 5)
    assert saved.reference_quality_forecast == pytest.approx(0.9)
    assert saved.reference_calls == 2
    assert saved.reference_cost_ratio == pytest.approx(0.013 / 0.020)


def test_the_dearest_is_the_reference_where_none_is_given() -> None:
    report = report_on(*DECISIONS)
    assert report.savings is not None
    assert report.savings.reference == "large"


def test_nothing_is_saved_against_an_llm_that_was_no_candidate() -> None:
    report = report_on(*DECISIONS, reference="gone")
    assert report.savings is None


def test_choices(report: Report) -> None:
    assert report.exploration == Share(decisions=1, share=1 / 7)
    assert report.out_of_domain == Share(decisions=1, share=1 / 8)
    assert report_on(*DECISIONS, out_of_domain_threshold=0.8).out_of_domain.decisions == 0
    assert (report.shadows["bold"].decisions, report.shadows["bold"].agreement) == (2, 0.5)


def test_keys_and_tags(report: Report) -> None:
    assert report.keys["key-a"].decisions == 3
    assert report.keys["key-a"].cost_usd == pytest.approx(0.003)
    assert report.keys[""].judging_usd == pytest.approx(0.003)
    assert (report.tags["code"].decisions, report.tags["law"].decisions) == (7, 1)
    assert report.tags["law"].quality is not None
    assert report.tags["law"].quality.mean == 1.0


def test_forecasts_are_compared_where_the_chosen_llm_answered(report: Report) -> None:
    forecasts = report.forecasts
    assert forecasts.quality is not None
    assert forecasts.cost is not None
    assert forecasts.latency is not None
    assert forecasts.quality.forecast == pytest.approx((0.6 + 0.6 + 0.9) / 3)
    assert forecasts.quality.measured == pytest.approx(0.8)
    assert forecasts.quality.bias.mean == pytest.approx(-0.1)
    assert forecasts.cost.count == 4
    assert forecasts.cost.ratio == pytest.approx((0.002 + 0.001 + 0.012 + 0.011) / (0.001 + 0.001 + 0.010 + 0.010))
    assert (forecasts.latency.count, forecasts.latency.inside_90) == (4, 0.75)


def test_a_cost_that_is_estimated_checks_no_forecast() -> None:
    given_up = Outcome(cost_usd=0.5, cost_estimated=True, latency_s=1.0)
    report = report_on(decided("small", given_up))
    assert report.forecasts.cost is None
    assert report.spend.calls_usd == 0.5


def test_an_empty_store_has_an_empty_report() -> None:
    report = report_on()
    assert (report.decisions, report.quality, report.savings, report.exploration.share) == (0, None, None, None)
    for groups in (report.llms, report.keys, report.tags):
        assert not groups
    assert report.series.slots == ()


@pytest.mark.parametrize("page", [1, 3, 512])
def test_only_the_period_is_read_also_where_clocks_differ(page: int, tmp_path: Path) -> None:
    ages_s = (7000.0, 3601.0, 3590.0, 3620.0, 3580.0, 10.0)
    store = SQLiteStore(path=tmp_path / "mixllm.db")
    try:
        keep(store, [decided("small", answer(0.001), at_s=NOW_S - age_s) for age_s in ages_s])
        pages: list[int] = []
        report = read_report(store, now_s=NOW_S, span_s=3600.0, page=page, on_page=pages.append)
        assert (report.decisions, report.complete) == (3, True)
        everything = read_report(store, now_s=NOW_S, span_s=None, page=page)
        assert (everything.decisions, everything.from_s) == (6, NOW_S - 7000)
    finally:
        store.close()
    assert pages[-1] == 6
    assert pages == sorted(pages)


def test_the_newest_are_read_where_there_are_too_many() -> None:
    report = report_on(*(decided("small", at_s=NOW_S - age_s) for age_s in (50, 40, 30, 20)), most=2)
    assert (report.decisions, report.complete, report.from_s) == (2, False, NOW_S - 30)
    assert report_on(*DECISIONS, most=8).complete
