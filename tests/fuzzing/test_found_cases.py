"""What the fuzzers found: the smallest inputs, one test for each fault; the files are as they came."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.logs.folders import write_folder
from tests.small_router import small_router, teach

from mixllm.clients import SSEParser
from mixllm.clients.bodies import check_event
from mixllm.config import parse_config
from mixllm.errors import ConfigError, InvalidValueError, LogError, StateError, StoreError, UpstreamProtocolError
from mixllm.learning import Checkpoint
from mixllm.logs import check_log, open_log
from mixllm.predictors import BlockPrior
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.store import SQLiteStore
from mixllm.types import LLMSpec

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("text", [r'encoder: {path: "\ud800"}', r'"\udfff": 1', r'model_list: ["a\ud800\udc00"]'])
def test_half_of_a_surrogate_pair_in_a_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match=r"configuration, line 1: has half of a surrogate pair"):
        parse_config(text)


@pytest.mark.parametrize("line", [b"data\n", b"data:\n", b"data: \r\n"])
def test_an_event_of_endless_empty_lines_is_bounded_as_any_other(line: bytes) -> None:
    parser = SSEParser(max_event_bytes=100)
    parser.feed(line * 101)
    with pytest.raises(InvalidValueError, match="event"):
        parser.feed(line)


def test_an_event_whose_texts_are_no_utf_8_is_no_event() -> None:
    with pytest.raises(UpstreamProtocolError, match="not a JSON object"):
        check_event(LLMSpec(name="a"), b'{"choices": [{"delta": {"content": "\xba"}}]}')


def test_a_parquet_file_whose_column_names_are_no_text(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "log")
    shutil.copy(DATA / "name_no_utf8.parquet", folder / "outcomes.parquet")
    with pytest.raises(LogError, match=r"outcomes\.parquet"):
        open_log(folder)
    assert check_log(folder).count


def test_a_parquet_file_whose_columns_differ_in_length() -> None:
    with pytest.raises(LogError, match=r"has \d+ values, the file 3 rows"):
        open_log(DATA / "short_column.parquet")
    assert check_log(DATA / "short_column.parquet").count


def test_a_parquet_file_with_a_text_that_is_no_utf_8(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "log", queries={"query_id": ["q0", "q1", "q2"], "prompt": ["a", "MARK", "c"]})
    file = folder / "queries.parquet"
    file.write_bytes(file.read_bytes().replace(b"MARK", b"M\xffRK"))
    with pytest.raises(LogError, match="prompt"):
        open_log(folder)


def test_a_pickle_whose_order_of_bytes_is_a_number() -> None:
    with pytest.raises(LogError, match="holds neither numbers nor texts"):
        open_log(DATA / "order_of_bytes.pkl")


def test_sqlite_s_words_on_a_damaged_schema_may_be_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mixllm.db"
    SQLiteStore(path=path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        damaged = "sql = CAST(x'435245415445205441424C4520fc28' AS TEXT), name = CAST(x'fc' AS TEXT)"
        connection.execute(f"UPDATE sqlite_master SET {damaged} WHERE name = 'states'")
        connection.commit()
    with pytest.raises(StoreError, match="the file is damaged"):
        SQLiteStore(path=path)


def test_a_state_of_smaller_floats_is_refused_without_a_warning() -> None:
    prior = BlockPrior(
        tags=1, embedding=1, tag_precision=1.0, embedding_precision=1.0, bias_precision=1.0, bias_mean=0.5
    )
    model = BayesianLinear(prior=prior, noise_variance=1.0)
    arrays: dict[str, Any] = {name: np.asarray(array, np.float32) for name, array in model.state().items()}
    arrays["gram"][0, 0] = np.inf
    with pytest.raises(StateError, match="gram"):
        model.load_state(arrays)


def test_a_parquet_file_with_two_numbers_of_rows(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "log")
    shutil.copy(DATA / "two_numbers_of_rows.parquet", folder / "outcomes.parquet")
    with pytest.raises(LogError, match="says of itself two numbers of rows"):
        open_log(folder)


@pytest.mark.parametrize("kind", [np.float32, np.int64, None])
def test_numbers_of_another_size_in_a_state_are_restored_or_refused_without_a_warning(kind: Any) -> None:
    router = small_router()
    try:
        teach(router, 12)
        checkpoint = router.learner.checkpoint()
        for key, array in checkpoint.arrays.items():
            changed = np.full_like(array, 1e308) if kind is None else array.astype(kind)
            payload = replace(checkpoint, arrays={**checkpoint.arrays, key: changed}).to_bytes()
            with suppress(StateError):
                router.learner.restore(Checkpoint.from_bytes(payload))
            router.learner.restore(checkpoint)
    finally:
        router.close()
