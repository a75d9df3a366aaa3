"""Where decisions, outcomes, feedback, the pool's changes and learned state are kept.

`SQLiteStore` keeps them in one file, durably; `PostgresStore` in a database that several gateways share; `MemoryStore`
keeps the newest of them in memory. All fulfil `mixllm.interfaces.Store` and pass
`mixllm.conformance.store.check_store`. ``sqlite3`` and ``psycopg`` are imported when a store that needs them is first
asked for, so that ``import mixllm`` loads no database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixllm.errors import MissingExtraError
from mixllm.store.memory import MemoryStore

if TYPE_CHECKING:
    from mixllm.store.postgres import PostgresStore
    from mixllm.store.sqlite import SQLiteStore

__all__ = ["MemoryStore", "PostgresStore", "SQLiteStore"]


def __getattr__(name: str) -> object:
    if name == "SQLiteStore":
        from mixllm.store.sqlite import SQLiteStore

        return SQLiteStore
    if name == "PostgresStore":
        try:
            from mixllm.store.postgres import PostgresStore
        except ImportError as error:
            raise MissingExtraError("A PostgreSQL store", "postgres") from error

        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
