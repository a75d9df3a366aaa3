"""The schema, as ordered steps that only add; a database of any older version is brought up to date when it is opened.

The version is the one row of the table ``schema_version``. A published step is never changed; a new version of the
schema is a new step at the end. All missing steps run in one transaction, under an advisory lock, so that any number of
gateways may start at once: one of them migrates, the others wait and find it done.
"""

from __future__ import annotations

import zlib

from mixllm.errors import StoreError
from mixllm.store.postgres.database import Connection, Database

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "migrate", "read_version"]

_TABLES = (
    # COLLATE "C": ids sort by their bytes, as they do in the other stores, whatever the database's language.
    """
    CREATE TABLE decisions (
        decision_id text COLLATE "C" NOT NULL PRIMARY KEY,
        created_at_s double precision,
        llm text NOT NULL,
        policy text NOT NULL,
        trade_off double precision,
        model_version bigint NOT NULL,
        tokens_in bigint NOT NULL,
        encoding bytea NOT NULL,
        body text NOT NULL,
        prompt bytea,
        key_id text NOT NULL,
        out_of_domain double precision NOT NULL,
        in_flight bigint NOT NULL
    )
    """,
    # Floating-point numbers do not compress: trying costs time.
    "ALTER TABLE decisions ALTER COLUMN encoding SET STORAGE EXTERNAL",
    # No sequence gives seq (see totals.last_seq), and no foreign key is checked row by row: the writer has looked.
    """
    CREATE TABLE events (
        seq bigint NOT NULL PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ('outcome', 'feedback')),
        event_id text COLLATE "C" NOT NULL,
        decision_id text COLLATE "C" NOT NULL,
        llm text NOT NULL,
        created_at_s double precision,
        body text NOT NULL,
        status text,
        attempt bigint,
        tokens_in bigint,
        tokens_out bigint,
        cost_usd double precision,
        latency_s double precision,
        feedback_kind text,
        metric text,
        source text,
        value double precision,
        key_id text NOT NULL,
        UNIQUE (kind, event_id)
    )
    """,
    "CREATE INDEX events_by_decision ON events (decision_id, seq)",
    "CREATE INDEX events_by_cost ON events (created_at_s, key_id, cost_usd) WHERE cost_usd > 0",
    # One row. Who holds its lock is the one that writes: seq is then given in the order of the commits.
    """
    CREATE TABLE totals (
        only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
        decisions bigint NOT NULL,
        outcomes bigint NOT NULL,
        feedback bigint NOT NULL,
        last_seq bigint NOT NULL,
        last_change bigint NOT NULL
    ) WITH (fillfactor = 10)
    """,
    "INSERT INTO totals (decisions, outcomes, feedback, last_seq, last_change) VALUES (0, 0, 0, 0, 0)",
    """
    CREATE TABLE pool_changes (
        number bigint NOT NULL PRIMARY KEY,
        after_seq bigint NOT NULL,
        llm text NOT NULL,
        active boolean NOT NULL,
        created_at_s double precision,
        body text NOT NULL
    )
    """,
    """
    CREATE TABLE states (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        version bigint NOT NULL UNIQUE,
        position bigint NOT NULL,
        created_at_s double precision,
        payload bytea NOT NULL,
        quarantined text
    )
    """,
    "ALTER TABLE states ALTER COLUMN payload SET STORAGE EXTERNAL",
    """
    CREATE VIEW outcomes AS
    SELECT seq, decision_id, llm, created_at_s, attempt, status, tokens_in, tokens_out, cost_usd, latency_s
    FROM events WHERE kind = 'outcome'
    """,
    """
    CREATE VIEW feedback AS
    SELECT seq, event_id AS feedback_id, decision_id, llm, created_at_s, feedback_kind AS kind, metric, source, value
    FROM events WHERE kind = 'feedback'
    """,
)

# By this, who has learned from the log notices that another database has taken its place.
_LOG_ID = ("ALTER TABLE totals ADD COLUMN log_id text NOT NULL DEFAULT gen_random_uuid()",)

# Checkpoints that everyone takes over. A table of its own: gateways of before go on without looking into it.
_ANNOUNCEMENTS = (
    """
    CREATE TABLE state_changes (
        number bigint NOT NULL PRIMARY KEY,
        after_seq bigint NOT NULL,
        version bigint NOT NULL,
        created_at_s double precision NOT NULL
    )
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_TABLES, _LOG_ID, _ANNOUNCEMENTS)
"""The statements of every step, in order; the first leads to version 1."""

SCHEMA_VERSION = len(MIGRATIONS)
"""The version that this code reads and writes."""


def migrate(connection: Connection, database: Database) -> None:
    """Run the steps that the database has not seen, all or none of them.

    Parameters
    ----------
    connection
        In autocommit mode.
    database
        Where it leads.

    Raises
    ------
    StoreError
        Where a newer version has written there, or other tables are in the schema.
    """
    if read_version(connection, database) == SCHEMA_VERSION:
        return  # The usual case needs neither the lock nor the right to create anything.
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (zlib.crc32(database.channel.encode()),))
        version = read_version(connection, database)  # Another gateway may have migrated while this one waited.
        if version == 0:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {database.schema}")
            connection.execute("CREATE TABLE schema_version (version bigint NOT NULL)")
            connection.execute("INSERT INTO schema_version VALUES (0)")
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = %s", (SCHEMA_VERSION,))


def read_version(connection: Connection, database: Database) -> int:
    """Return the version of the schema; 0 where there is none.

    Raises
    ------
    StoreError
        Where it is newer than this code, or the schema belongs to another program.
    """
    row = connection.execute(
        """
        SELECT to_regclass(%s) IS NOT NULL,
            (SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s)
        """,
        (f"{database.schema}.schema_version", database.schema),
    ).fetchone()
    assert row is not None
    known, tables = row
    if not known:
        if tables:
            raise StoreError(
                f"Store {database.place}: the schema holds tables of another program. Set another store.schema."
            )
        return 0
    row = connection.execute(f"SELECT version FROM {database.schema}.schema_version").fetchone()  # noqa: S608 -- checked
    version = int(str(row[0])) if row else 0
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"Store {database.place}: it was written by a newer MixLLM (schema {version}, this one knows "
            f"{SCHEMA_VERSION}). Upgrade: pip install -U mixllm. Or set another store.schema."
        )
    return version
