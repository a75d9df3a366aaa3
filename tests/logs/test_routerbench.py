from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.logs.wide_tables import wide_columns, wide_frame

from mixllm.errors import InvalidValueError, LogError
from mixllm.logs import last_block, read_log, read_routerbench, write_log
from mixllm.logs.benchmark_prompts import prompt_texts

NAN = float("nan")


def as_parquet(folder: Path, **changed: Any) -> Path:
    file = folder / "wide.parquet"
    pq.write_table(pa.table(wide_columns(**changed)), file)
    return file


def as_pickle(folder: Path, **changed: Any) -> Path:
    file = folder / "wide.pkl"
    file.write_bytes(pickle.dumps(wide_frame(**changed), 4))
    return file


KINDS = pytest.mark.parametrize("write", [as_parquet, as_pickle])


@KINDS
def test_reads_the_wide_table(tmp_path: Path, write: Any) -> None:
    log = read_routerbench(write(tmp_path))
    assert log.name == "wide"
    assert log.query_ids == ("t.0", "t.1", "t.2")
    assert log.prompts == ("Shots.\n\nWhat is 1 + 1?", "Plain\n\nthe question?", "x")
    assert log.questions == log.texts == ("What is 1 + 1?", "the question?", "x")
    assert log.systems == (None,) * 3
    assert dict(log.labels) == {"eval_name": ("arith", "arith", "text")}
    assert log.llms == ("small", "large")
    np.testing.assert_array_equal(log.quality, [[1.0, 1.0], [0.0, 1.0], [0.5, 0.0]])
    np.testing.assert_array_equal(log.cost_usd, [[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]])
    assert log.answers == (("a", "A"), (None, "B"), ("c", "C"))
    assert np.isnan([log.tokens_in, log.tokens_out, log.latency_s, log.ttft_s]).all()
    assert log.left_out == 0


@KINDS
def test_options(tmp_path: Path, write: Any) -> None:
    file = write(tmp_path)
    whole = read_routerbench(file, question="whole", llms=["large"])
    assert (whole.questions, whole.texts, whole.llms) == (None, whole.prompts, ("large",))
    assert read_routerbench(file, llms=["large", "small"]).llms == ("large", "small")
    with pytest.raises(LogError, match=r"no column of LLM 'larg'\. Did you mean 'large'\? It has: small, large\."):
        read_routerbench(file, llms=["larg"])
    with pytest.raises(InvalidValueError, match="llms must be one name or more"):
        read_routerbench(file, llms=[])
    with pytest.raises(InvalidValueError, match="question must be"):
        read_routerbench(file, question="first")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="broken must be"):
        read_routerbench(file, broken="keep")  # type: ignore[arg-type]


@KINDS
def test_what_is_optional_may_be_missing(tmp_path: Path, write: Any) -> None:
    bare = {"small__model_response": None, "large__model_response": None, "eval_name": None}
    log = read_routerbench(write(tmp_path, **bare))
    assert (log.answers, dict(log.labels)) == (None, {})
    log = read_routerbench(
        write(tmp_path, small__model_response=None, large=[1.0, NAN, 0.0], large__total_cost=[1, NAN, 3])
    )
    assert log.answers == ((None, "A"), (None, None), (None, "C"))
    np.testing.assert_array_equal(log.asked, [[True, True], [True, False], [True, True]])


