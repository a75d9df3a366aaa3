from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.logs.wide_tables import wide_columns, wide_frame

from mixllm.errors import LogError
from mixllm.logs.pickled_frame import PickledTable

DATA = Path(__file__).parent / "data"
"""`wide_frame` as older versions wrote it; str: with texts and categories, np: with numpy's scalars and lists."""
PROTOCOLS = (2, 3, 4, 5)


def written(frame: Any, file: Path, protocol: int = 4) -> PickledTable:
    file.write_bytes(pickle.dumps(frame, protocol))
    return PickledTable(file)


def variants() -> dict[str, pd.DataFrame]:
    frame = wide_frame()
    strings = pd.StringDtype("python")
    return {
        "as it is": frame,
        "objects": frame.astype(object),
        "python strings": frame.astype({"prompt": strings, "small|model_response": strings}),
        "pyarrow strings": frame.astype({"prompt": "string[pyarrow]"}),
        "categories": frame.astype({"eval_name": "category"}),
        "index": frame.set_index(pd.Index(["x", "y", "z"])),
        "rows picked": pd.concat([frame, frame]).iloc[[0, 4, 2]],
        "columns picked": frame[list(frame.columns)[::-1]][list(frame.columns)],
        "one block": pd.DataFrame(frame.to_numpy(dtype=object), columns=frame.columns),
        "fortran": pd.DataFrame(np.asfortranarray(frame.to_numpy(dtype=object)), columns=frame.columns),
        "joined": pd.concat([frame.iloc[:1], frame.iloc[1:]]),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", sorted(variants()))
def test_what_pandas_writes(tmp_path: Path, name: str, protocol: int) -> None:
    table = written(variants()[name], tmp_path / "t.pkl", protocol)
    assert (table.names, table.rows) == (list(wide_columns()), 3)
    for column, values in wide_columns().items():
        assert table.values(column) == values, column
    for column in ("small", "large", "small|total_cost"):
        numbers = table.numbers(column)
        assert numbers.dtype == np.float64
        np.testing.assert_array_equal(numbers, wide_columns()[column])


@pytest.mark.parametrize("file", sorted(DATA.glob("*.pkl")), ids=lambda file: file.stem)
def test_what_other_versions_of_pandas_wrote(file: Path) -> None:
    table = PickledTable(file)
    assert table.names == list(wide_columns())
    same = [name for name in table.names if not ("_np_" in file.name and name == "prompt")]
    for name in same:
        assert table.values(name) == wide_columns()[name], name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cells_of_many_kinds(tmp_path: Path, protocol: int) -> None:
    cells = [np.float64(1.5), True, None, float("nan"), 7, np.float32(0.5), pd.NA]
    frame = pd.DataFrame({"n": pd.Series(cells, dtype=object), "l": pd.Series([["a"], [], None] + ["t"] * 4)})
    table = written(frame, tmp_path / "t.pkl", protocol)
    assert table.values("n") == [1.5, True, None, None, 7, 0.5, None]
    assert table.values("l")[:4] == [["a"], [], None, "t"]
    np.testing.assert_array_equal(table.numbers("n"), [1.5, 1.0, np.nan, np.nan, 7.0, 0.5, np.nan])
    with pytest.raises(LogError, match=r"t\.pkl, column l, row 0: it holds what is no number"):
        table.numbers("l")
    with pytest.raises(LogError, match=r"column nn: the column is missing\. Did you mean 'n'"):
        table.values("nn")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u8", "?", ">f8", ">i4"])
def test_numbers_of_every_width(tmp_path: Path, dtype: str) -> None:
    table = written(pd.DataFrame({"n": np.array([1, 0, 1], dtype=dtype)}), tmp_path / "t.pkl")
    np.testing.assert_array_equal(table.numbers("n"), [1.0, 0.0, 1.0])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=1, max_size=5),
    protocol=st.sampled_from(PROTOCOLS),
    dtype=st.sampled_from(["object", "str", "string"]),
)
def test_any_text_survives(tmp_path: Path, texts: list[str | None], protocol: int, dtype: str) -> None:
    table = written(pd.DataFrame({"t": pd.Series(texts, dtype=dtype)}), tmp_path / "t.pkl", protocol)
    assert table.values("t") == texts


