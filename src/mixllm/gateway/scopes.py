"""What each endpoint needs: one table, and `admin` for whatever is not in it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mixllm.config import KeyScope

__all__ = ["OPEN_PATHS", "SCOPES", "scopes_for"]

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/openapi.json", "/dashboard"})
"""Need no key: whoever restarts the gateway has none; the description and the page are the same for every gateway."""

SCOPES: Mapping[tuple[str, str], tuple[KeyScope, ...]] = {
    ("POST", "/v1/chat/completions"): ("chat",),
    ("POST", "/v1/embeddings"): ("chat",),
    ("POST", "/v1/responses"): ("chat",),
    ("POST", "/v1/messages"): ("chat",),
    ("POST", "/v1/messages/count_tokens"): ("chat",),
    ("POST", "/v1/route"): ("chat",),
    ("GET", "/v1/models"): ("chat",),
    ("GET", "/v1/models/{name}"): ("chat",),
    ("GET", "/v1/budget"): ("chat", "admin"),
    ("POST", "/v1/feedback"): ("feedback",),
    ("GET", "/v1/decisions/{id}"): ("chat", "feedback", "admin"),
    ("GET", "/metrics"): ("metrics", "admin"),
    ("GET", "/dashboard/data"): ("admin",),
    ("GET", "/v1/llms"): ("admin",),
    ("POST", "/v1/llms"): ("admin",),
    ("GET", "/v1/llms/{name}"): ("admin",),
    ("PATCH", "/v1/llms/{name}"): ("admin",),
    ("DELETE", "/v1/llms/{name}"): ("admin",),
    ("GET", "/v1/state"): ("admin",),
    ("GET", "/v1/state/{version}"): ("admin",),
    ("POST", "/v1/state/rollback"): ("admin",),
    ("POST", "/v1/state/release"): ("admin",),
    ("POST", "/v1/reload"): ("admin",),
}
"""For each endpoint the scopes of which one is enough. Of decisions, a key without `admin` sees its own alone."""

_PATTERNS = tuple(
    (method, re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path))), scopes)
    for (method, path), scopes in SCOPES.items()
    if "{" in path
)


def scopes_for(method: str, path: str) -> tuple[KeyScope, ...]:
    """Return the scopes of which one is enough for a request.

    Examples
    --------
    >>> scopes_for("POST", "/v1/feedback"), scopes_for("DELETE", "/v1/llms/a/b"), scopes_for("GET", "/nothing")
    (('feedback',), ('admin',), ('admin',))
    """
    method = "GET" if method == "HEAD" else method
    found = SCOPES.get((method, path))
    if found is not None:
        return found
    for known, pattern, scopes in _PATTERNS:
        if known == method and pattern.fullmatch(path):
            return scopes
    return ("admin",)
