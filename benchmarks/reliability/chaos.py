"""Kills, failing LLMs and a stopped database under load: what clients see, and what is lost or counted twice.

    python -m benchmarks.reliability.chaos [--store postgres] [--seconds 120] [--rate 20] [--every 5] [--outage 30]

``postgres``: three gateways on one PostgreSQL server, one of them killed (``kill -9``) every `--every` seconds and
started again, and the server stopped for `--outage` seconds in the middle. ``sqlite``: one gateway with two workers,
which are killed. Each call of an LLM fails with probability `--share` (an error, silence, a lost connection, a cut
answer, a cut stream). Clients turn to another gateway where their connection is lost, and repeat feedback under the
same key until it is acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measuring import store
from benchmarks.reliability.client import Clients, Seen
from benchmarks.reliability.killing import Database, keep_running, kill_gateways, kill_workers, stop_database
from benchmarks.reliability.processes import Process, free_port, wait_until_listening
from benchmarks.reliability.reckoning import Known, final_states, largest_difference

_LLMS = ("first", "second", "third", "fourth")
_SCHEMA = "mixllm"
_SETTLE_S = 180.0


@dataclass(frozen=True, kw_only=True)
class _Stand:
    """What is driven: the gateways, each with its configuration, and the database."""

    gateways: list[Process]
    configs: list[Path]
    known: Known
    database: Database | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between kills")
    parser.add_argument("--outage", type=float, default=30.0, help="seconds without the database; 0: none")
    parser.add_argument("--share", type=float, default=0.3, help="of the LLMs' calls that fail")
    parser.add_argument("--name", help="of the result")
    parser.add_argument("--keep-logs", type=Path, help="folder for the logs of the gateways")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        line = ["benchmarks.reliability.upstream", str(upstream), str(arguments.share)]
        stack.enter_context(Process(arguments=line, port=upstream, log=folder / "upstream.log"))
        wait_until_listening(upstream)
        stand = stack.enter_context(_STANDS[arguments.store](folder, upstream))
        for gateway in stand.gateways:
            gateway.wait_until_ready()
        seen, counts = asyncio.run(_chaos(stand, arguments))
        positions = _settled(stand.gateways)
        states = final_states(stand.gateways, stand.configs, stand.known)
        result = _result(seen, counts, stand, arguments)
        result["replicas"] = {**positions, "largest_relative_difference": largest_difference(states.values())}
        result["replicas"]["compared"] = list(states)
        if arguments.keep_logs:
            arguments.keep_logs.mkdir(exist_ok=True)
            for log in folder.glob("*.log"):
                (arguments.keep_logs / log.name).write_bytes(log.read_bytes())
    command = f"python -m benchmarks.reliability.chaos {' '.join(sys.argv[1:])}".strip()
    name = arguments.name or f"reliability_chaos_{arguments.store}"
    print(store(name, result, command=command).read_text())


async def _chaos(stand: _Stand, arguments: argparse.Namespace) -> tuple[Seen, Counter[str]]:
    urls = tuple(gateway.url for gateway in stand.gateways)
    clients = Clients(urls=urls, llms=_LLMS, share=arguments.share)
    counts: Counter[str] = Counter()
    started_s = time.monotonic()
    until_s = started_s + arguments.seconds
    async with asyncio.TaskGroup() as tasks:
        driving = tasks.create_task(clients.drive(rate=arguments.rate, seconds=arguments.seconds))
        if stand.database is not None and arguments.outage:
            at_s = started_s + (arguments.seconds - arguments.outage) / 2
            tasks.create_task(stop_database(stand.database, at_s=at_s, seconds=arguments.outage, counts=counts))
        if stand.database is None:
            await kill_workers(stand.gateways[0], every_s=arguments.every, until_s=until_s, counts=counts)
        else:
            await kill_gateways(stand.gateways, every_s=arguments.every, until_s=until_s, counts=counts)
        keeping = tasks.create_task(keep_running(stand.gateways, counts))
        await driving
        keeping.cancel()
    return clients.seen, counts


def _settled(gateways: list[Process]) -> dict[str, Any]:
    """Return where the gateways are when all of them have learned the same, at the latest after a while."""
    deadline_s = time.monotonic() + _SETTLE_S
    before: list[dict[str, Any]] = []
    while True:
        for gateway in gateways:
            if not gateway.runs():
                gateway.start()
        healths = [gateway.wait_until_ready() for gateway in gateways]
        found = [
            {"position": health["learning"]["position"], "lag": health["learning"]["lag"], "store": health["store"]}
            for health in healths
        ]
        agreed = len({one["position"] for one in found}) == 1
        spooled = sum(one["store"]["spooled"] for one in found)
        settled = agreed and not spooled and not any(one["lag"] for one in found) and found == before
        if settled or time.monotonic() > deadline_s:
            return {"positions": [one["position"] for one in found], "agreed": agreed, "still_spooled": spooled}
        before = found
        time.sleep(2.0)


def _result(seen: Seen, counts: Counter[str], stand: _Stand, arguments: argparse.Namespace) -> dict[str, Any]:
    held = stand.known.rows()
    answerable = {end: count for end, count in seen.answers.items() if not end.startswith("no LLM")}
    # A stream that its LLM breaks after the first byte cannot be answered by another: it is counted apart.
    broken = seen.answers["stream broken by its LLM after its first byte"]
    good = sum(count for end, count in answerable.items() if end.startswith("answered"))
    whole = sum(answerable.values()) - broken
    lost = [one for one in seen.acknowledged if one not in held["feedback_ids"]]
    dead = [one for one in lost if seen.acknowledged[one] not in held["decision_ids"]]
    return {
        "gateways": len(stand.gateways),
        "seconds": arguments.seconds,
        "requests_per_s": arguments.rate,
        "failing_share": arguments.share,
        "trouble": dict(counts),
        "requests": dict(seen.answers),
        "good_share": round(good / max(1, whole), 5),
        "good_share_with_broken_streams": round(good / max(1, whole + broken), 5),
        "connections_lost_in_the_middle": seen.killed_in_the_middle,
        "slowest_s": round(seen.slowest_s, 2),
        "errors_seen": dict(seen.statuses.most_common(12)),
        "feedback": dict(seen.feedback),
        "feedback_acknowledged": len(seen.acknowledged),
        "feedback_acknowledged_lost": len(lost),
        "of_these_the_decision_is_lost_too": len(dead),
        "feedback_counted_twice": sum(count > 1 for count in held["feedback_ids"].values()),
        "feedback_rows": held["feedback"],
        "decisions": held["decisions"],
        "outcomes": held["outcomes"],
        "decisions_without_outcome": len(held["without_outcome"]),
        "answers_without_decision": sum(one not in held["decision_ids"] for one in seen.answered),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


@contextmanager
def _replicas(folder: Path, upstream: int) -> Iterator[_Stand]:
    from tests.postgres_server import running_server

    with running_server() as server, ExitStack() as stack:
        place = {"url": server.url, "schema": _SCHEMA, "spool": str(folder / "spool")}
        gateways, configs = [], []
        for number in range(3):
            port = free_port()
            configs.append(_write_config(folder / f"gateway-{number}.yaml", upstream, port, {"store": place}))
            gateways.append(_gateway(configs[-1], port))
            # One after the other: so that they do not all make the tables, on a busy machine.
            stack.enter_context(gateways[-1])
            gateways[-1].wait_until_ready()
        known = Known(url=server.url, schema=_SCHEMA)
        yield _Stand(gateways=gateways, configs=configs, known=known, database=server)


@contextmanager
def _workers(folder: Path, upstream: int) -> Iterator[_Stand]:
    port = free_port()
    path = folder / "mixllm.db"
    config = _write_config(folder / "gateway.yaml", upstream, port, {"store": {"path": str(path)}}, workers=2)
    with _gateway(config, port) as gateway:
        yield _Stand(gateways=[gateway], configs=[config], known=Known(path=path), database=None)


_STANDS = {"postgres": _replicas, "sqlite": _workers}


def _gateway(config: Path, port: int) -> Process:
    line = ["mixllm", "serve", "-c", str(config), "--log-level", "warning"]
    return Process(arguments=line, port=port, log=config.with_suffix(".log"))


def _write_config(path: Path, upstream: int, port: int, place: dict[str, Any], *, workers: int = 1) -> Path:
    llms = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"http://127.0.0.1:{upstream}/v1",
                "timeout": 3.0,
                "stream_timeout": 3.0,
            },
            "model_info": {"input_cost_per_token": 1e-6 * (row + 1), "output_cost_per_token": 1e-6 * (row + 1)},
        }
        for row, name in enumerate(_LLMS)
    ]
    gateway = {"port": port, "workers": workers}
    # As many attempts as there are LLMs, so that one that can answer is always reached.
    calls = {"max_attempts": len(_LLMS)}
    path.write_text(yaml.safe_dump({"model_list": llms, **place, "gateway": gateway, "calls": calls}))
    return path


if __name__ == "__main__":
    main()
