"""The peers' own packages, and the error where they are not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mixllm.errors import MissingExtraError

__all__ = ["peers_extra"]


@contextmanager
def peers_extra(feature: str) -> Iterator[None]:
    """Turn a failed import into a `MissingExtraError` that names `feature` and the extra ``peers``."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(feature, "peers") from error
