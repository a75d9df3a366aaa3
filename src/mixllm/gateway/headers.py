"""Headers of a request, read where the server has put them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["header_of"]


def header_of(scope: Mapping[str, Any], name: bytes) -> str | None:
    """Return the first header of that name, in small letters; None where there is none.

    The few that are looked at need no object of headers, which would decode each name that it passes.

    Examples
    --------
    >>> header_of({"headers": [(b"host", b"127.0.0.1")]}, b"host")
    '127.0.0.1'
    """
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
