"""Checks of what a gateway loads: the encoder, and the store with what was learned."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mixllm.assembly import build_features, build_untrained_encoder
from mixllm.cli.checks.checkpoints import check_states
from mixllm.cli.checks.finding import Finding, fail, ok, warn
from mixllm.cli.output import seconds
from mixllm.config import Config, StoreConfig
from mixllm.errors import MixLLMError
from mixllm.interfaces import FeatureMap
from mixllm.store.database import SQLITE_FAULTS, store_fault
from mixllm.store.migrations import APPLICATION_ID, SCHEMA_VERSION
from mixllm.store.reading import read_last_seq, read_state, read_states, read_totals

__all__ = ["check_encoder", "check_store"]

_PROBE = "What is the capital of France?"


def check_encoder(config: Config) -> tuple[list[Finding], FeatureMap | None]:
    """Load the encoder and the tags, and encode a text; return the features too, where that worked."""
    started_s = time.perf_counter()
    try:
        encoder = build_untrained_encoder(config.encoder, config.tags)
        features = build_features(config.tags, encoder)
        loaded_s = time.perf_counter()
        vector = encoder.encode(_PROBE)
    except MixLLMError as error:
        return [fail("encoder", str(error), "Correct encoder or tags in the configuration.")], None
    took_s = time.perf_counter() - loaded_s
    if vector.shape != (encoder.dimension,) or not abs(float((vector**2).sum()) - 1.0) < 1e-3:
        return [fail("encoder", "encodes to something else than a unit vector", "Use another encoder.")], None
    said = (
        f"{config.encoder.kind}, {encoder.dimension} dimensions, {len(features.tags)} tags; loaded in "
        f"{seconds(loaded_s - started_s)}, encodes in {seconds(took_s)}"
    )
    return [ok("encoder", said)], features


def check_store(config: StoreConfig, features: FeatureMap | None) -> Iterator[Finding]:
    """Look into the store without changing it: format, integrity, content and the newest checkpoint."""
    if config.kind == "memory":
        yield warn("store", "is in memory: nothing learned survives a restart", "Set store.kind to sqlite.")
        return
    if config.kind == "postgres":
        from mixllm.cli.checks.database import check_database

        yield from check_database(config, features)
        return
    path = Path(config.path)
    if not path.exists():
        yield _absent(path)
        return
    if not (path.is_file() and os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)):
        yield fail("store", f"{path} cannot be written", "Give this user the right to write the file and its folder.")
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as reader:
            yield from _look(reader, path, features)
    except SQLITE_FAULTS as error:
        yield fail("store", str(store_fault(path, error)), "Restore a copy, or set another store.path.")


def _absent(path: Path) -> Finding:
    if not path.parent.is_dir():
        return fail("store", f"the folder of {path} does not exist", f"mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        return fail("store", f"the folder of {path} may not be written", "Give this user the right to write it.")
    return ok("store", f"{path} will be made when a gateway starts")


def _look(reader: sqlite3.Connection, path: Path, features: FeatureMap | None) -> Iterator[Finding]:
    (application,) = reader.execute("PRAGMA application_id").fetchone()
    (version,) = reader.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and path.stat().st_size:
        yield fail("store", f"{path} is a database of another program", "Set another store.path.")
        return
    if version > SCHEMA_VERSION:
        yield fail("store", f"{path} was written by a newer MixLLM", "Upgrade: pip install -U mixllm")
        return
    (verdict,) = reader.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        yield fail("store", f"{path} is damaged ({verdict})", "Move it aside and restore a copy.")
        return
    if version < SCHEMA_VERSION:
        yield ok("store", f"{path} has format {version}; it is brought to {SCHEMA_VERSION} when a gateway starts")
        return
    totals = ", ".join(f"{count} {name}" for name, count in read_totals(reader).items())
    yield ok("store", f"{path} is intact, format {version}: {totals}")
    yield from check_states(
        states=read_states(reader), newest=read_state(reader, None), last_seq=read_last_seq(reader), features=features
    )
