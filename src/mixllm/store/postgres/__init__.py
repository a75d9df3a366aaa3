"""A store in a PostgreSQL database, which several gateways share; needs the extra ``postgres``."""

from __future__ import annotations

from mixllm.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
