"""Figures of a load test; loads matplotlib when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mixllm.evaluation.extra import bench_extra
from mixllm.evaluation.figure_files import write_drawn
from mixllm.evaluation.frontier import upper_hull
from mixllm.evaluation.load.figures import Timeline
from mixllm.evaluation.load.results import Level, LoadResults, RouterLoad

__all__ = ["write_load_figures"]

_OURS = "mixllm"
_PER_STYLE = 10


def write_load_figures(results: LoadResults, folder: Path) -> list[Path]:
    """Write the figures as SVG and PNG, and return their paths.

    ``load-frontier``: quality over cost, without the constraint of time and under each load. ``load-wait``: mean wait
    over time. ``load-shares``: share per LLM over time, MixLLM's. ``load-deadline``: quality and cost in time
    over the load.

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    ConfigError
        Where the folder cannot be written.
    """
    drawn = {
        "load-frontier": _frontiers(results),
        "load-wait": _waits(results),
        "load-shares": _shares(results),
        "load-deadline": _deadlines(results),
    }
    return write_drawn(drawn, folder)


def _panels(count: int, *, height: float = 4.2) -> tuple[Any, list[Any]]:
    with bench_extra("The load test's figures"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    columns = min(3, max(1, count))
    rows = -(-max(1, count) // columns)
    figure = Figure(figsize=(5.2 * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count]


def _title(level: Level) -> str:
    return "without the constraint" if level.load is None else f"load {level.load:g} ({level.rate_per_s:.1f} queries/s)"


def _style(router: str, place: int) -> dict[str, Any]:
    if router == _OURS:
        return {"color": "black", "linewidth": 2.4, "zorder": 5}
    if router == "oracle":
        return {"color": "0.3", "linewidth": 1.2, "linestyle": "--"}
    return {"color": f"C{place % _PER_STYLE}", "linewidth": 1.2, "linestyle": "-" if place < _PER_STYLE else "-."}


def _frontiers(results: LoadResults) -> Any:
    figure, panels = _panels(len(results.levels))
    for panel, level in zip(panels, results.levels, strict=True):
        for place, (router, found) in enumerate(level.routers.items()):
            cost, quality = _hull(found)
            if router.startswith("single:"):
                panel.scatter(cost, quality, s=14, color="0.5", zorder=4)
            else:
                panel.plot(cost, quality, marker=".", label=_plain(router), **_style(router, place))
        panel.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
        panel.set_title(_title(level), fontsize=10)
        panel.set_xlabel(_plain(f"cost, as a share of {results.reference}"))
        panel.set_ylabel("quality, as a share of it")
        panel.grid(alpha=0.2)
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _hull(found: RouterLoad) -> tuple[list[float], list[float]]:
    points = [(one.cost.mean or 0.0, one.quality.mean or 0.0) for one in found.points]
    frontier = upper_hull(*zip(*points, strict=True))
    return frontier.cost.tolist(), frontier.quality.tolist()


def _waits(results: LoadResults) -> Any:
    levels = [level for level in results.levels if level.load is not None]
    figure, panels = _panels(len(levels))
    for panel, level in zip(panels, levels, strict=True):
        for place, (router, found) in enumerate(level.routers.items()):
            if found.timeline is not None:
                waits = [np.nan if wait is None else wait for wait in found.timeline.wait_s]
                panel.plot(_middles(found.timeline), waits, label=_plain(router), **_style(router, place))
        panel.axhline(results.deadline_s, color="0.6", linewidth=0.8, linestyle=":")
        panel.set_title(_title(level), fontsize=10)
        panel.set_xlabel("s")
        panel.set_ylabel("mean wait, s")
        panel.grid(alpha=0.2)
    if panels and panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(fontsize=7, frameon=False)
    return figure


def _shares(results: LoadResults) -> Any:
    with bench_extra("The load test's figures"):
        from matplotlib import colormaps
    levels = [level for level in results.levels if level.load is not None]
    figure, panels = _panels(len(levels))
    for panel, level in zip(panels, levels, strict=True):
        router = _OURS if _OURS in level.routers else next(iter(level.routers))
        shown = level.routers[router].timeline
        if shown is not None:
            colours = [*(colormaps["tab20"](place % 20) for place in range(len(shown.shares))), (0.1, 0.1, 0.1, 1.0)]
            panel.stackplot(
                _middles(shown),
                *shown.shares.values(),
                shown.shed,
                labels=[*map(_plain, shown.shares), "turned away"],
                colors=colours,
            )
        panel.set_title(f"{_plain(router)}, {_title(level)}", fontsize=10)
        panel.set_xlabel("s")
        panel.set_ylabel("share of the queries")
        panel.set_ylim(0.0, 1.0)
    if panels:
        panels[-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _deadlines(results: LoadResults) -> Any:
    levels = [level for level in results.levels if level.load is not None]
    figure, panels = _panels(2)
    for panel, name in zip(panels, ("quality", "cost"), strict=True):
        for place, router in enumerate(results.levels[0].routers):
            values = [getattr(_shown(results, level.routers[router]), name).mean for level in levels]
            panel.plot(
                [level.load for level in levels], values, marker="o", label=_plain(router), **_style(router, place)
            )
        panel.set_xlabel("load, as a share of the pool's capacity")
        panel.set_ylabel(f"{name}, as a share of {_plain(results.reference)}")
        panel.set_title(f"{name} within {results.deadline_s:g} s at λ = {results.shown_trade_off:g}", fontsize=10)
        panel.grid(alpha=0.2)
    panels[1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _shown(results: LoadResults, found: RouterLoad) -> Any:
    return min(found.points, key=lambda one: abs(one.trade_off - results.shown_trade_off))


def _middles(shown: Timeline) -> list[float]:
    return [(place + 0.5) * shown.bin_s for place in range(len(shown.arrivals))]


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
