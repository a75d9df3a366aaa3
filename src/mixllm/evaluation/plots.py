"""Figures of the frontiers; loads matplotlib when one is drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

from mixllm.evaluation.extra import bench_extra
from mixllm.evaluation.figure_files import write_drawn
from mixllm.evaluation.registry import SINGLE
from mixllm.evaluation.results import OURS, DatasetResults, Results
from mixllm.evaluation.tables import ranked

__all__ = ["draw_frontiers", "write_figures"]

_BOUND = "oracle"
_FLOOR = "zero"
_MOST_PER_STYLE = 10
_LABEL_SIZE = 7.0
_POINTS_PER_INCH = 72.0
_LABEL_PLACES = tuple((side, down) for down in (-9.0, 3.0, -18.0, 12.0, -27.0, 21.0, -36.0, 30.0) for side in (1, -1))
"""Where a point's name may stand: right or left of it, so many points above or below."""

_Box: TypeAlias = tuple[float, float, float, float]


def write_figures(results: Results, folder: Path, *, log_cost: bool = False) -> list[Path]:
    """Write ``frontier-<log>.svg`` and ``.png`` for every log, and return their paths.

    Parameters
    ----------
    results
        What to draw.
    folder
        Where to.
    log_cost
        Whether the cost's axis is logarithmic.

    Raises
    ------
    MissingExtraError
        Where matplotlib is not installed.
    ConfigError
        Where the folder cannot be written.
    """
    drawn = {
        "frontier-" + re.sub(r"[^\w.-]+", "-", name): draw_frontiers(name, found, log_cost=log_cost)
        for name, found in results.datasets.items()
    }
    return write_drawn(drawn, folder)


def draw_frontiers(name: str, found: DatasetResults, *, log_cost: bool = False) -> Any:
    """Return matplotlib's figure of one log: a line with a band of ± one standard error for each router.

    Single LLMs are grey dots with their names; the oracle is dashed, the zero router dotted.
    """
    with bench_extra("The benchmark's figures"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Names in a log are anybody's: a dollar sign must not start matplotlib's mathematics.
    _draw_lines(axes, found)
    axes.set_xscale("log" if log_cost else "linear")
    axes.margins(x=0.08)
    _draw_points(axes, found)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(_plain(f"cost, as a share of always {found.reference}"))
    axes.set_ylabel("quality, as a share of it")
    axes.set_title(_plain(f"{name}: {found.queries} queries, {found.splits} splits, ± one standard error"), fontsize=10)
    axes.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    axes.grid(alpha=0.2)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    return figure


def _draw_lines(axes: Any, found: DatasetResults) -> None:
    plain = 0
    for router in ranked(found):
        curve = found.frontiers.get(router)
        if curve is None:
            continue
        if router == _BOUND:
            style: dict[str, Any] = {"color": "0.3", "linestyle": "--", "linewidth": 1.2}
        elif router == _FLOOR:
            style = {"color": "0.3", "linestyle": ":", "linewidth": 1.4}
        elif router == OURS:
            style = {"color": "black", "linewidth": 2.4, "zorder": 5}
        else:
            line = "-" if plain < _MOST_PER_STYLE else "-."
            style = {"color": f"C{plain % _MOST_PER_STYLE}", "linewidth": 1.3, "linestyle": line}
            plain += 1
        axes.plot(curve.cost, curve.quality, label=_plain(router), **style)
        low = [mean - error for mean, error in zip(curve.quality, curve.se, strict=True)]
        high = [mean + error for mean, error in zip(curve.quality, curve.se, strict=True)]
        axes.fill_between(curve.cost, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _draw_points(axes: Any, found: DatasetResults) -> None:
    """Draw the routers that are one point, each name where it covers no other, as far as there is room."""
    points: list[tuple[float, float, str]] = []
    for router, numbers in found.routers.items():
        quality, cost = numbers["realised_quality"].mean, numbers["realised_cost"].mean
        if router in found.frontiers or quality is None or cost is None:
            continue
        single = router.startswith(f"{SINGLE}:")
        axes.scatter([cost], [quality], s=22, color="0.5" if single else "0.2", marker="o" if single else "x", zorder=4)
        points.append((cost, quality, router.removeprefix(f"{SINGLE}:")))
    scale = axes.figure.dpi / _POINTS_PER_INCH
    taken: list[_Box] = []
    inside = axes.get_window_extent()
    for cost, quality, name in sorted(points):
        x, y = axes.transData.transform((cost, quality))
        width, height = len(name) * _LABEL_SIZE * 0.6 * scale, _LABEL_SIZE * 1.2 * scale
        for side, down in _LABEL_PLACES:
            left = x + 5 * scale if side > 0 else x - 5 * scale - width
            box = (left, y + down * scale, left + width, y + down * scale + height)
            if inside.x0 <= box[0] and box[2] <= inside.x1 and not any(_overlap(box, other) for other in taken):
                break
        else:
            side, down = _LABEL_PLACES[0]
            box = (x, y, x, y)
        taken.append(box)
        axes.annotate(
            _plain(name),
            (cost, quality),
            xytext=(5 * side, down),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            fontsize=_LABEL_SIZE,
            color="0.35",
        )


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
