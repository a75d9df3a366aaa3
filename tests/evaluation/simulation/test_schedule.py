from __future__ import annotations

from pathlib import Path

import pytest

from mixllm.errors import ConfigError, InvalidValueError
from mixllm.evaluation.simulation.schedule import Change, Schedule, parse_schedule, read_schedule

LLMS = ("a", "b", "c")


def test_a_file_of_every_change(tmp_path: Path) -> None:
    path = tmp_path / "changes.yaml"
    path.write_text(
        "changes:\n"
        "  - {at: 30, change: quality, llm: a, factor: 0.5}\n"
        "  - {at: 10, change: remove, llm: b}\n"
        "  - {at: 20, change: price, llm: a, factor: 2}\n"
        "  - {at: 20, change: add, llm: b}\n"
        "  - {at: 5, change: add, llm: c}\n"
    )
    schedule = read_schedule(path)
    assert [change.at for change in schedule.in_order()] == [5, 10, 20, 20, 30]
    assert schedule.at_start(LLMS) == ("a", "b")
    schedule.check(llms=LLMS, queries=31)


@pytest.mark.parametrize("text", ["", "changes: []", "# nothing yet"])
def test_no_change_at_all(text: str) -> None:
    assert parse_schedule(text) == Schedule()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("changes:\n- {at: 1, change: remove}", "line 2.*`llm`"),
        ("changes:\n- {at: 1, change: remove, llm: a}\n- {at: -1, change: remove, llm: a}", "line 3.*at must be >= 0"),
        ("changes:\n- {at: 1, change: rename, llm: a}", "line 2.*rename"),
        ("changes:\n- {at: 1, change: price, llm: a}", "line 2.*factor must be given"),
        ("changes:\n- {at: 1, change: price, llm: a, factor: -1}", "line 2.*factor must be"),
        ("changes:\n- {at: 1, change: price, llm: a, factor: .nan}", "line 2.*factor must be"),
        ("changes:\n- {at: 1, change: quality, llm: a, factor: 1.5}", "line 2.*factor must be"),
        ("changes:\n- {at: 1, change: add, llm: a, factor: 1}", "line 2.*left out"),
        ("changes:\n- {at: 1.5, change: add, llm: a}", "line 2.*int"),
        ("changes:\n- {at: 1, change: add, llm: a, when: 3}", "line 2.*when"),
        ("chnages: []", "line 1.*chnages"),
        ("- a", "line 1"),
        ("changes: [", "not valid YAML"),
    ],
)
def test_what_is_no_schedule_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_schedule(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_schedule(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_schedule(binary)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 2**20 + b"#")
    with pytest.raises(ConfigError, match="no schedule"):
        read_schedule(large)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([Change(at=1, change="remove", llm="aa")], "no such LLM"),
        ([Change(at=9, change="remove", llm="a")], "only 9 queries"),
        ([Change(at=1, change="remove", llm="a"), Change(at=2, change="remove", llm="a")], "not in the pool"),
        ([Change(at=1, change="add", llm="a"), Change(at=2, change="add", llm="a")], "already in the pool"),
        ([Change(at=3, change="remove", llm=llm) for llm in LLMS], "no LLM is left in the pool at query 3"),
        ([Change(at=0, change="remove", llm=llm) for llm in LLMS], "no LLM is left in the pool at query 0"),
        ([Change(at=5, change="add", llm=llm) for llm in LLMS], "no LLM is left in the pool at query 0"),
    ],
)
def test_what_cannot_happen_on_a_stream_is_refused(changes: list[Change], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Schedule(changes=tuple(changes)).check(llms=LLMS, queries=9)


def test_a_pool_that_is_empty_only_between_two_changes_of_one_query_is_none() -> None:
    changes = (Change(at=4, change="remove", llm="a"), Change(at=4, change="add", llm="b"))
    Schedule(changes=changes).check(llms=("a", "b"), queries=9)
    assert Schedule(changes=changes).at_start(("a", "b")) == ("a",)


def test_changes_check_themselves() -> None:
    with pytest.raises(InvalidValueError, match="factor"):
        Change(at=0, change="quality", llm="a")
