"""Checks of a database that several gateways share, and of what waits for it on the local disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mixllm.cli.checks.checkpoints import check_states
from mixllm.cli.checks.finding import Finding, fail, ok, warn
from mixllm.cli.output import seconds
from mixllm.config import StoreConfig
from mixllm.errors import MissingExtraError, MixLLMError
from mixllm.interfaces import FeatureMap

__all__ = ["check_database"]


def check_database(config: StoreConfig, features: FeatureMap | None) -> Iterator[Finding]:
    """Look into the database without changing it, and at the spool."""
    yield from _look(config, features)
    yield _spool(Path(config.spool))


def _look(config: StoreConfig, features: FeatureMap | None) -> Iterator[Finding]:
    try:
        from mixllm.store.postgres.database import Database
        from mixllm.store.postgres.migrations import SCHEMA_VERSION, read_version
        from mixllm.store.postgres.reading import read_ends, read_state, read_states, read_totals
    except ImportError:
        yield fail("store", "psycopg is not installed", str(MissingExtraError("A PostgreSQL store", "postgres")))
        return
    try:
        database = Database(url=config.database_url(os.environ), schema=config.schema)
        with closing(database.connect()) as connection:
            started_s = time.perf_counter()
            version = read_version(connection, database)
            took_s = time.perf_counter() - started_s
            if version < SCHEMA_VERSION:
                done = "made" if version == 0 else f"brought from format {version} to {SCHEMA_VERSION}"
                yield ok("store", f"{database.place} answers in {seconds(took_s)}; tables are {done} at the next start")
                return
            totals = ", ".join(f"{count} {name}" for name, count in read_totals(connection).items())
            yield ok("store", f"{database.place} answers in {seconds(took_s)}, format {version}: {totals}")
            last_seq, _ = read_ends(connection)
            yield from check_states(
                states=read_states(connection),
                newest=read_state(connection, None),
                last_seq=last_seq,
                features=features,
            )
    except MixLLMError as error:
        yield fail("store", str(error), "Start the database, or correct store.url.")


def _spool(folder: Path) -> Finding:
    place = folder if folder.exists() else folder.absolute().parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        return fail("spool", f"{folder} cannot be written", "Give this user the right to write it, or set store.spool.")
    files = sorted(folder.glob("*.spool")) if folder.is_dir() else []
    if files:
        size = sum(file.stat().st_size for file in files)
        return warn(
            "spool",
            f"{folder} holds {len(files)} files ({size} bytes) that a gateway has not shipped yet",
            "Nothing, if a gateway runs there or will be started there: it ships them.",
        )
    return ok("spool", f"nothing waits in {folder}")
