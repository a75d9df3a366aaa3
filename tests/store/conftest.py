from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mixllm.errors import StoreError
from mixllm.store import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mixllm.db"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., SQLiteStore]]:
    """Opens the file of `path`; whatever a test leaves open is closed."""
    opened: list[SQLiteStore] = []

    def open_(**parameters: Any) -> SQLiteStore:
        store = SQLiteStore(path=parameters.pop("path", path), **parameters)
        opened.append(store)
        return store

    yield open_
    for store in opened:
        with suppress(StoreError):  # Some tests leave the file locked or full.
            store.close()
