"""Routing logs: pickles and parquet files changed as bytes, and parquet tables with changed columns and values."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.target import scratch
from mixllm.errors import LogError
from mixllm.logs import check_log, open_log

__all__ = ["LogsTarget"]

_FILES = ("table.pkl", "queries.parquet", "outcomes.parquet", "wide.parquet")
_ROOT = Path(__file__).parents[2]
_WORDS = (
    *(
        b".",
        b"\x80\x04",
        b"\x95\x00\x00\x00\x00\x00\x00\x00\x00",
        b"R",
        b"b",
        b"\x81",
        b"\x93",
        b"c",
        b"os\nsystem\n",
        b"h\x00",
    ),
    *(
        b"r\xff\xff\xff\x7f",
        b"B\xff\xff\xff\x7f",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"K\x00",
        b"]",
        b"}",
        b"(",
        b"t",
    ),
    *(
        b"a",
        b"e",
        b"s",
        b"u",
        b"N",
        b"\x88",
        b"\x8a\xff",
        b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"0",
        b"2",
        b"\x94",
        b"PAR1",
    ),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        "",
        "q0",
        "q9",
        "a\x00b",
        "é" * 200,
        "[]",
        '[{"role":"user","content":"x"}]',
        "[" * 500,
        "{}",
        '{"role":1}',
    ),
    *(0, 1, -1, 2**62, True, 0.5, float("nan"), float("inf"), -0.0, 1e308, b"\xff", [], ["a"], {"role": "user"}, {}),
)


class LogsTarget:
    """`open_log` and `check_log`: what is wrong with a log is a `LogError`, and the two agree."""

    name = "logs"

    def __init__(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from tests.logs.folders import QUERIES, outcomes
        from tests.logs.wide_tables import wide_columns

        pa.set_cpu_count(1)
        logging.disable(logging.WARNING)
        self._tables: dict[str, dict[str, Any]] = {
            "queries.parquet": {
                **QUERIES,
                "messages": ['[{"role":"user","content":"x"}]', None, None],
                "domain": ["a"] * 3,
            },
            "outcomes.parquet": {
                **outcomes(),
                "tokens_in": [1, 2, 3, 4, 5],
                "latency_s": [0.1] * 5,
                "propensity": [0.5] * 5,
                "answer": ["x"] * 5,
            },
            "wide.parquet": wide_columns(),
        }
        self._pickles = tuple(path.read_bytes() for path in sorted((_ROOT / "tests/logs/data").glob("*.pkl")))
        self._whole: dict[str, bytes] = {}
        for name, columns in self._tables.items():
            sink = io.BytesIO()
            pq.write_table(pa.table(columns), sink, compression="none")
            self._whole[name] = sink.getvalue()
        self._folder = scratch()
        self._path = Path(self._folder.name)

    def close(self) -> None:
        """Remove its files."""
        self._folder.cleanup()

    def make(self, rng: np.random.Generator) -> bytes:
        """Return the number of a kind of file and its changed bytes."""
        kind = int(rng.choice(4, p=[0.4, 0.2, 0.25, 0.15]))
        if kind == 0:
            whole = self._pickles[int(rng.integers(len(self._pickles)))]
            return bytes([kind]) + mutated(whole, rng, words=_WORDS, others=self._pickles, most=4)
        name = _FILES[kind]
        if rng.random() < 0.5:
            return bytes([kind]) + mutated(self._whole[name], rng, words=_WORDS, most=3)
        return bytes([kind]) + _table(self._tables[name], rng)

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Open the log and list what is wrong with it."""
        name = _FILES[case[0]]
        place = self._path / ("log" if name in ("queries.parquet", "outcomes.parquet") else "wide")
        place.mkdir(exist_ok=True)
        if place.name == "log":
            for whole in ("queries.parquet", "outcomes.parquet"):
                (place / whole).write_bytes(self._whole[whole])
            (place / name).write_bytes(case[1:])
        else:
            place /= name
            place.write_bytes(case[1:])
        try:
            log = open_log(place, broken="drop" if rng.random() < 0.5 else "refuse")
            outcome = "accepted"
            assert np.isfinite(log.quality[log.asked]).all() or log.propensities is not None
        except LogError:
            outcome = "refused"
        if outcome == "accepted" and rng.random() < 0.7:
            return outcome
        try:
            report = check_log(place)
        except LogError:
            return outcome
        if report.count == 0 and outcome == "refused":
            raise AssertionError("refused, but nothing was found to be wrong")
        return outcome


def _table(columns: dict[str, Any], rng: np.random.Generator) -> bytes:
    """Return a parquet file whose columns have other names, types or values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    changed = dict(columns)
    for _ in range(int(rng.integers(1, 4))):
        names = list(changed)
        if not names:
            break
        name = names[int(rng.integers(len(names)))]
        kind = rng.random()
        if kind < 0.15:
            del changed[name]
        elif kind < 0.3:
            other = names[int(rng.integers(len(names)))]
            changed[name] = list(columns.get(other, changed[name]))[: len(changed[name])]
        else:
            values = list(changed[name])
            value = _VALUES[int(rng.integers(len(_VALUES)))]
            if kind < 0.6 or not values:
                values = [value] * len(values)
            else:
                values[int(rng.integers(len(values)))] = value
            changed[name] = values
    length = min((len(values) for values in changed.values()), default=0)
    length = 0 if rng.random() < 0.05 else length
    made = {}
    for name, values in changed.items():
        try:
            made[name] = pa.array(values[:length])
            if rng.random() < 0.1:
                made[name] = made[name].dictionary_encode()
        except (pa.ArrowException, OverflowError, TypeError):
            made[name] = pa.array([str(value) for value in values[:length]])
    sink = io.BytesIO()
    try:
        pq.write_table(pa.table(made), sink, row_group_size=2 if rng.random() < 0.3 else None)
    except (pa.ArrowException, ValueError):
        return b""
    return sink.getvalue()
