"""Connections to the server: how they are made, how the database is called in messages, and what its errors mean."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mixllm.errors import InvalidValueError, StoreError

__all__ = ["ITEM_FAULTS", "Database", "is_lost"]

Connection = psycopg.Connection[tuple[object, ...]]

ITEM_FAULTS = (psycopg.DataError, psycopg.IntegrityError)
"""These say that one item cannot be kept; all other errors concern the database, and so the whole batch."""

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")

_PATIENCE = {
    # A machine that is gone answers nothing: without these, a connection to it would be waited for, for minutes.
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "mixllm",
}

_STATEMENT_TIMEOUT_MS = 30_000

_MEANINGS: tuple[tuple[type[psycopg.Error], str], ...] = (
    (errors.InvalidPassword, "it refuses the password. Correct PGPASSWORD, or the password in the URL's variable."),
    (errors.InvalidAuthorizationSpecification, "it refuses the user. Correct the user in store.url."),
    (errors.InvalidCatalogName, "there is no such database. Make it (createdb), or correct store.url."),
    (errors.InsufficientPrivilege, "the user may not do that. Grant it the right to create and use the schema."),
    (errors.DiskFull, "the server's disk is full. Free space on it; the store goes on by itself."),
    (errors.ReadOnlySqlTransaction, "it is read only, as a standby is. Let store.url lead to the primary server."),
    (errors.TooManyConnections, "it has no connection left. Raise max_connections, or run fewer gateways."),
    (errors.QueryCanceled, "it took too long to answer. Look at its load and its locks."),
)


class Database:
    """Where the data is; makes connections.

    Parameters
    ----------
    url
        ``postgresql://user@host:port/name``, or any other form that libpq takes. A missing password is taken from
        ``PGPASSWORD`` or the password file, as libpq does.
    schema
        Name of the schema that holds the tables: lower-case letters, digits and underscores, at most 40.

    Raises
    ------
    InvalidValueError
        Where one of them cannot be used.

    Examples
    --------
    >>> Database(url="postgresql://me:secret@db.example:5433/routing", schema="mixllm").place
    'postgresql://db.example:5433/routing (schema mixllm)'
    """

    def __init__(self, *, url: str, schema: str) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise InvalidValueError("schema", schema, "1 to 40 lower-case letters, digits and underscores")
        try:
            given = conninfo_to_dict(url)
            self._conninfo = make_conninfo(url, **{key: value for key, value in _PATIENCE.items() if key not in given})
        except psycopg.Error:
            # Neither the text nor libpq's words on it are repeated: there may be a password in them.
            raise InvalidValueError("url", "(not shown)", "like postgresql://user@host:5432/name") from None
        self.schema = schema
        host, port, name = (given.get(key) for key in ("host", "port", "dbname"))
        self.place = f"postgresql://{host or ''}{f':{port}' if port else ''}/{name or ''} (schema {schema})"

    @property
    def channel(self) -> str:
        """The channel of this schema's notifications."""
        return f"mixllm_{self.schema}"

    def connect(self, *, autocommit: bool = True) -> Connection:
        """Return a new connection; raises `StoreError`."""
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
            try:
                # The schema's name is safe: it was checked.
                connection.execute(f"SET search_path TO {self.schema}")
                connection.execute(f"SET statement_timeout TO {_STATEMENT_TIMEOUT_MS}")
                connection.autocommit = autocommit
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise self.fault(error) from error
        return connection

    def fault(self, error: psycopg.Error) -> StoreError:
        """Return what `error` means to the user: the database, what is wrong with it and the next step."""
        meaning = next((meaning for kind, meaning in _MEANINGS if isinstance(error, kind)), None)
        if meaning is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            meaning = "it cannot be reached. Start it, or correct store.url; the store goes on by itself."
        meaning = meaning or "it reports an error. Look into the server's log."
        said = str(error).strip().splitlines()
        return StoreError(f"Store {self.place}: {meaning} ({said[0] if said else type(error).__name__})")


def is_lost(connection: Connection) -> bool:
    """Return whether a connection is of no use any more."""
    return connection.closed or connection.broken
