"""What goes wrong on the servers' side: gateways killed and started again, the database stopped for a while."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from benchmarks.reliability.processes import Process

__all__ = ["Database", "keep_running", "kill_gateways", "kill_workers", "stop_database"]


class Database(Protocol):
    """A server that can be stopped and started again."""

    def stop(self) -> None:
        """Stop at once, as a crash does."""

    def start(self) -> None:
        """Start again."""


async def kill_gateways(gateways: Sequence[Process], *, every_s: float, until_s: float, counts: Counter[str]) -> None:
    """Kill one of `gateways` every `every_s`, the last that answers too; start again whichever has ended."""
    rng = random.Random(1)
    due_s = time.monotonic() + every_s
    while time.monotonic() < until_s:
        await _start_again(gateways, counts)
        if time.monotonic() >= due_s:
            due_s += every_s
            answering = [one for one in gateways if await asyncio.to_thread(one.health) is not None]
            rng.choice(answering or gateways).kill()
            counts["kills"] += 1
            counts["of these, kills of the only one that answered"] += len(answering) == 1
            counts["of these, kills where none answered yet"] += not answering
        await asyncio.sleep(0.05)


async def _start_again(gateways: Sequence[Process], counts: Counter[str]) -> None:
    for gateway in gateways:
        if not gateway.runs():
            counts["starts"] += 1
            gateway.start()


async def keep_running(gateways: Sequence[Process], counts: Counter[str]) -> None:
    """Start again whichever of `gateways` has ended, until cancelled."""
    while True:
        await _start_again(gateways, counts)
        await asyncio.sleep(0.2)


async def kill_workers(gateway: Process, *, every_s: float, until_s: float, counts: Counter[str]) -> None:
    """Kill one of the workers of `gateway` every `every_s`; their parent starts them again."""
    rng = random.Random(1)
    due_s = time.monotonic() + every_s
    while time.monotonic() < until_s:
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        due_s += every_s
        workers = gateway.pids()[1:]
        if not workers:
            counts["kills left out, as no worker ran"] += 1
            continue
        os.kill(rng.choice(workers), signal.SIGKILL)
        counts["kills"] += 1


async def stop_database(database: Database, *, at_s: float, seconds: float, counts: Counter[str]) -> None:
    """Stop the database for `seconds`, at a time of the monotonic clock."""
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    await asyncio.to_thread(database.stop)
    counts["database stopped, s"] = round(seconds)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(database.start)
