"""Routing logs: which LLM answered which query how well, at what cost and how fast; read from and written to files.

`open_log` reads every kind, `check_log` lists what is wrong with one. Functions that need pyarrow load it when they
are called, so that a `RoutingLog` can be made and used without it.
"""

from __future__ import annotations

from mixllm.logs.benchmark_prompts import last_block
from mixllm.logs.default_label import default_label
from mixllm.logs.door import check_log, open_log
from mixllm.logs.findings import LogProblem, LogReport
from mixllm.logs.parquet import OUTCOMES_FILE, QUERIES_FILE, read_log, write_log
from mixllm.logs.prices import fit_price
from mixllm.logs.routerbench import read_routerbench
from mixllm.logs.routing_log import RoutingLog

__all__ = [
    "OUTCOMES_FILE",
    "QUERIES_FILE",
    "LogProblem",
    "LogReport",
    "RoutingLog",
    "check_log",
    "default_label",
    "fit_price",
    "last_block",
    "open_log",
    "read_log",
    "read_routerbench",
    "write_log",
]
