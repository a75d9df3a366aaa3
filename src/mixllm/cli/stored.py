"""The store that a command reads: the one of the configuration, or the file of ``--store``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixllm.config import Config
from mixllm.errors import ConfigError
from mixllm.interfaces import Store

__all__ = ["open_for_reading"]


@contextmanager
def open_for_reading(config: Config | None, config_path: Path, store_path: Path | None) -> Iterator[tuple[Store, str]]:
    """Open a store that exists; yield it and what it is called.

    Parameters
    ----------
    config
        The configuration; not needed where `store_path` is given.
    config_path
        Where it was read from, for messages.
    store_path
        A SQLite file in place of the configured store.

    Raises
    ------
    ConfigError
        Where there is no store that another process could read.
    StoreError
        Where it cannot be opened.
    """
    if store_path is None:
        assert config is not None, "one of both is given"
        if config.store.kind == "memory":
            raise ConfigError(
                f"{config_path}: store.kind is memory, which no other process can read. Set it to sqlite."
            )
        if config.store.kind == "postgres":
            store, place = _database(config)
            try:
                yield store, place
            finally:
                store.close()
            return
        store_path = Path(config.store.path)
    if not store_path.is_file():
        raise ConfigError(
            f"{store_path}: there is no store. Give the file with --store, or its configuration with --config."
        )
    from mixllm.store import SQLiteStore

    file: Store = SQLiteStore(path=store_path)
    try:
        yield file, str(store_path)
    finally:
        file.close()


def _database(config: Config) -> tuple[Store, str]:
    from mixllm.store import PostgresStore

    # Without a spool: what other processes have spooled is none of a reader's business.
    store = PostgresStore(url=config.store.database_url(os.environ), schema=config.store.schema, connect_patience_s=0.0)
    return store, store.place
