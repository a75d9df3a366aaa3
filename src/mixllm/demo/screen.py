"""What the demo shows while it runs and when it ends."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mixllm.demo.tally import DemoResult, LLMShare, Tally

__all__ = ["LiveView", "final_table", "per_llm_table"]

_BARS = "▁▂▃▄▅▆▇█"


class LiveView:
    """Shares, quality, cost and latency per LLM, money saved, regret; redrawn as answers come.

    Parameters
    ----------
    tally
        What has been counted.
    total
        Queries in all.
    """

    def __init__(self, *, tally: Tally, total: int) -> None:
        self.tally = tally
        self.progress = Progress(
            TextColumn("queries"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeRemainingColumn()
        )
        self._task = self.progress.add_task("queries", total=total)

    def advance(self) -> None:
        """Count one more query as done."""
        self.progress.advance(self._task)

    def __rich__(self) -> RenderableType:
        if len(self.tally) == 0:
            return Panel(self.progress, title="MixLLM demo")
        return Panel(
            Group(
                self.progress,
                per_llm_table(self.tally.per_llm(), self.tally.reference),
                _savings(self.tally),
                Text(f"regret per query  {_sparkline(self.tally.regret_per_query())}"),
            ),
            title="MixLLM demo",
        )


def per_llm_table(shares: dict[str, LLMShare], reference: str) -> Table:
    """Return one row per LLM, the busiest first."""
    table = Table("LLM", "share", "", "quality", "cost", "latency", box=None, pad_edge=False)
    for name, share in sorted(shares.items(), key=lambda item: -item[1].share):
        table.add_row(
            f"{name} *" if name == reference else name,
            f"{share.share:6.1%}",
            "█" * round(20 * share.share),
            "–" if share.quality is None else f"{share.quality:.3f}",
            f"${share.cost_usd:.4f}",
            "–" if share.latency_s is None else f"{share.latency_s:.2f} s",
        )
    return table


def final_table(result: DemoResult) -> Table:
    """Return the end of the story: the whole run and its thirds against always asking the strongest LLM."""
    table = Table("", "quality", "cost", title=f"against always {result.reference}")
    table.add_row("whole run", f"{result.quality_ratio:.1%}", f"{result.cost_ratio:.1%}", style="bold")
    for name, third in zip(("first third", "second third", "last third"), result.thirds, strict=False):
        table.add_row(name, f"{third.quality_ratio:.1%}", f"{third.cost_ratio:.1%}")
    return table


def _savings(tally: Tally) -> Text:
    whole, recent = tally.ratios(), tally.recent()
    saved = tally.reference_cost_usd() - tally.cost_usd()
    return Text(
        f"* strongest. Against always asking it: {whole.quality_ratio:.1%} of its quality at {whole.cost_ratio:.1%} of "
        f"its cost, ${saved:.4f} saved; lately {recent.quality_ratio:.1%} at {recent.cost_ratio:.1%}"
    )


def _sparkline(values: tuple[float, ...]) -> str:
    top = max(values, default=0.0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * (len(_BARS) - 1) + 0.5))] for value in values)
