from __future__ import annotations

import logging
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.logs.folders import QUERIES, make_log, outcomes, write_folder
from tests.logs.wide_tables import wide_columns, wide_frame

from mixllm.errors import LogError
from mixllm.logs import LogReport, check_log, open_log, read_log, write_log
from mixllm.logs.findings import MAX_LISTED

NAN = float("nan")


def test_every_kind_is_opened(tmp_path: Path) -> None:
    assert open_log(write_folder(tmp_path / "log")).llms == ("big", "small")
    assert open_log(str(tmp_path / "log"), llms=["big"]).llms == ("big",)
    table = tmp_path / "bench" / "wide.parquet"
    table.parent.mkdir()
    pq.write_table(pa.table(wide_columns()), table)
    (table.parent / "README.md").write_text("about")
    pq.write_table(pa.table({"other": [1]}), table.parent / "other.parquet")
    (table.parent / "damaged.parquet").write_bytes(b"PAR1")
    assert (open_log(table).name, open_log(table.parent).name) == ("wide", "bench")
    (tmp_path / "other").mkdir()
    published = tmp_path / "other" / "routerbench_0shot.pkl"
    published.write_bytes(pickle.dumps(wide_frame()))
    assert (open_log(published).name, open_log(published.parent).name) == ("routerbench_0shot", "other")
    assert open_log(published, llms=["large"], broken="drop").llms == ("large",)


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"nowhere does not exist\. A log is a folder with queries\.parquet"):
        open_log(tmp_path / "nowhere")
    with pytest.raises(LogError, match=r"holds no routing log\. A log is"):
        open_log(tmp_path)
    folder = write_folder(tmp_path / "log")
    with pytest.raises(LogError, match=r"half of a routing log\. Give its folder: .*log"):
        open_log(folder / "queries.parquet")
    (folder / "outcomes.parquet").unlink()
    with pytest.raises(LogError, match=r"outcomes\.parquet is missing"):
        open_log(folder)
    with closing(sqlite3.connect(tmp_path / "mixllm.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(LogError, match=r"is a store\. Export it first: mixllm data export --store .*mixllm\.db"):
        open_log(tmp_path / "mixllm.db")
    (tmp_path / "text.csv").write_text("a,b")
    with pytest.raises(LogError, match="is no routing log"):
        open_log(tmp_path / "text.csv")
    for name in ("a.pkl", "b.pkl"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(LogError, match=r"several tables: a\.pkl, b\.pkl\. Give the path of one"):
        open_log(tmp_path)


def problems(report: LogReport) -> list[tuple[str, str | None, int | None, str | None]]:
    return [(one.file, one.column, one.row, one.query_id) for one in report.problems]


def test_a_good_log_has_no_problems(tmp_path: Path) -> None:
    report = check_log(write_folder(tmp_path / "log"))
    assert (report.ok, report.usable, report.count, report.problems) == (True, True, 0, ())
    assert (report.queries, report.llms, report.outcomes, report.left_out) == (3, 2, 5, 0)


def test_every_problem_of_a_folder_is_listed(tmp_path: Path) -> None:
    queries = {
        "query_id": ["q0", "q0", None, "q3", "q4", "q5"],
        "prompt": ["a", "b", "c", None, "e", "f"],
    }
    rows = {
        "query_id": ["q0", "q0", "q0", "q9", None, "q3", "q4", "q4", "q4"],
        "model": ["big", "small", "big", "big", "big", "big", "", None, "only"],
        "quality": [1.0, NAN, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5],
        "cost_usd": [0.1, -1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, np.inf],
        "tokens_in": [1, 2, 3, 4, 5, 6, 7, 8, -9],
    }
    report = check_log(write_folder(tmp_path / "log", queries=queries, rows=rows))
    assert problems(report) == [
        ("queries.parquet", "query_id", 2, None),
        ("queries.parquet", "query_id", 1, "q0"),
        ("queries.parquet", "prompt", 3, "q3"),
        ("outcomes.parquet", "query_id", 4, None),
        ("outcomes.parquet", "query_id", 3, "q9"),
        ("outcomes.parquet", "model", 7, "q4"),
        ("outcomes.parquet", "model", 6, "q4"),
        ("outcomes.parquet", "query_id and model", 2, "q0"),
        ("outcomes.parquet", "quality", 1, "q0"),
        ("outcomes.parquet", "quality", 8, "q4"),
        ("outcomes.parquet", "cost_usd", 1, "q0"),
        ("outcomes.parquet", "cost_usd", 8, "q4"),
        ("outcomes.parquet", "tokens_in", 8, "q4"),
        ("outcomes.parquet", "model", None, None),
        ("outcomes.parquet", "model", None, None),
        ("queries.parquet", "query_id", 4, "q4"),
        ("queries.parquet", "query_id", 5, "q5"),
    ]
    assert (report.count, report.usable, report.ok) == (17, True, False)
    # Left: q0 with big. Gone: five of the six queries and eight of the nine outcomes, q3's with its query.
    assert (report.queries, report.llms, report.outcomes, report.left_out) == (1, 1, 1, 13)
    assert all("\n" not in one.message and one.message.endswith(".") for one in report.problems)


def test_dropping_leaves_what_the_report_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = outcomes(quality=[1.0, NAN, 0.5, 2.0, 0.0], answer=["a", "b", "c", "d", "e"])
    folder = write_folder(tmp_path / "log", rows=rows)
    with pytest.raises(LogError, match="row 1: it is missing or NaN"):
        read_log(folder)
    with caplog.at_level(logging.WARNING, logger="mixllm.logs"):
        log = read_log(folder, broken="drop")
    assert [record.getMessage() for record in caplog.records] == ["Routing log log: 2 broken rows were left out."]
    assert (log.left_out, log.llms, log.query_ids) == (2, ("big", "small"), ("q0", "q1", "q2"))
    np.testing.assert_array_equal(log.quality, [[1.0, NAN], [NAN, 0.5], [0.0, NAN]])
    assert log.answers == (("a", None), (None, "c"), ("e", None))
    report = check_log(folder)
    assert (report.queries, report.outcomes, report.left_out) == (3, 3, 2)
    assert log.select([0]).left_out == 2


def test_missing_columns_are_all_listed(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "log",
        queries={"query_id": ["q0"]},
        rows={"query_id": ["q0"], "quality": ["good"], "model": ["m"]},
    )
    report = check_log(folder)
    assert problems(report) == [
        ("queries.parquet", "prompt", None, None),
        ("outcomes.parquet", "quality", None, None),
        ("outcomes.parquet", "cost_usd", None, None),
    ]
    assert not report.usable
    with pytest.raises(LogError, match="column prompt"):
        read_log(folder, broken="drop")


@pytest.mark.parametrize("name", ["queries.parquet", "outcomes.parquet"])
def test_missing_and_damaged_files_are_listed(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "log", rows=outcomes(quality=[1.0, 2.0, 0.5, 1.0, 0.0]))
    (folder / name).write_bytes(b"PAR1")
    report = check_log(folder)
    assert ((name, None, None, None) in problems(report), report.usable) == (True, False)
    if name == "queries.parquet":
        assert ("outcomes.parquet", "quality", 1, "q0") in problems(report)
    (folder / name).unlink()
    assert not check_log(folder).usable
    with pytest.raises(LogError, match="is missing"):
        read_log(folder, broken="drop")


def test_nothing_left_is_not_usable(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", rows=outcomes(quality=[NAN] * 5))
    report = check_log(folder)
    assert (report.usable, report.count) == (False, 7)
    with pytest.raises(LogError, match=r"nothing is left without the broken rows\. See what is wrong: mixllm data"):
        read_log(folder, broken="drop")
    empty = write_folder(tmp_path / "b", queries={"query_id": pa.array([], pa.string()), "prompt": []})
    assert not check_log(empty).usable


def test_many_problems_are_counted_and_some_listed(tmp_path: Path) -> None:
    count = MAX_LISTED + 500
    ids = [f"q{number}" for number in range(count)]
    folder = write_folder(
        tmp_path / "log",
        queries={"query_id": ids, "prompt": ids},
        rows={"query_id": ids, "model": ["m"] * count, "quality": [1.0] + [9.0] * (count - 1), "cost_usd": [1] * count},
    )
    report = check_log(folder)
    assert (len(report.problems), report.count, report.queries) == (MAX_LISTED, 2 * (count - 1), 1)


def test_every_problem_of_a_table_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "wide.pkl"
    changed: dict[str, Any] = {
        "sample_id": ["a", "a", None],
        "small": [9.0, NAN, 1.0],
        "large__total_cost": [1, NAN, -1],
    }
    never = {"never": [None] * 3, "never__total_cost": [None] * 3}
    file.write_bytes(pickle.dumps(wide_frame(**changed, **never)))
    report = check_log(file)
    assert problems(report) == [
        ("wide.pkl", "sample_id", 2, None),
        ("wide.pkl", "sample_id", 1, "a"),
        ("wide.pkl", "small", 1, "a"),
        ("wide.pkl", "small", 0, "a"),
        ("wide.pkl", "large|total_cost", 1, "a"),
        ("wide.pkl", "large|total_cost", 2, None),
        ("wide.pkl", "never", None, None),
    ]
    assert (report.usable, report.queries, report.llms, report.outcomes) == (True, 1, 2, 1)
    file.write_bytes(b"\x80\x04cos\nsystem\n.")
    (problem,) = check_log(file).problems
    assert "os.system" in problem.message
    assert not check_log(file).usable


def test_there_must_be_something_to_check(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="does not exist"):
        check_log(tmp_path / "nowhere")


def exported(**changed: Any) -> Any:
    fields: dict[str, Any] = {
        "cost_usd": [[1.0, NAN], [NAN, 2.0], [1.0, 2.0]],
        "propensities": np.array([[0.75, NAN], [NAN, 0.25], [0.5, NAN]]),
        "encodings": np.arange(6, dtype=np.float32).reshape(3, 2),
        "encoder": "hashing/2",
        "prompts": ("", "", "kept"),
    }
    return make_log([[1.0, NAN], [NAN, NAN], [NAN, 0.5]], **(fields | changed))


def test_an_export_is_read_and_written(tmp_path: Path) -> None:
    log = exported()
    write_log(log, tmp_path / "export")
    again = open_log(tmp_path / "export")
    for name in ("quality", "cost_usd", "propensities", "encodings"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))
    assert again.encodings is not None
    assert again.encodings.dtype == np.float32
    assert (again.encoder, again.prompts) == ("hashing/2", ("", "", "kept"))
    assert dict(again.labels) == dict(log.labels)
    assert check_log(tmp_path / "export").ok


@pytest.mark.parametrize(
    ("file", "column", "values", "words"),
    [
        ("queries", "encoder", ["a", "a", "b"], "column encoder: it names 2 encoders"),
        ("queries", "encoder", None, "column encoder: it names 0 encoders"),
        ("queries", "encoding", [[1.0], [1.0, 2.0], [1.0]], "column encoding, row 1: it must be 1 finite numbers"),
        ("queries", "encoding", [[1.0], None, [1.0]], "column encoding, row 1"),
        ("queries", "encoding", [[1.0], [NAN], [1.0]], "column encoding, row 1"),
        ("queries", "encoding", [[1.0], [None], [1.0]], "column encoding, row 1"),
        ("outcomes", "propensity", [0.5, 0.0, 0.5, 0.5, 0.5], "column propensity, row 1: it is 0, but must be above 0"),
        ("outcomes", "propensity", [0.5, 1.5, 0.5, 0.5, 0.5], "column propensity, row 1"),
        ("outcomes", "quality", [0.5, 1.5, None, 0.5, 0.5], "quality, row 1: it is 1.5.* or missing"),
        ("outcomes", "cost_usd", [0.5, None, 0.5, 0.5, 0.5], "column cost_usd, row 1: it is missing"),
    ],
)
def test_broken_exports(tmp_path: Path, file: str, column: str, values: Any, words: str) -> None:
    queries = QUERIES | {"encoding": [[1.0], [2.0], [3.0]], "encoder": ["e"] * 3, "created_at_s": [1.0, 2.0, 3.0]}
    rows = outcomes(propensity=[0.5, 0.5, None, 0.5, 0.5])
    target = queries if file == "queries" else rows
    if values is None:
        del target[column]
    else:
        target[column] = values
    folder = write_folder(tmp_path / "log", queries=queries, rows=rows)
    with pytest.raises(LogError, match=words):
        read_log(folder)
    assert check_log(folder).count >= 1


def test_columns_that_only_look_like_an_export_are_labels(tmp_path: Path) -> None:
    queries = QUERIES | {"encoding": ["utf-8"] * 3, "encoder": ["x"] * 3, "created_at_s": [1, 2, 3]}
    log = read_log(write_folder(tmp_path / "log", queries=queries))
    assert (set(log.labels), log.encodings, log.encoder) == ({"encoding", "encoder", "created_at_s"}, None, None)
