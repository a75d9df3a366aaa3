"""Errors in Anthropic's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["anthropic_error"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_error(status: int | None, error: Mapping[str, Any]) -> bytes:
    """Return the body, or an event's data, of an error that is given in OpenAI's shape; None: within a stream.

    Examples
    --------
    >>> anthropic_error(429, {"message": "Too many.", "type": "rate_limit_error"})
    b'{"type":"error","error":{"type":"rate_limit_error","message":"Too many."}}'
    """
    kind = "api_error" if status is None or status >= 500 else "invalid_request_error"
    message = str(error.get("message") or "The request failed.")
    return msgspec.json.encode({"type": "error", "error": {"type": _TYPES.get(status or 0, kind), "message": message}})
