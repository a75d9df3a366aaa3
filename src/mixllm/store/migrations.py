"""The schema, as ordered steps that only add; a file of any older version is brought up to date when it is opened.

The version of a file is its ``PRAGMA user_version``: the number of the last step that it has seen. A published step is
never changed; a new version of the schema is a new step at the end.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SCHEMA_VERSION", "Migration", "migrate"]

APPLICATION_ID = 0x4D69784C
"""``PRAGMA application_id`` of the store's files: "MixL"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema.

    Parameters
    ----------
    version
        `user_version` of a file that has seen this step.
    purpose
        What the step adds.
    statements
        Its SQL, run in one transaction.
    """

    version: int
    purpose: str
    statements: tuple[str, ...]


_TABLES = Migration(
    version=1,
    purpose="decisions, events, the pool's changes and learned state",
    statements=(
        f"PRAGMA application_id = {APPLICATION_ID}",
        """
        CREATE TABLE decisions (
            decision_id TEXT NOT NULL PRIMARY KEY,
            created_at_s REAL,
            llm TEXT NOT NULL,
            policy TEXT NOT NULL,
            trade_off REAL,
            model_version INTEGER NOT NULL,
            tokens_in INTEGER NOT NULL,
            encoding BLOB NOT NULL,
            body TEXT NOT NULL,
            prompt TEXT
        )
        """,
        # AUTOINCREMENT: a seq is never given twice, not even after rows at the end were deleted.
        """
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL CHECK (kind IN ('outcome', 'feedback')),
            event_id TEXT NOT NULL,
            decision_id TEXT NOT NULL REFERENCES decisions (decision_id),
            llm TEXT NOT NULL,
            created_at_s REAL,
            body TEXT NOT NULL,
            status TEXT,
            attempt INTEGER,
            tokens_in INTEGER,
            tokens_out INTEGER,
            cost_usd REAL,
            latency_s REAL,
            feedback_kind TEXT,
            metric TEXT,
            source TEXT,
            value REAL,
            UNIQUE (kind, event_id)
        )
        """,
        "CREATE INDEX events_by_decision ON events (decision_id)",
        """
        CREATE TABLE pool_changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            llm TEXT NOT NULL,
            active INTEGER NOT NULL,
            created_at_s REAL,
            body TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE states (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            version INTEGER NOT NULL UNIQUE,
            position INTEGER NOT NULL,
            created_at_s REAL,
            payload BLOB NOT NULL
        )
        """,
    ),
)

_REPORTING = Migration(
    version=2,
    purpose="views for reports, and totals that need no scan",
    statements=(
        """
        CREATE VIEW outcomes AS
        SELECT seq, decision_id, llm, created_at_s, attempt, status, tokens_in, tokens_out, cost_usd, latency_s
        FROM events WHERE kind = 'outcome'
        """,
        """
        CREATE VIEW feedback AS
        SELECT
            seq, event_id AS feedback_id, decision_id, llm, created_at_s, feedback_kind AS kind, metric, source, value
        FROM events WHERE kind = 'feedback'
        """,
        """
        CREATE TABLE totals (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            decisions INTEGER NOT NULL,
            outcomes INTEGER NOT NULL,
            feedback INTEGER NOT NULL
        )
        """,
        """
        INSERT INTO totals (only, decisions, outcomes, feedback)
        SELECT 1, (SELECT count(*) FROM decisions), (SELECT count(*) FROM outcomes), (SELECT count(*) FROM feedback)
        """,
    ),
)

_QUARANTINE = Migration(
    version=3,
    purpose="checkpoints that are kept and not used",
    statements=("ALTER TABLE states ADD COLUMN quarantined TEXT",),
)

_SPENDING = Migration(
    version=4,
    purpose="who asked, and what each event cost, so that spending needs no scan",
    statements=(
        "ALTER TABLE decisions ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE events ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
        # Bodies had both before there were columns; one that is damaged must not keep the file from being opened.
        """
        UPDATE decisions SET key_id = coalesce(json_extract(body, '$.key_id'), '')
        WHERE json_valid(body) AND json_extract(body, '$.key_id') <> ''
        """,
        """
        UPDATE events SET key_id = (SELECT d.key_id FROM decisions AS d WHERE d.decision_id = events.decision_id)
        WHERE decision_id IN (SELECT decision_id FROM decisions WHERE key_id <> '')
        """,
        """
        UPDATE events SET cost_usd = json_extract(body, '$.cost_usd')
        WHERE kind = 'feedback' AND json_valid(body) AND json_extract(body, '$.cost_usd') > 0
        """,
        "CREATE INDEX events_by_cost ON events (created_at_s, key_id, cost_usd) WHERE cost_usd IS NOT NULL",
    ),
)

_PLACES = Migration(
    version=5,
    purpose="where among the events the pool changed",
    # 0: what was changed before there were places is made again before all events, as it was then.
    statements=("ALTER TABLE pool_changes ADD COLUMN after_seq INTEGER NOT NULL DEFAULT 0",),
)

_ANNOUNCEMENTS = Migration(
    version=6,
    purpose="checkpoints that everyone takes over; their numbers are among those of the pool's changes",
    statements=(
        """
        CREATE TABLE state_changes (
            number INTEGER PRIMARY KEY,
            after_seq INTEGER NOT NULL,
            version INTEGER NOT NULL,
            created_at_s REAL NOT NULL
        )
        """,
    ),
)

MIGRATIONS = (_TABLES, _REPORTING, _QUARANTINE, _SPENDING, _PLACES, _ANNOUNCEMENTS)
"""Every step, in order."""

SCHEMA_VERSION = MIGRATIONS[-1].version
"""The version that this code reads and writes."""


def migrate(connection: sqlite3.Connection) -> None:
    """Run the steps that the file has not seen, each in its own transaction.

    Safe where two processes open the same file at once, and resumes where a step was cut short.

    Parameters
    ----------
    connection
        In autocommit mode (``isolation_level=None``).
    """
    for migration in MIGRATIONS:
        if _version(connection) >= migration.version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have run the step while this one waited for the lock.
            if _version(connection) < migration.version:
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {migration.version}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
