"""Results as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mixllm.evaluation.bands import BandGain
from mixllm.evaluation.metrics import METRICS
from mixllm.evaluation.results import OURS, DatasetResults, Number, Results

__all__ = ["HEADINGS", "markdown", "number_text", "ranked"]

HEADINGS = {
    "cost_at_97_25": "cost at 97.25 %",
    "cost_at_100": "cost at 100 %",
    "quality_at_24_18": "quality at 24.18 %",
    "max_quality": "max. quality",
    "aiq": "AIQ",
    "realised_quality": "realised quality",
    "realised_cost": "realised cost",
}
"""What people read for each metric."""


def markdown(results: Results) -> str:
    """Return all results as Markdown: a table for each log, and what MixLLM gains by cost where it ran."""
    return "\n".join(part for name, found in results.datasets.items() for part in _dataset(name, found))


def ranked(found: DatasetResults) -> list[str]:
    """Return the routers, the cheapest at 97.25 % of the quality first, then those that reach less."""

    def place(router: str) -> tuple[bool, float, float]:
        numbers = found.routers[router]
        cost, quality = numbers["cost_at_97_25"].mean, numbers["max_quality"].mean
        return cost is None, cost or 0.0, -(quality or 0.0)

    return sorted(found.routers, key=place)


def number_text(number: Number) -> str:
    """Return a mean and its standard error for people.

    Examples
    --------
    >>> number_text(Number(mean=0.25, se=0.0123)), number_text(Number(mean=None, se=None))
    ('0.250 ± 0.012', '–')
    """
    if number.mean is None:
        return "–"
    digits = 3 if abs(number.mean) >= 0.1 else 4
    error = "" if number.se is None else f" ± {number.se:.{digits}f}"
    return f"{number.mean:.{digits}f}{error}"


def _dataset(name: str, found: DatasetResults) -> list[str]:
    of = f"{found.queries} queries, {found.splits} splits" + (f", tags: {found.label}" if found.label else "")
    lines = [
        f"## {name}",
        "",
        f"Shares of {found.reference}'s quality and cost; mean ± standard error; {of}. – : not reached in every split.",
        "",
        *_table(
            ["router", *(HEADINGS[metric] for metric in METRICS), "s"],
            [
                [
                    router.replace("|", "\\|"),
                    *(number_text(found.routers[router][metric]) for metric in METRICS),
                    f"{found.seconds[router]:.2f}",
                ]
                for router in ranked(found)
            ],
        ),
        "",
    ]
    if found.bands:
        lines += [f"Gain of {OURS} in quality, by cost:", "", *_bands(found), ""]
    return lines


def _bands(found: DatasetResults) -> list[str]:
    first = next(iter(found.bands.values()))
    rows = [
        [router.replace("|", "\\|"), *(_gain_text(gain) for gain in found.bands[router])]
        for router in ranked(found)
        if router in found.bands
    ]
    return _table(["over", *(f"{gain.low:g}–{gain.high:g}" for gain in first)], rows)


def _gain_text(gain: BandGain) -> str:
    if gain.gain is None:
        return "–"
    return f"{gain.gain:+.1%}" + ("" if gain.se is None else f" ± {gain.se:.1%}")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
