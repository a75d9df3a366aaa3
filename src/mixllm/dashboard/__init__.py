"""Windows on the store: what a router did in a period, as a report and as a page that the gateway serves.

`read_report` makes a `Report` of a store; `mixllm report` prints it. `mixllm.dashboard.routes` has the page and its
data; it needs Starlette, so it is imported by itself.
"""

from __future__ import annotations

from mixllm.dashboard.figures import Report
from mixllm.dashboard.period import EVERYTHING, period_s
from mixllm.dashboard.reading import OUT_OF_DOMAIN_THRESHOLD, read_report

__all__ = ["EVERYTHING", "OUT_OF_DOMAIN_THRESHOLD", "Report", "period_s", "read_report"]
