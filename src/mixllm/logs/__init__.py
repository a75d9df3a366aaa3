"""Routing logs: which LLM answered which query how well, at what cost and how fast; read from and written to parquet.

`read_log` and `write_log` load pyarrow when they are called, so that a `RoutingLog` can be made and used without it.
"""

from __future__ import annotations

from mixllm.logs.parquet import OUTCOMES_FILE, QUERIES_FILE, read_log, write_log
from mixllm.logs.prices import fit_price
from mixllm.logs.routing_log import RoutingLog

__all__ = ["OUTCOMES_FILE", "QUERIES_FILE", "RoutingLog", "fit_price", "read_log", "write_log"]
