"""How a store begins: with the database, or, while that is away, with the local copy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

import psycopg

from mixllm.errors import StoreError
from mixllm.store.postgres.database import Connection, Database
from mixllm.store.postgres.migrations import migrate
from mixllm.store.postgres.reading import read_ends, read_log_id
from mixllm.store.postgres.start_file import StartFile
from mixllm.types import KeptStart, Value

__all__ = ["Opened", "greeting", "opened"]

_LOG = logging.getLogger("mixllm.store")
_RETRY_S = 0.25


class Opened(Value, frozen=True, kw_only=True):
    """What a store begins with.

    Parameters
    ----------
    log_id
        Which log of events it is.
    last_seq, last_change
        The ends of the log of events and of the pool's changes, as far as they are known.
    kept
        The local copy, where the database is away.
    problem
        Why it is away.
    """

    log_id: str
    last_seq: int
    last_change: int
    kept: KeptStart | None = None
    problem: str | None = None


def opened(database: Database, file: StartFile, *, patience_s: float) -> Opened:
    """Bring the schema up to date and return what the database says; where it is away, what the local copy says.

    Parameters
    ----------
    database
        Where it is.
    file
        The local copy.
    patience_s
        How long a server that cannot be reached is waited for where there is no usable copy.

    Raises
    ------
    StoreError
        Where the database cannot be used, or is away and there is no copy.
    """
    if file.exists():
        try:
            return _asked(database)
        except StoreError as error:
            if _is_away(error) and (local := file.read()) is not None:
                start = local.start
                _LOG.error("%s Until then everything starts from the local copy.", error)
                return Opened(
                    log_id=local.log_id,
                    last_seq=start.state.position,
                    last_change=start.change,
                    kept=start,
                    problem=str(error),
                )
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return _asked(database)
        except StoreError as error:
            if not _is_away(error):
                raise
            if time.monotonic() >= deadline_s:
                raise StoreError(
                    f"{error} A start without it needs the local copy that a gateway keeps in store.spool; there is "
                    "none that can be used."
                ) from error
            time.sleep(_RETRY_S)


def greeting(database: Database, begun: Opened) -> Callable[[Connection], None]:
    """Return what is to be asked of every new connection before the database is used.

    It brings the schema up to date, which a start without the database could not do, and raises `StoreError` where
    another log of events is there than the one that was learned from.
    """

    def greet(connection: Connection) -> None:
        migrate(connection, database)
        if read_log_id(connection) != begun.log_id:
            raise StoreError(
                f"Store {database.place}: the database holds another log than the one that this gateway has learned "
                "from. Restart the gateway, so that it starts from that one; what is spooled is shipped to it then."
            )
        if begun.kept is not None and read_ends(connection)[0] < begun.kept.state.position:
            _LOG.error(
                "Store %s: the database is older than the local copy. Restart the gateway, so that it learns from the "
                "database alone.",
                database.place,
            )

    return greet


def _asked(database: Database) -> Opened:
    try:
        with closing(database.connect()) as connection:
            migrate(connection, database)
            last_seq, last_change = read_ends(connection)
            return Opened(log_id=read_log_id(connection), last_seq=last_seq, last_change=last_change)
    except psycopg.Error as error:
        raise database.fault(error) from error


def _is_away(error: StoreError) -> bool:
    return isinstance(error.__cause__, psycopg.OperationalError)
