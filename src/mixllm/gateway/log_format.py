"""The log as one JSON object a line, for what collects logs."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

__all__ = ["JSONFormatter", "set_up_log"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PARTS = ("request", "audit")


class JSONFormatter(logging.Formatter):
    """Writes a record as JSON: ``time``, ``level``, ``logger``, ``message``, ``error``, and ``request`` or ``audit``.

    Examples
    --------
    >>> record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "a %s", "args": ("b",), "created": 0})
    >>> JSONFormatter().format(record)
    '{"time":"1970-01-01T00:00:00.000+00:00","level":"info","logger":"x","message":"a b"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for part in _PARTS:
            if hasattr(record, part):
                line[part] = getattr(record, part)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up_log(*, level: str, form: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Have the process log to `stream`, stderr where it is None."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JSONFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
