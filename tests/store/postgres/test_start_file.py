"""The local copy of what a start reads: replaced as a whole, checked, bounded, and never older than what was there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.store.postgres.start_file import StartFile
from mixllm.types import KeptStart, LearnedState, LLMSpec, PlacedChange, PoolChange, Spending

PLACE = "postgresql://db.example/routing (schema mixllm)"


def start(position: int = 3, *, change: int = 2, payload: bytes = b"learned", spending: bool = True) -> KeptStart:
    changed = PoolChange(spec=LLMSpec(name="nové", api_base="http://127.0.0.1:1/v1"), active=True, created_at_s=5.5)
    return KeptStart(
        state=LearnedState(version=7, position=position, created_at_s=9.25, payload=payload),
        change=change,
        changes=(PlacedChange(number=change, after_seq=1, change=changed),),
        spending=Spending(since_s=1.0, until_seq=position, usd={"key-a": 0.25}) if spending else None,
    )


def file_in(folder: Path, *, place: str = PLACE, max_bytes: int = 10**6) -> StartFile:
    return StartFile(folder=folder, place=place, max_bytes=max_bytes)


def path_in(folder: Path) -> Path:
    (path,) = folder.glob("*.start")
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    file = file_in(folder)
    assert not file.exists()
    assert file.read() is None
    file.write(start(), log_id="log")
    local = file_in(folder).read()
    assert local is not None
    assert (local.log_id, local.start) == ("log", start())
    assert file.exists()
    assert stat.S_IMODE(path_in(folder).stat().st_mode) == 0o600, "it has the endpoints of the pool"
    assert [path.name for path in folder.iterdir()] == [path_in(folder).name], "nothing is left beside it"


def test_without_a_folder_nothing_is_kept() -> None:
    file = StartFile(folder=None, place=PLACE, max_bytes=100)
    file.write(start(), log_id="log")
    assert not file.exists()
    assert file.read() is None


def test_what_is_newer_stays(tmp_path: Path) -> None:
    file = file_in(tmp_path)

    def kept_after(change: int, position: int, *, log_id: str = "log", spending: bool = True) -> tuple[int, int]:
        file.write(start(position, change=change, spending=spending), log_id=log_id)
        local = file.read()
        assert local is not None
        return local.start.change, local.start.state.position

    assert kept_after(2, 10) == (2, 10)
    assert kept_after(2, 9) == (2, 10), "another process of this machine has learned more"
    assert kept_after(2, 10, spending=False) == (2, 10)
    assert kept_after(1, 99) == (2, 10), "a change that is missing counts for more than events"
    assert kept_after(3, 4) == (3, 4), "after a rollback the position is an earlier one"
    assert kept_after(1, 1, log_id="another") == (1, 1), "of another database all of it is new"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no copy", "longer"])
def test_a_damaged_copy_is_not_read_and_is_replaced(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = file_in(tmp_path)
    file.write(start(), log_id="log")
    path = path_in(tmp_path)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-1],
        "flipped": whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
        "empty": b"",
        "no copy": b"something else",
        "longer": whole + b"x",
    }[damage]
    path.write_bytes(damaged)
    assert file.read() is None
    assert "is of no use" in caplog.text
    file.write(start(position=99), log_id="log")
    local = file.read()
    assert local is not None
    assert local.start.state.position == 99


@given(noise=st.binary(max_size=200), at=st.integers(0, 400), cut=st.booleans())
def test_no_damage_is_taken_for_a_copy(
    noise: bytes, at: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("start")
    file = file_in(folder)
    file.write(start(), log_id="log")
    path = path_in(folder)
    whole = path.read_bytes()
    changed = whole[:at] + noise + (b"" if cut else whole[at + len(noise) :])
    path.write_bytes(changed)
    local = file.read()
    assert (local is None) == (changed != whole)


def test_the_copy_of_another_database_is_not_read(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    file.write(start(), log_id="log")
    other = file_in(tmp_path, place="postgresql://other.example/routing (schema mixllm)")
    assert not other.exists()
    path_in(tmp_path).rename(other._path or tmp_path)
    assert other.read() is None, "also where the names of the files are the same by chance"


def test_a_copy_beyond_the_bound_is_neither_written_nor_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = file_in(tmp_path, max_bytes=400)
    small.write(start(payload=bytes(1000)), log_id="log")
    assert not small.exists()
    assert "more than store.max_spool_bytes" in caplog.text
    file_in(tmp_path).write(start(payload=bytes(1000)), log_id="log")
    assert small.read() is None


def test_a_folder_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool").write_bytes(b"no folder")
    file = file_in(tmp_path / "spool")
    file.write(start(), log_id="log")
    file.write(start(), log_id="log")
    assert file.read() is None
    assert caplog.text.count("cannot be written") == 1


def test_what_a_killed_process_has_left_is_cleared_away(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    file.write(start(), log_id="log")
    left = path_in(tmp_path).with_name(f"{path_in(tmp_path).name}.abc.part")
    of_now = left.with_name(left.name.replace("abc", "def"))
    for path in (left, of_now):
        path.write_bytes(b"half of it")
    os.utime(left, (0, 0))
    file.write(start(position=99), log_id="log")
    assert not left.exists()
    assert of_now.exists(), "another process may be writing it"


def test_processes_that_write_at_once_leave_one_whole_copy(tmp_path: Path) -> None:
    files = [file_in(tmp_path) for _ in range(4)]
    torn: list[int] = []

    def write(number: int) -> None:
        for position in range(10):
            files[number].write(start(position, payload=bytes([number]) * 5000), log_id=f"log {number}")
            torn.extend([position] if files[number].read() is None else [])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn, "a reader never sees a part of it"
    assert msgspec.to_builtins(files[0].read()) is not None
