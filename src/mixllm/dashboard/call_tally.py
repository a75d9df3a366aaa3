"""How calls ended, and how long those took that answered."""

from __future__ import annotations

from mixllm.dashboard.figures import Calls, Times
from mixllm.dashboard.quantiles import StreamQuantiles
from mixllm.types import Outcome

__all__ = ["CallTally"]


class CallTally:
    """Calls by how they ended, their cost, and the times of the answers."""

    __slots__ = ("_latency", "_statuses", "_ttft", "cost_usd")

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._latency, self._ttft = StreamQuantiles(), StreamQuantiles()
        self.cost_usd = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count a call."""
        status = outcome.status.value
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self.cost_usd += outcome.cost_usd or 0.0

    def add_answer(self, outcome: Outcome) -> None:
        """Count the times of the call whose answer was given."""
        if outcome.latency_s is not None:
            self._latency.add(outcome.latency_s)
        if outcome.ttft_s is not None:
            self._ttft.add(outcome.ttft_s)

    def calls(self) -> Calls:
        """Return how they ended."""
        return Calls(**self._statuses)

    def latency_s(self) -> Times:
        """Return the times to the last token."""
        return _times(self._latency)

    def ttft_s(self) -> Times:
        """Return the times to the first token."""
        return _times(self._ttft)


def _times(times: StreamQuantiles) -> Times:
    return Times(p50=times.quantile(0.5), p95=times.quantile(0.95), count=times.count)
