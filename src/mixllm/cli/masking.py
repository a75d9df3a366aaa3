"""What is never shown: keys, passwords in URLs, and control characters of others."""

from __future__ import annotations

import re

__all__ = ["masked_url", "printable"]

_USERINFO = re.compile(r"//[^/?#]*@")
_MASK = "***"


def masked_url(url: str) -> str:
    """Return `url` without its user and password.

    Examples
    --------
    >>> masked_url("https://me:secret@example.org/v1")
    'https://***@example.org/v1'
    >>> masked_url("http://127.0.0.1:8080")
    'http://127.0.0.1:8080'
    """
    return _USERINFO.sub(f"//{_MASK}@", url)


def printable(text: str) -> str:
    r"""Return `text` without characters that steer a terminal.

    Examples
    --------
    >>> printable("a\x1b[31mb\nc")
    'a [31mb c'
    """
    return "".join(character if character.isprintable() else " " for character in text)