@KINDS
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sample_id": None}, "column sample_id: the column is missing"),
        ({"prompt": None}, "column prompt: the column is missing"),
        ({"small__total_cost": None, "large__total_cost": None}, r"column \|total_cost: no column ends so"),
        ({"small": None}, "column small: the column is missing"),
        ({"sample_id": ["a", "b", "a"]}, "column sample_id, row 2: the id is already in an earlier row"),
        ({"sample_id": ["a", None, "c"]}, "column sample_id, row 1: the value is missing"),
        ({"prompt": ["a", None, "c"]}, "column prompt, row 1: it is missing, or no prompt"),
        ({"small": [1.0, 1.5, 2.0]}, "column small, row 1: it must be a number between 0 and 1"),
        ({"small": [1.0, 0.0, -1.0]}, "column small, row 2: it must be a number between 0"),
        ({"small": [NAN, 0.0, 1.0]}, "column small, row 0: it is missing, but the cost is known"),
        ({"large__total_cost": [1.0, NAN, 1.0]}, r"column large\|total_cost, row 1: it is missing, but the quality"),
        ({"large__total_cost": [1.0, -1.0, 1.0]}, r"column large\|total_cost, row 1: it must be a finite"),
        ({"large__total_cost": [1.0, np.inf, 1.0]}, r"column large\|total_cost, row 1: it must be a finite"),
        ({"small": ["1", "x", "0"]}, "column small.*: it holds .*no number"),
        ({"small": [NAN] * 3, "small__total_cost": [NAN] * 3}, "column small: no row has a value: the LLM was never"),
        (
            {
                "small": [NAN, 0, 0],
                "small__total_cost": [NAN, 1, 1],
                "large": [NAN, 0, 0],
                "large__total_cost": [NAN, 1, 1],
            },
            "column sample_id, row 0: no LLM has an outcome",
        ),
        ({name.replace("|", "__"): [] for name in wide_columns()}, "column sample_id: there is no query"),
    ],
)
def test_broken_tables(tmp_path: Path, write: Any, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(LogError, match=rf"wide\.\w+, {words}"):
        read_routerbench(write(tmp_path, **changed))


@KINDS
def test_broken_rows_and_cells_are_left_out(tmp_path: Path, write: Any) -> None:
    file = write(
        tmp_path,
        sample_id=["a", "b", "a"],
        small=[1.0, 7.0, 0.5],
        large=[1.0, 0.0, 0.0],
        large__total_cost=[1.0, NAN, 3.0],
    )
    with pytest.raises(LogError, match="row 2: the id is already"):
        read_routerbench(file)
    log = read_routerbench(file, broken="drop")
    # Row 2 has the id of row 0; row 1 loses both of its outcomes, and so goes too.
    assert (log.query_ids, log.left_out) == (("a",), 4)
    with pytest.raises(LogError, match="nothing is left"):
        read_routerbench(write(tmp_path, sample_id=[None] * 3), broken="drop")


def test_an_llm_that_was_never_asked_is_left_out(tmp_path: Path) -> None:
    file = as_parquet(tmp_path, small=[None] * 3, small__total_cost=[None] * 3)
    assert read_routerbench(file, broken="drop").llms == ("large",)
    assert read_routerbench(file, llms=["large"]).llms == ("large",)


def test_the_questions_survive_a_log_folder(tmp_path: Path) -> None:
    log = read_routerbench(as_parquet(tmp_path))
    write_log(log, tmp_path / "again")
    again = read_log(tmp_path / "again")
    assert (again.questions, again.prompts, again.answers) == (log.questions, log.prompts, log.answers)
    assert log.select([2, 0]).questions == ("x", "What is 1 + 1?")
    assert log.select_llms(["large"]).questions == log.questions


def test_pandas_is_not_needed(tmp_path: Path) -> None:
    file = as_pickle(tmp_path)
    code = (
        "import sys; sys.modules['pandas'] = None; sys.modules['pyarrow'] = None\n"
        f"from mixllm.logs import read_routerbench; print(len(read_routerbench({str(file)!r})))\n"
        "assert 'pickle' not in sys.modules or not hasattr(sys.modules['mixllm.logs.pickle_values'], 'pickle')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (0, "3\n"), run.stderr


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("run",)

    frame = wide_frame(prompt=pd.Series([Evil(), "b", "c"], dtype=object))
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps(frame))
    with pytest.raises(LogError, match=r"evil\.pkl: it refers to 'builtins\.print'.*It was not executed"):
        read_routerbench(file)


def test_prompts_that_are_lists_of_parts_and_messages() -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "ask"}]
    values = [
        ["a", "b"],
        chat,
        repr(chat),
        repr(["x\n\ny", "q\"'"]),
        "[1, 2]",
        "['open",
        "[]",
        [],
        [1],
        7,
        "[{'a': 1}]",
    ]
    expected = ["a\n\nb", "ask", "ask", "x\n\ny\n\nq\"'", "[1, 2]", "['open", "[]", None, None, None, "[{'a': 1}]"]
    assert prompt_texts(values) == expected


@pytest.mark.parametrize("text", ["['" + "[" * 5000 + "']", "['\\d']", "['a' 'b']", "['\\", "[{" * 5000 + "]", "['']"])
def test_texts_that_look_like_lists_do_no_harm(text: str) -> None:
    (read,) = prompt_texts([text])
    assert isinstance(read, str)


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("", ""),
        ("one", "one"),
        ("a\n\nb\nc", "b\nc"),
        ("a\n \t\nb", "b"),
        ("a\r\n\r\nb", "b"),
        ("a\n\n\n\nb", "b"),
        ("a\n\nb\n\n \n", "b"),
    ],
)
def test_last_block(prompt: str, question: str) -> None:
    assert last_block(prompt) == question
