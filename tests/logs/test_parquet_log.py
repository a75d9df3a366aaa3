from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.logs.folders import QUERIES, make_log, outcomes, write_folder

from mixllm.errors import LogError
from mixllm.logs import OUTCOMES_FILE, QUERIES_FILE, read_log, write_log

NAN = float("nan")


def test_reads_a_folder(tmp_path: Path) -> None:
    queries = QUERIES | {"system": ["s", None, "t"], "task": ["x", None, "y"], "level": [1, 2, None]}
    rows = outcomes(
        tokens_in=[1, 2, 3, 4, None],
        latency_s=[0.5, NAN, None, 1.5, 2.0],
        answer=["yes", None, "no", "maybe", ""],
    )
    log = read_log(write_folder(tmp_path / "my-log", queries=queries, rows=rows))
    assert log.name == "my-log"
    assert log.query_ids == ("q0", "q1", "q2")
    assert log.prompts == ("a", "b", "c")
    assert log.systems == ("s", None, "t")
    assert dict(log.labels) == {"task": ("x", "", "y"), "level": ("1", "2", "")}
    assert log.llms == ("big", "small")
    np.testing.assert_array_equal(log.quality, [[1.0, 0.0], [1.0, 0.5], [0.0, NAN]])
    np.testing.assert_array_equal(log.cost_usd, [[0.4, 0.1], [0.5, 0.1], [0.6, NAN]])
    np.testing.assert_array_equal(log.tokens_in, [[1, 2], [4, 3], [NAN, NAN]])
    np.testing.assert_array_equal(log.latency_s, [[0.5, NAN], [1.5, NAN], [2.0, NAN]])
    assert np.isnan(log.tokens_out).all()
    assert np.isnan(log.ttft_s).all()
    assert log.answers == (("yes", None), ("maybe", "no"), ("", None))


def test_reads_the_types_that_other_programs_write(tmp_path: Path) -> None:
    queries = {
        "query_id": pa.array([7, 8]),
        "prompt": pa.array(["a", "b"], pa.large_string()),
        "task": pa.array(["x", "x"]).dictionary_encode(),
        "flag": [True, False],
        "score": pa.array([1.5, 2.0], pa.float32()),
        "nested": [[1], [2]],
        "raw": pa.array([b"1", b"2"], pa.binary()),
        "__index_level_0__": [0, 1],
    }
    rows = {
        "query_id": pa.array([8, 7], pa.int32()),
        "model": pa.array(["m", "m"]).dictionary_encode(),
        "quality": [True, False],
        "cost_usd": pa.array([1, 2], pa.int8()),
        "tokens_out": pa.array([None, None], pa.null()),
        "unknown": ["ignored", "ignored"],
    }
    log = read_log(write_folder(tmp_path, queries=queries, rows=rows))
    assert log.query_ids == ("7", "8")
    assert dict(log.labels) == {"task": ("x", "x"), "flag": ("false", "true")[::-1], "score": ("1.5", "2")}
    np.testing.assert_array_equal(log.quality, [[0.0], [1.0]])
    np.testing.assert_array_equal(log.cost_usd, [[2.0], [1.0]])
    assert log.answers is None


