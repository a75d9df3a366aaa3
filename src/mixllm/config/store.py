"""The section ``store``: where decisions, outcomes, feedback and learned state live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from mixllm.config.key_names import ENV_REFERENCE
from mixllm.config.section import Section
from mixllm.errors import ConfigError, InvalidValueError
from mixllm.types import Secret

__all__ = ["StoreConfig"]

_MAX_COMMIT_DELAY_S = 60.0
_MAX_PATIENCE_S = 3600.0
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_URL_BEGINNINGS = ("postgresql://", "postgres://")


class StoreConfig(Section, frozen=True, kw_only=True):
    """Where decisions, outcomes, feedback and learned state live.

    Parameters
    ----------
    kind
        ``sqlite``, ``postgres`` (several gateways share it) or ``memory`` (nothing survives a restart).
    path
        The database file, for ``sqlite``.
    max_commit_delay_s
        Decisions and outcomes of at most this long can be lost when the process is killed; feedback never.
    url
        The database, for ``postgres``: ``postgresql://user@host:5432/name``, or ``os.environ/NAME``. It makes the kind
        ``postgres``. A password is best left to ``PGPASSWORD``.
    schema
        The schema of the tables in that database.
    spool
        Folder for what is recorded while that database is away.
    max_spool_bytes
        Most bytes that are spooled.
    connect_patience_s
        How long a start waits for that database.
    """

    kind: Literal["sqlite", "postgres", "memory"] = "sqlite"
    path: str = "mixllm.db"
    max_commit_delay_s: float = 0.02
    url: Secret | None = None
    schema: str = "mixllm"
    spool: str = "mixllm-spool"
    max_spool_bytes: int = 1024**3
    connect_patience_s: float = 10.0

    def __post_init__(self) -> None:
        if self.url is not None:
            self._check_url(self.url.reveal())
            if self.kind == "sqlite":
                msgspec.structs.force_setattr(self, "kind", "postgres")
        if self.kind == "postgres" and self.url is None:
            raise InvalidValueError("url", None, "given for kind postgres, like postgresql://user@host:5432/name")
        for name, value in (("path", self.path), ("spool", self.spool)):
            if not value or "\0" in value:
                raise InvalidValueError(name, value, f"the path of a {'file' if name == 'path' else 'folder'}")
        if not _SCHEMA_NAME.fullmatch(self.schema):
            raise InvalidValueError("schema", self.schema, "1 to 40 lower-case letters, digits and underscores")
        if self.max_spool_bytes < 1:
            raise InvalidValueError("max_spool_bytes", self.max_spool_bytes, ">= 1")
        if not 0 <= self.connect_patience_s <= _MAX_PATIENCE_S:
            raise InvalidValueError("connect_patience_s", self.connect_patience_s, f"0 to {_MAX_PATIENCE_S:g}")
        if not 0 <= self.max_commit_delay_s <= _MAX_COMMIT_DELAY_S:
            raise InvalidValueError("max_commit_delay_s", self.max_commit_delay_s, f"0 to {_MAX_COMMIT_DELAY_S:g}")

    def database_url(self, environ: Mapping[str, str]) -> str:
        """Return the URL itself; raises `ConfigError` where it is not given, or its variable is not set."""
        text = "" if self.url is None else self.url.reveal()
        if text.startswith(ENV_REFERENCE):
            name = text.removeprefix(ENV_REFERENCE)
            if not environ.get(name):
                raise ConfigError(f"store.url: variable {name} is not set. Set it to postgresql://user@host:5432/name.")
            text = environ[name]
            if not text.startswith(_URL_BEGINNINGS):
                raise ConfigError(f"store.url: variable {name} is no postgresql://user@host:5432/name. Correct it.")
        return text

    @staticmethod
    def _check_url(url: str) -> None:
        if not url.startswith((*_URL_BEGINNINGS, ENV_REFERENCE)):
            # Not shown: there may be a password in it.
            raise InvalidValueError("url", "(not shown)", "like postgresql://user@host:5432/name, or os.environ/NAME")
