"""The page: one file for the browser, made of the three beside this one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

__all__ = ["Page", "read_page"]

_STYLE, _SCRIPT = "/*STYLE*/", "/*SCRIPT*/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page's bytes, and the headers that it is sent with.

    Its policy (CSP) lets it run its own script, use its own style and ask its own server, and nothing else: a name or a
    reason that somebody makes up cannot bring in anything.
    """

    body: bytes
    headers: Mapping[str, str]


@lru_cache(maxsize=1)
def read_page() -> Page:
    """Return the page."""
    folder = files(__name__)
    page, style, script = ((folder / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(
        body=page.replace(_STYLE, style).replace(_SCRIPT, script).encode(),
        headers={
            "content-security-policy": policy,
            "cache-control": "no-cache",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
        },
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