def test_reads_files_of_several_row_groups(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    pq.write_table(pa.table(QUERIES), folder / QUERIES_FILE, row_group_size=1)
    pq.write_table(pa.table(outcomes()), folder / OUTCOMES_FILE, row_group_size=2)
    assert read_log(folder).quality.shape == (3, 2)


def test_reads_chats(tmp_path: Path) -> None:
    chats = [
        '[{"role": "system", "content": "s"}, {"role": "user", "content": "first"}, {"role": "user", "content": "a"}]',
        '[{"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {}}]}]',
        '[{"role": "user", "content": "c"}, {"role": "assistant", "content": null}, {"role": "user", "content": ""}]',
    ]
    log = read_log(write_folder(tmp_path, queries={"query_id": QUERIES["query_id"], "messages": chats}))
    assert log.prompts == ("a", "b", "c")
    assert log.systems == ("s", None, None)
    assert dict(log.labels) == {}


def test_reads_chats_as_structs_and_its_own_system_column_goes_first(tmp_path: Path) -> None:
    chat = [{"role": "developer", "content": "d"}, {"role": "user", "content": "ask"}]
    queries = {"query_id": QUERIES["query_id"], "messages": [chat] * 3, "system": [None, "own", None]}
    log = read_log(write_folder(tmp_path, queries=queries))
    assert log.prompts == ("ask",) * 3
    assert log.systems == ("d", "own", "d")


def test_prompts_go_before_messages(tmp_path: Path) -> None:
    log = read_log(write_folder(tmp_path, queries=QUERIES | {"messages": ["not", "read", None]}))
    assert log.prompts == ("a", "b", "c")


def test_keeps_the_llms_that_were_asked_for(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    assert read_log(folder, llms=["big"]).llms == ("big",)
    assert read_log(folder, llms=["small", "big"]).llms == ("small", "big")
    with pytest.raises(
        LogError, match=r"column model: no row of LLM 'bigg'\. Did you mean 'big'\? It has: big, small\."
    ):
        read_log(folder, llms=["bigg"])
    with pytest.raises(LogError, match="1 queries have no outcome, the first is 'q2'"):
        read_log(folder, llms=["small"])


@pytest.mark.parametrize(
    ("queries", "words"),
    [
        ({"query_id": ["q0", "q1", "q0"]}, r"column query_id, row 2: 'q0' is already in row 0\. Give each query"),
        ({"query_id": ["q0", None, "q2"]}, "column query_id, row 1: the value is missing"),
        ({"prompt": ["a", "b", None]}, "column prompt, row 2: the value is missing"),
        ({"prompt": [["a"], ["b"], ["c"]]}, "column prompt: it holds list<.*>, which is no text"),
        ({"query_id": None}, r"column query_id: the column is missing\. Add it; there are: prompt"),
        ({"prompt": None, "promt": ["a", "b", "c"]}, "column prompt: the column is missing. Did you mean 'promt'"),
        ({"system": [{"a": 1}] * 3}, "column system: it holds struct"),
        ({"prompt": None, "messages": ["[]", "[]", "[]"]}, "column messages, row 0: .*no user message with text"),
        ({"prompt": None, "messages": ["{", "{", "{"]}, "column messages, row 0: this is no chat"),
        ({"prompt": None, "messages": [1, 2, 3]}, "column messages, row 0: this is no chat"),
        ({"prompt": None, "messages": [None] * 3}, "column messages, row 0: the chat is missing"),
        ({"prompt": None, "messages": ['[{"content": "x"}]'] * 3}, "column messages, row 0: .*role"),
        ({"query_id": [], "prompt": []}, "column query_id: there is no query"),
    ],
)
def test_broken_queries(tmp_path: Path, queries: dict[str, Any], words: str) -> None:
    columns = {name: values for name, values in (QUERIES | queries).items() if values is not None}
    folder = write_folder(tmp_path, queries=columns)
    with pytest.raises(LogError, match=rf"queries\.parquet, {words}"):
        read_log(folder)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            {"query_id": ["q0", "q0", "q1", "q1", "q9"]},
            r"column query_id, row 4: query 'q9' is not in queries\.parquet",
        ),
        ({"query_id": ["q0", "q0", "q1", "q1", None]}, "column query_id, row 4: the value is missing"),
        (
            {"model": ["big", "small", "big", "big", "big"]},
            "row 3: query 'q1' and LLM 'big' are already in row 2. Keep",
        ),
        ({"model": ["big", "big", "big", "big", "big"]}, "row 1: query 'q0' and LLM 'big' are already in row 0"),
        ({"model": ["big", "small", "small", "big", None]}, "column model, row 4: the value is missing"),
        ({"model": ["big", "", "small", "big", "big"]}, "column model, row 1: the name is empty"),
        ({"model": None}, "column model: the column is missing"),
        ({"quality": None}, "column quality: the column is missing"),
        ({"cost_usd": None, "cost": [1.0] * 5}, "column cost_usd: the column is missing. Did you mean 'cost'"),
        ({"quality": [1.0, 0.0, 1.5, 1.0, 2.0]}, "column quality, row 2: it is 1.5, but must be a number between 0"),
        ({"quality": [1.0, 0.0, -0.5, 1.0, 0.0]}, "column quality, row 2: it is -0.5"),
        ({"quality": [1.0, NAN, 0.0, 1.0, 0.0]}, "column quality, row 1: it is missing or NaN"),
        ({"quality": [1.0, None, 0.0, 1.0, 0.0]}, "column quality, row 1: it is missing or NaN"),
        ({"quality": ["1", "0", "1", "0", "1"]}, "column quality: it holds string, which are no numbers"),
        ({"cost_usd": [0.0, 0.0, 0.0, 0.0, -1e-9]}, "column cost_usd, row 4: it is -1e-09, but must be a finite"),
        ({"cost_usd": [0.0, 0.0, np.inf, 0.0, 0.0]}, "column cost_usd, row 2: it is inf"),
        ({"cost_usd": [0.0, 0.0, None, 0.0, 0.0]}, "column cost_usd, row 2: it is missing or NaN"),
        ({"tokens_in": [1, 2, 3, -4, 5]}, "column tokens_in, row 3: it is -4"),
        ({"latency_s": [1, 2, 3, np.inf, 5]}, "column latency_s, row 3: it is inf, .* or missing"),
        ({"answer": [[1]] * 5}, "column answer: it holds list"),
        ({name: [] for name in outcomes()}, "column model: there is no outcome"),
        (
            {
                "query_id": ["q0", "q0", "q1", "q1"],
                **{name: outcomes()[name][:4] for name in outcomes() if name != "query_id"},
            },
            r"column query_id: 1 queries have no outcome, the first is 'q2' \(row 2 of queries\.parquet\)\. Add",
        ),
    ],
)
def test_broken_outcomes(tmp_path: Path, rows: dict[str, Any], words: str) -> None:
    folder = write_folder(tmp_path, rows=outcomes(**rows))
    with pytest.raises(LogError, match=rf"outcomes\.parquet, .*{words}"):
        read_log(folder)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"nowhere is not a folder\. Give the path of a folder with queries\.parquet"):
        read_log(tmp_path / "nowhere")
    folder = write_folder(tmp_path / "log")
    with pytest.raises(LogError, match="is not a folder"):
        read_log(folder / QUERIES_FILE)
    (folder / OUTCOMES_FILE).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(LogError, match=r"outcomes\.parquet is not a parquet file"):
        read_log(folder)
    (folder / OUTCOMES_FILE).unlink()
    with pytest.raises(LogError, match=r"outcomes\.parquet is missing"):
        read_log(folder)
    content = bytearray((folder / QUERIES_FILE).read_bytes())
    content[4:40] = b"\xff" * 36
    (folder / QUERIES_FILE).write_bytes(content)
    with pytest.raises(LogError, match=r"queries\.parquet, column query_id: it cannot be read"):
        read_log(folder)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = make_log(
        [[1.0, NAN], [0.25, 0.5]],
        latency_s=[[1.5, NAN], [NAN, 2.0]],
        systems=(None, "s"),
        answers=(("a", None), (None, "b")),
    )
    write_log(log, tmp_path / "deep" / "made")
    again = read_log(tmp_path / "deep" / "made")
    assert (again.name, again.query_ids, again.prompts) == (log.name, log.query_ids, log.prompts)
    assert (again.systems, again.labels, again.llms, again.answers) == (log.systems, log.labels, log.llms, log.answers)
    for name in ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s", "ttft_s"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_log_survives_its_files(tmp_path: Path, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3)))
    cells = st.one_of(st.floats(0, 1), st.just(NAN))
    quality = np.array(data.draw(st.lists(cells, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])))
    quality = quality.reshape(shape)
    quality[0] = quality[:, 0] = 1.0  # each LLM was asked something, in order, and each query was asked
    texts = st.text(st.characters(codec="utf-8"))
    log = make_log(
        quality,
        prompts=tuple(data.draw(texts) for _ in range(shape[0])),
        systems=tuple(data.draw(st.none() | texts) for _ in range(shape[0])),
    )
    write_log(log, tmp_path / "any")
    again = read_log(tmp_path / "any")
    assert (again.prompts, again.systems, again.llms) == (log.prompts, log.systems, log.llms)
    np.testing.assert_array_equal(again.quality, log.quality)


def test_a_label_may_not_take_the_place_of_a_column(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="a label is named 'prompt'"):
        write_log(make_log([[1.0]], labels={"prompt": ("x",)}), tmp_path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from mixllm.logs import read_log\n"
        "from mixllm.errors import MissingExtraError\n"
        "try:\n    read_log(sys.argv[1])\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'mixllm[logs]'" in run.stdout


def test_importing_the_room_does_not_load_pyarrow() -> None:
    code = "import sys, mixllm.logs; print('pyarrow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "False"
