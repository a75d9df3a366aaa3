"""Names of API keys, from which nobody can tell the key."""

from __future__ import annotations

import hashlib

from mixllm.types import Secret

__all__ = ["ENV_REFERENCE", "key_name"]

ENV_REFERENCE = "os.environ/"
"""What a key begins with that is read from an environment variable."""

_DIGITS = 12


def key_name(key: Secret) -> str:
    """Return a name for an API key, from which nobody can tell the key: what decisions and budgets know it by.

    Examples
    --------
    >>> key_name(Secret("sk-1234"))
    'key-88dc28d0f030'
    """
    return f"key-{hashlib.sha256(key.reveal().encode('utf-8', 'surrogateescape')).hexdigest()[:_DIGITS]}"
