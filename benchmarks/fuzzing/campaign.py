"""Many cases in a row: in a process that may die, each within a time limit, with a note of what went wrong."""

from __future__ import annotations

import gc
import json
import multiprocessing
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from benchmarks.fuzzing.target import Target

__all__ = ["attempt", "campaign"]

LIMIT_S = 5.0
"""Most time for one case: what is slower counts as a hang."""

_STUCK_S = 60.0
"""A process that does not even answer the alarm is killed."""

_MAX_MEMORY_BYTES = 6 * 2**30
"""What asks for more gets a `MemoryError`, which is a fault."""

_DIED = "Died"
_BATCH_S = 2.0
_GC_EVERY = 1000


class _TooSlowError(BaseException):
    """The case took longer than `LIMIT_S`; no `Exception`, so that nothing catches it on its way."""


def attempt(target: Target, *, seed: int, number: int) -> tuple[str, dict[str, Any] | None]:
    """Make case `number` and check it; return what came of it, and the fault where there is one."""
    rng = np.random.default_rng([seed, number])
    case = target.make(rng)
    try:
        with _time_limit(), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return target.check(case, rng), None
    except (Exception, _TooSlowError) as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        fault = {
            "error": type(error).__name__,
            "message": str(error)[:300],
            "place": place,
            "trace": traceback.format_exc()[-3000:],
            "case": number,
            "bytes": case[:20_000].hex(),
        }
        return "fault", fault


def campaign(target: Target, *, seed: int, cases: int, partial: Path, limit_s: float = float("inf")) -> dict[str, Any]:
    """Check `cases` cases and return the counts; goes on where an earlier run in `partial` has stopped.

    Parameters
    ----------
    target
        What is fuzzed.
    seed
        Of the generators: case n comes from (seed, n), whatever came before it.
    cases
        How many.
    partial
        Where the state of the run is kept.
    limit_s
        Stop after so long; the next run goes on.
    """
    run: dict[str, Any] = {"target": target.name, "seed": seed, "done": 0, "wall_s": 0.0, "slowest_s": 0.0}
    run |= {"outcomes": {}, "faults": {}, "mended": {}, "peak_rss_mib": 0.0}
    if partial.exists():
        kept = json.loads(partial.read_text())
        if (kept["target"], kept["seed"]) == (target.name, seed):
            run |= kept
    started_s = time.monotonic()
    context = multiprocessing.get_context("fork")
    while run["done"] < cases and time.monotonic() - started_s < limit_s:
        ours, theirs = context.Pipe(duplex=False)
        first = run["done"]
        now = context.Value("q", first, lock=False)
        worker = context.Process(target=_work, args=(target, seed, first, cases, theirs, now), daemon=True)
        worker.start()
        theirs.close()
        while run["done"] < cases and time.monotonic() - started_s < limit_s:
            try:
                told = ours.recv() if ours.poll(_STUCK_S) else None
            except EOFError:
                told = None
            if told is None:
                worker.kill()
                worker.join()
                number = int(now.value)
                died = {"error": _DIED, "message": f"exit {worker.exitcode}", "place": "process", "case": number}
                _add(run, {"outcomes": {"fault": 1}, "faults": [died], "done": number + 1})
                break
            _add(run, told)
            _say(run, cases)
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(run, indent=1) + "\n")
        worker.kill()
        worker.join()
    _try_again(target, run)
    return run


def _try_again(target: Target, run: dict[str, Any]) -> None:
    """Take faults that are none any more, because they were mended while the run was interrupted, off the list."""
    for name, fault in list(run["faults"].items()):
        if fault["error"] != _DIED and attempt(target, seed=run["seed"], number=fault["case"])[1] is None:
            run["mended"][name] = run["faults"].pop(name)


def _work(target: Target, seed: int, first: int, cases: int, out: Connection, now: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    number = first
    while number < cases:
        outcomes: Counter[str] = Counter()
        faults = []
        slowest_s, began_s = 0.0, time.monotonic()
        while number < cases and time.monotonic() - began_s < _BATCH_S:
            now.value = number
            case_s = time.perf_counter()
            outcome, fault = attempt(target, seed=seed, number=number)
            slowest_s = max(slowest_s, time.perf_counter() - case_s)
            outcomes[outcome] += 1
            if fault is not None:
                faults.append(fault)
            number += 1
            if number % _GC_EVERY == 0:
                gc.collect()
        told = {"outcomes": dict(outcomes), "faults": faults, "done": number, "slowest_s": slowest_s}
        told["wall_s"] = time.monotonic() - began_s
        told["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        out.send(told)


def _add(run: dict[str, Any], told: dict[str, Any]) -> None:
    run["done"] = told["done"]
    run["wall_s"] = round(run["wall_s"] + told.get("wall_s", 0.0), 2)
    run["slowest_s"] = round(max(run["slowest_s"], told.get("slowest_s", 0.0)), 4)
    run["peak_rss_mib"] = round(max(run["peak_rss_mib"], told.get("peak_rss_mib", 0.0)), 1)
    for outcome, count in told["outcomes"].items():
        run["outcomes"][outcome] = run["outcomes"].get(outcome, 0) + count
    for fault in told["faults"]:
        known = run["faults"].setdefault(f"{fault['error']} at {fault['place']}", {"count": 0, **fault})
        known["count"] += 1
        if len(fault.get("bytes", "")) < len(known.get("bytes", "")):
            known.update(fault)


def _say(run: dict[str, Any], cases: int) -> None:
    rate = run["done"] / max(run["wall_s"], 1e-9)
    print(
        f"{run['target']}: {run['done']:,} of {cases:,}, {rate:,.0f}/s, {run['outcomes']}, "
        f"slowest {run['slowest_s']} s, {run['peak_rss_mib']} MiB, faults: {list(run['faults'])}",
        flush=True,
    )


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise _TooSlowError(f"longer than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
