"""Figures of a simulation; loads matplotlib when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixllm.evaluation.extra import bench_extra
from mixllm.evaluation.figure_files import write_drawn
from mixllm.evaluation.simulation.players import OURS
from mixllm.evaluation.simulation.results import SimulationResults, ranked

__all__ = ["draw_curves", "write_figures"]

_MOST_PER_STYLE = 10
_BOUND = "oracle"


def write_figures(results: SimulationResults, folder: Path) -> list[Path]:
    """Write the curves of reward per query and of regret, as SVG and PNG, and return their paths.

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    ConfigError
        Where the folder cannot be written.
    """
    drawn = {f"simulation-{name}": draw_curves(results, regret=name == "regret") for name in ("reward", "regret")}
    return write_drawn(drawn, folder)


def draw_curves(results: SimulationResults, *, regret: bool) -> Any:
    """Return matplotlib's figure: a line with a band of ± one standard error for each policy.

    Regret is drawn as the sum so far, reward as the mean per query so far, so that lines can be told apart.
    """
    with bench_extra("The simulation's figures"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = results.points
    scale = [1.0] * len(points) if regret else [1.0 / point for point in points]
    for place, policy in enumerate(ranked(results)):
        found = results.policies[policy]
        curve = found.regret_curve if regret else found.reward_curve
        mean = [value * factor for value, factor in zip(curve.mean, scale, strict=True)]
        error = [value * factor for value, factor in zip(curve.se, scale, strict=True)]
        style = _style(policy, place)
        axes.plot(points, mean, label=_plain(policy), **style)
        low = [value - spread for value, spread in zip(mean, error, strict=True)]
        high = [value + spread for value, spread in zip(mean, error, strict=True)]
        axes.fill_between(points, low, high, color=style["color"], alpha=0.12, linewidth=0)
    for change in results.settings.schedule.changes:
        axes.axvline(change.at, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xlabel("queries")
    axes.set_ylabel("regret so far" if regret else "mean reward per query so far")
    seeds = len(results.seeds)
    axes.set_title(_plain(f"{results.log}: bandit feedback only, {seeds} seeds, ± one standard error"), fontsize=10)
    axes.grid(alpha=0.2)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    return figure


def _style(policy: str, place: int) -> dict[str, Any]:
    if policy == OURS:
        return {"color": "black", "linewidth": 2.4, "zorder": 5}
    if policy == _BOUND:
        return {"color": "0.3", "linewidth": 1.2, "linestyle": "--"}
    line = "-" if place < _MOST_PER_STYLE else "-."
    return {"color": f"C{place % _MOST_PER_STYLE}", "linewidth": 1.3, "linestyle": line}


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
