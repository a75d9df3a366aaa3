from __future__ import annotations

import subprocess
import sys

import pytest

import mixllm.store


def test_sqlite3_is_loaded_when_the_sqlite_store_is_asked_for() -> None:
    code = (
        "import sys, mixllm.store\n"
        "assert 'sqlite3' not in sys.modules, 'too early'\n"
        "mixllm.store.MemoryStore().close()\n"
        "assert 'sqlite3' not in sys.modules, 'MemoryStore needs no database'\n"
        "mixllm.store.SQLiteStore\n"
        "print('sqlite3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_public_names_exist() -> None:
    assert {name for name in mixllm.store.__all__ if getattr(mixllm.store, name)} == set(mixllm.store.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="OracleStore"):
        _ = mixllm.store.OracleStore