def test_empty_tables(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="columns without names"):
        written(pd.DataFrame(), tmp_path / "a.pkl")
    assert written(wide_frame().iloc[:0], tmp_path / "b.pkl").rows == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2],
        {"a": 1},
        "text",
        np.zeros(3),
        pd.DataFrame({"t": pd.to_datetime(["2024-01-01"])}),
        pd.DataFrame({"c": [1 + 2j]}),
        pd.DataFrame([[1.0, 2.0]]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"s": pd.array([1, None], dtype="Int64")}),
        pd.Series([1.0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_are_no_table(tmp_path: Path, value: Any) -> None:
    with pytest.raises(LogError, match=r"t\.pkl: (this is no table of numbers and texts|it refers to)"):
        written(value, tmp_path / "t.pkl")


def test_cut_and_changed_files_are_refused_or_read(tmp_path: Path) -> None:
    whole = pickle.dumps(wide_frame(), 4)
    file = tmp_path / "t.pkl"
    for length in range(0, len(whole), 61):
        file.write_bytes(whole[:length])
        with pytest.raises(LogError, match=r"t\.pkl"):
            PickledTable(file)
    generator = np.random.default_rng(0)
    read = 0
    for _ in range(250):
        data = bytearray(whole)
        data[int(generator.integers(len(data)))] = int(generator.integers(256))
        file.write_bytes(data)
        try:
            table = PickledTable(file)
            for name in table.names:
                table.values(name)
        except LogError:
            continue
        read += 1
    assert read > 0


def test_large_and_missing_files(tmp_path: Path) -> None:
    file = tmp_path / "t.pkl"
    with pytest.raises(LogError, match="cannot be read"):
        PickledTable(file)
    file.write_bytes(pickle.dumps(wide_frame()))
    with pytest.raises(LogError, match="at most 100 are read"):
        PickledTable(file, max_bytes=100)
    with pytest.raises(LogError, match="more than 10 steps"):
        PickledTable(file, max_steps=10)
    with pytest.raises(LogError, match="too many objects"):
        PickledTable(file, max_objects=5)


class _Call:
    """Pickles as a call of a name with arguments, and a state."""

    def __init__(self, name: str, *args: Any, state: Any = None) -> None:
        self.name, self.args, self.state = name, args, state


def spelt(value: Any) -> bytes:
    """Return opcodes for calls of any name, whether it can be imported or not."""
    if isinstance(value, _Call):
        module, _, name = value.name.rpartition(".")
        head = f"c{module}\n{name}\n".encode()
        built = head if value.args == (None,) else head + b"(" + b"".join(map(spelt, value.args)) + b"tR"
        return built if value.state is None else built + spelt(value.state) + b"b"
    if isinstance(value, (list, tuple)):
        inner = b"(" + b"".join(map(spelt, value))
        return b"]" + inner + b"e" if isinstance(value, list) else inner + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(spelt(part) for part in itertools.chain(*value.items())) + b"u"
    return pickle.dumps(value, 3)[2:-1].split(b"q\x00")[0]


def array(values: list[Any], shape: tuple[int, ...], *, kind: str = "O8", fortran: bool = False) -> _Call:
    dtype = _Call("numpy.dtype", kind, state=(3, "|", None, None, None, -1, -1, 63))
    start = _Call("numpy.ndarray", None)
    return _Call("numpy.core.multiarray._reconstruct", start, (0,), b"b", state=(1, shape, dtype, fortran, values))


def frame_of(blocks: list[tuple[Any, Any]], names: Any) -> _Call:
    parts = tuple(_Call("pandas._libs.internals._unpickle_block", values, place, 2) for values, place in blocks)
    index = _Call("pandas.core.indexes.base._new_Index", _Call("pandas.core.indexes.base.Index", None), {"data": names})
    manager = _Call("pandas.core.internals.managers.BlockManager", parts, [index])
    return _Call("pandas.core.frame.DataFrame", state={"_mgr": manager})


def place(*bounds: int) -> _Call:
    return _Call("builtins.slice", *bounds)


def read(tmp_path: Path, value: Any) -> PickledTable:
    file = tmp_path / "made.pkl"
    file.write_bytes(b"\x80\x04" + spelt(value) + b".")
    return PickledTable(file)


def test_the_layout_before_pandas_1_3(tmp_path: Path) -> None:
    index = _Call(
        "pandas.core.indexes.base._new_Index",
        _Call("pandas.core.indexes.base.Index", None),
        {"data": array(["a", "b"], (2,)), "name": None},
    )
    blocks = [{"values": array(["x", 1, "y", 2], (2, 2), fortran=True), "mgr_locs": place(0, 2, 1)}]
    state: tuple[Any, ...] = ([], [], [], {"0.14.1": {"axes": [index], "blocks": blocks}})
    manager = _Call("pandas.core.internals.managers.BlockManager", state=state)
    table = read(tmp_path, _Call("pandas.core.frame.DataFrame", state={"_data": manager}))
    assert (table.values("a"), table.values("b")) == (["x", "y"], [1, 2])


@pytest.mark.parametrize(
    ("blocks", "names", "words"),
    [
        ([(array(["x"], (1, 1)), place(0, 2, 1))], ["a"], "another number of columns than places"),
        ([(array(["x"], (1, 1)), place(5, 6, 1))], ["a"], "out of place"),
        ([(array(["x"], (1, 1)), place(0, 10**12, 1))], ["a"], "out of place"),
        ([(array(["x"], (1, 1)), place(0, 1, 0))], ["a"], "out of place"),
        ([(array(["x"], (1, 1)), "here")], ["a"], "no _reconstruct where one belongs"),
        ([(array(["x"], (1, 2)), place(0, 1, 1))], ["a"], "another size than its shape"),
        ([(array(["x"], (1,)), place(0, 1, 1))], ["a"], "no matrix"),
        ([(array([], (10**9, 0)), place(0, 1, 1))], ["a"], "more than 10000 columns"),
        ([(array([], (-1, 1)), place(0, 1, 1))], ["a"], "without a shape"),
        ([(array(["x"], (1, 1), kind="V8"), place(0, 1, 1))], ["a"], "type 'V8'"),
        ([(array(["x"], (1, 1), kind="f8"), place(0, 1, 1))], ["a"], "without its bytes"),
        ([(array(["x"], (1, 1)), place(0, 1, 1))], ["a", "b"], "a column has no data"),
        ([(array(["x"], (1, 1)), place(0, 1, 1))] * 2, ["a"], "out of place"),
        ([(array(["x"], (1, 1)), place(0, 1, 1)), (array([1, 2], (1, 2)), place(1, 2, 1))], ["a", "b"], "in length"),
        ([], [], "no table"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, blocks: Any, names: list[str], words: str) -> None:
    index = array(names, (len(names),)) if names else 5
    with pytest.raises(LogError, match=words):
        read(tmp_path, frame_of(blocks, index))


def test_parts_that_hold_themselves_are_refused(tmp_path: Path) -> None:
    # An array of texts whose texts are that array.
    backed = b"cpandas._libs.arrays\n__pyx_unpickle_NDArrayBacked\n(cpandas.arrays\nStringArray\nK\x00NtRq\x00(Nh\x00tb"
    index = b"cpandas.core.indexes.base\n_new_Index\n(cpandas\nIndex\n}X\x04\x00\x00\x00data" + backed + b"stR"
    manager = b"cpandas.core.internals.managers\nBlockManager\n()](" + index + b"etR"
    file = tmp_path / "loop.pkl"
    file.write_bytes(b"\x80\x04cpandas\nDataFrame\n)R}X\x04\x00\x00\x00_mgr" + manager + b"sb.")
    with pytest.raises(LogError, match="its parts refer to each other"):
        PickledTable(file)


def test_blocks_that_share_their_data_do_not_multiply_it(tmp_path: Path) -> None:
    # A thousand columns of the same 30,000 cells: 30 million cells out of a small file.
    cells, count = 30_000, 1000
    shared = spelt(array([1] * cells, (1, cells)))
    blocks = b"".join(
        b"cpandas._libs.internals\n_unpickle_block\n("
        + (shared + b"q\x01" if number == 0 else b"h\x01")
        + spelt(place(number, number + 1, 1))
        + b"K\x02tR"
        for number in range(count)
    )
    names = [f"c{number}" for number in range(count)]
    whole = frame_of([], array(names, (count,)))
    data = spelt(whole).replace(b"((t", b"((" + blocks + b"t", 1)
    file = tmp_path / "shared.pkl"
    file.write_bytes(b"\x80\x04" + data + b".")
    with pytest.raises(LogError, match="larger than its file"):
        PickledTable(file)
