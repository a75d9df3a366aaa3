"""What the router did, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from mixllm.cli.output import print_line, seconds, usd
from mixllm.cli.tables import cell, console, plain_table
from mixllm.dashboard import EVERYTHING, Report
from mixllm.dashboard.figures import Calls, Forecasts, Savings, Times
from mixllm.dashboard.means import Measured

__all__ = ["print_report"]

_NOTHING = "–"
_SHOWN = 20


def print_report(report: Report, *, place: str, since: str) -> None:
    """Print a report on the store called `place`."""
    print_line(_period(report, place=place, since=since))
    if not report.decisions:
        print_line("Nothing was decided in it. Look further back with --since, e.g. --since 30d or --since all.")
        return
    print_line("")
    _print_summary(report)
    print_line("")
    _print_llms(report)
    print_line("")
    _print_forecasts(report)
    _print_keys(report)
    _print_tags(report)


def _period(report: Report, *, place: str, since: str) -> str:
    begin, end = (f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}" for at_s in (report.from_s, report.to_s))
    period = "Everything" if since == EVERYTHING else f"The last {since}"
    return f"{period} of {place}, {begin} to {end} UTC: {report.decisions} decisions."


def _print_summary(report: Report) -> None:
    table = plain_table("", "")
    table.show_header = False
    table.add_row("decisions", _ends(report))
    table.add_row("calls", _call_ends(report.calls) + f"; {report.fallbacks} decisions took more than one")
    table.add_row("quality", _quality(report.quality, of=report.answered))
    spend = report.spend
    judging = f", and {usd(spend.judging_usd)} to judge answers" if spend.judging_usd else ""
    table.add_row("cost", f"{usd(spend.calls_usd)} for calls{judging}")
    for name, text in _saved(report.savings):
        table.add_row(name, cell(text))
    table.add_row("time to the end", _times(report.latency_s))
    table.add_row("to the first token", _times(report.ttft_s))
    table.add_row("exploration", f"{_percent(report.exploration.share)} chose another than the best score")
    table.add_row(
        "out of domain",
        f"{_percent(report.out_of_domain.share)} of the queries (score {report.out_of_domain_threshold:g} or more)",
    )
    for name, shadow in report.shadows.items():
        table.add_row(cell(f"shadow {name}"), f"the same choice in {shadow.agreement:.1%} of {shadow.decisions}")
    by_source = ", ".join(f"{name} {count}" for name, count in report.feedback.by_source.items())
    judged = f"{report.feedback.judgements} judgements of {report.feedback.decisions} answers"
    table.add_row("feedback", cell(judged + (f" ({by_source})" if by_source else "")))
    console().print(table)


def _ends(report: Report) -> str:
    parts = [f"{report.answered} answered"]
    for count, what in (
        (report.failed, "failed"),
        (report.cancelled, "left by the client"),
        (report.without_outcome, "without a known outcome"),
    ):
        if count:
            parts.append(f"{count} {what}")
    named = f"; in {report.forced} the client named the LLM" if report.forced else ""
    return ", ".join(parts) + named


def _call_ends(calls: Calls) -> str:
    told = [(calls.error, "errors"), (calls.timeout, "timeouts"), (calls.broken_stream, "broken streams")]
    told.append((calls.cancelled, "cancelled"))
    return ", ".join([f"{calls.ok} well", *(f"{count} {what}" for count, what in told if count)])


def _quality(quality: Measured | None, *, of: int) -> str:
    if quality is None:
        return "no answer was judged"
    return f"{_mean(quality)} over the {quality.count} answers that were judged, of {of}"


def _mean(quality: Measured | None) -> str:
    if quality is None:
        return _NOTHING
    return f"{quality.mean:.3f}" + ("" if quality.std_error is None else f" ± {quality.mean - (quality.low or 0):.3f}")


def _saved(savings: Savings | None) -> list[tuple[str, str]]:
    if savings is None:
        return [("saved", "nothing to compare: no decision with a known cost had the reference among its candidates")]
    share = "" if savings.saved_share is None else f" ({savings.saved_share:.1%})"
    trust = (
        f"its {savings.reference_calls} own calls cost {savings.reference_cost_ratio:.2f} times their forecast"
        if savings.reference_cost_ratio is not None
        else "it was never called itself, so nothing checks that"
    )
    net = savings.saved_usd - savings.saved_net_usd
    reference = savings.reference
    quality, others = savings.quality_forecast, savings.reference_quality_forecast
    return [
        (
            "saved",
            f"{_signed(savings.saved_usd)}{share} against {reference} always: {usd(savings.cost_usd)} instead of about "
            f"{usd(savings.reference_cost_usd)}, over {savings.decisions} decisions"
            + (f"; {_signed(savings.saved_net_usd)} net of judging" if net else ""),
        ),
        ("", f"an estimate: what {reference} would have cost is its forecast in each decision; {trust}"),
        ("", f"quality that was forecast: {quality:.3f} of what was chosen, {others:.3f} of {reference}"),
    ]


def _signed(amount: float) -> str:
    return f"-{usd(-amount)}" if amount < 0 else usd(amount)


def _times(times: Times) -> str:
    return _NOTHING if times.p50 is None else f"p50 {_time(times.p50)}, p95 {_time(times.p95)}"


def _time(time_s: float | None) -> str:
    return _NOTHING if time_s is None else seconds(time_s)


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.1%}"


def _print_llms(report: Report) -> None:
    columns = ("LLM", "decisions", "share", "quality ± 90 %", "judged", "cost", "each", "p50", "p95", "TTFT", "errors")
    table = plain_table(*columns, right=columns[1:])
    for name, llm in report.llms.items():
        calls = llm.calls
        count = calls.ok + calls.error + calls.timeout + calls.cancelled + calls.broken_stream
        table.add_row(
            cell(name),
            str(llm.decisions),
            f"{llm.share:.1%}",
            _mean(llm.quality),
            str(0 if llm.quality is None else llm.quality.count),
            usd(llm.cost_usd),
            usd(llm.cost_usd / count) if count else _NOTHING,
            _time(llm.latency_s.p50),
            _time(llm.latency_s.p95),
            _time(llm.ttft_s.p50),
            str(calls.error + calls.timeout + calls.broken_stream),
        )
    console().print(table)


def _print_forecasts(report: Report) -> None:
    columns = ("forecasts", "quality", "judged", "cost", "measured", "time: measured / forecast", "in their 90 %")
    table = plain_table(*columns, right=columns[1:])
    for name, forecasts in (("all", report.forecasts), *((name, one.forecasts) for name, one in report.llms.items())):
        if forecasts != Forecasts(quality=None, cost=None, latency=None):
            table.add_row(cell(name), *_forecast_cells(forecasts))
    if table.row_count:
        console().print(table)


def _forecast_cells(forecasts: Forecasts) -> tuple[str, ...]:
    quality, cost, latency = forecasts.quality, forecasts.cost, forecasts.latency
    return (
        _NOTHING if quality is None else f"{quality.forecast:.3f}",
        _NOTHING if quality is None else f"{quality.measured:.3f}",
        _NOTHING if cost is None else usd(cost.forecast_usd),
        _NOTHING if cost is None else usd(cost.measured_usd),
        _NOTHING if latency is None or latency.ratio_p50 is None else f"{latency.ratio_p50:.2f}",
        _NOTHING if latency is None else _percent(latency.inside_90),
    )


def _print_keys(report: Report) -> None:
    if set(report.keys) == {""}:
        return
    print_line("")
    table = plain_table("key", "decisions", "cost", "judging", right=("decisions", "cost", "judging"))
    for name, key in list(report.keys.items())[:_SHOWN]:
        table.add_row(cell(name or "(none)"), str(key.decisions), usd(key.cost_usd), usd(key.judging_usd))
    console().print(table)
    _tell_rest(len(report.keys), "keys")


def _print_tags(report: Report) -> None:
    if set(report.tags) == {""}:
        return
    print_line("")
    columns = ("domain", "decisions", "share", "quality ± 90 %", "cost")
    table = plain_table(*columns, right=columns[1:])
    for name, tag in list(report.tags.items())[:_SHOWN]:
        table.add_row(
            cell(name or "(none)"), str(tag.decisions), f"{tag.share:.1%}", _mean(tag.quality), usd(tag.cost_usd)
        )
    console().print(table)
    _tell_rest(len(report.tags), "domains")


def _tell_rest(count: int, what: str) -> None:
    if count > _SHOWN:
        print_line(f"… and {count - _SHOWN} further {what}: --json has them all.")
