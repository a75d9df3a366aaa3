from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mixllm.errors import StateError
from mixllm.tags.labelling.journal import Journal, JournalHeader, job_header

HEADER = job_header(query_ids=["a", "b", "c"], queries=["x", "y", "z"], model="m")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "j"
    with Journal(path, header=HEADER) as journal:
        journal.append({"a": ["one", "two"]}, usd=0.5)
        journal.append({}, usd=0.25)
        journal.append({"b": []}, usd=0.0)
    return path


def opened(path: Path, header: JournalHeader = HEADER) -> tuple[dict[str, tuple[str, ...]], float]:
    with Journal(path, header=header) as journal:
        return dict(journal.tags), journal.spent_usd


def test_what_was_appended_is_there_again(path: Path) -> None:
    assert opened(path) == ({"a": ("one", "two"), "b": ()}, 0.75)


def test_it_holds_no_query(tmp_path: Path) -> None:
    header = job_header(query_ids=["a"], queries=["my secret question"], model="m")
    with Journal(tmp_path / "j", header=header) as journal:
        journal.append({"a": ["one"]}, usd=0.0)
    assert b"secret" not in (tmp_path / "j").read_bytes()


def test_a_cut_at_any_byte_loses_the_last_line_at_most(path: Path) -> None:
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in [*range(0, len(content), 5), *(end - 1 for end in ends), *ends[:-1]]:
        path.write_bytes(content[:cut])
        known, _ = opened(path)
        whole = sum(end <= cut for end in ends)
        assert len(known) == {0: 0, 1: 0, 2: 1, 3: 1}[whole]
        assert path.read_bytes() == content[: ends[max(whole, 1) - 1]]


def test_after_a_torn_line_it_goes_on(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"usd": 1, "ta')
    with Journal(path, header=HEADER) as journal:
        journal.append({"c": ["three"]}, usd=1.0)
    assert opened(path) == ({"a": ("one", "two"), "b": (), "c": ("three",)}, 1.75)


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"{}", b'{"usd": -1, "tags": {}}', b'{"usd": 1, "tags": {"a": [1]}}', b"\xff", b"[" * 100_000, b""],
)
def test_a_damaged_line_is_named_and_left(path: Path, line: bytes) -> None:
    content = path.read_bytes() + line + b"\n"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"line 5: damaged .* Remove that line"):
        opened(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (job_header(query_ids=["a", "b", "c"], queries=["x", "y", "other"], model="m"), "of other queries"),
        (job_header(query_ids=["ax", "b", "c"], queries=["", "y", "z"], model="m"), "of other queries"),
        (job_header(query_ids=["a", "b", "c"], queries=["x", "y", "z"], model="n"), "of the model 'm'"),
        (msgspec.structs.replace(HEADER, prompt="instag-0"), "of another version of the request"),
    ],
)
def test_the_journal_of_another_job_is_refused(path: Path, header: JournalHeader, message: str) -> None:
    content = path.read_bytes()
    with pytest.raises(StateError, match=f"is the journal {message}. Choose another output, or remove the journal"):
        opened(path, header)
    assert path.read_bytes() == content


def test_a_newer_journal_says_so(path: Path) -> None:
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(HEADER, mixllm_tag_journal=9)) + b"\n")
    with pytest.raises(StateError, match="was written by a newer version"):
        opened(path)


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"a": 1}\n', b"\xff\n"])
def test_somebody_elses_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(StateError, match="is no journal of tags"):
        opened(path)
    assert path.read_bytes() == content


def test_one_process_at_a_time(path: Path) -> None:
    with Journal(path, header=HEADER), pytest.raises(StateError, match="in use by another process"):
        opened(path)
    assert opened(path)[1] == 0.75


def test_a_path_that_cannot_be_opened_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be opened"):
        opened(tmp_path / "no" / "j")


def test_ids_and_texts_of_any_kind_have_a_digest() -> None:
    assert job_header(query_ids=["a"], queries=["\ud800"], model="m").queries
    one = job_header(query_ids=["ab"], queries=["c"], model="m")
    assert one.queries != job_header(query_ids=["a"], queries=["bc"], model="m").queries
