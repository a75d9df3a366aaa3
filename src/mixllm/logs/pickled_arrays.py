"""What a pickle's values say of arrays: numpy's, pandas' strings and categories, pyarrow's texts."""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixllm.logs.pickle_values import Built, Named

__all__ = [
    "ARRAY_NAMES",
    "MAX_COLUMNS",
    "Column",
    "NoTableError",
    "block_rows",
    "flat",
    "is_arrow_text",
    "one_of",
    "plain",
]

Column: TypeAlias = list[Any] | NDArray[Any]
"""One column: numbers as an array, all else as a list."""

MAX_COLUMNS: Final = 10_000
"""Most columns that a table may have."""

_NUMPY = ("numpy.core", "numpy._core")
_RECONSTRUCT = tuple(f"{root}.multiarray _reconstruct" for root in _NUMPY)
_SCALAR = tuple(f"{root}.multiarray scalar" for root in _NUMPY)
_FROM_BUFFER = tuple(f"{root}.numeric _frombuffer" for root in _NUMPY)
_DTYPE, _NDARRAY, _ENCODE, _BYTEARRAY = "numpy dtype", "numpy ndarray", "_codecs encode", "builtins bytearray"
_BACKED = "pandas._libs.arrays __pyx_unpickle_NDArrayBacked"
_STRINGS = ("pandas.arrays StringArray", "pandas.core.arrays.string_ StringArray")
_CATEGORICAL = ("pandas Categorical", "pandas.core.arrays.categorical Categorical")
_CATEGORIES = ("pandas CategoricalDtype", "pandas.core.dtypes.dtypes CategoricalDtype")
_ARROW_STRINGS = ("pandas.arrays ArrowStringArray", "pandas.core.arrays.string_arrow ArrowStringArray")
_STRING_DTYPES = ("pandas StringDtype", "pandas.core.arrays.string_ StringDtype")
_MISSING = ("pandas NA", "pandas._libs.missing NA")
_ARROW_ARRAY, _ARROW_CHUNKS = "pyarrow.lib _restore_array", "pyarrow.lib chunked_array"
_ARROW_TYPE, _ARROW_BUFFER = "pyarrow.lib type_for_alias", "pyarrow.lib py_buffer"
_NEW_INDEX = "pandas.core.indexes.base _new_Index"
_INDEX_KINDS = (
    *("pandas Index", "pandas.core.indexes.base Index", "pandas RangeIndex", "pandas.core.indexes.range RangeIndex"),
    *("pandas.core.indexes.numeric Int64Index", "pandas.core.indexes.numeric Float64Index"),
)

ARRAY_NAMES = frozenset(
    {
        *(*_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER, _DTYPE, _NDARRAY, _ENCODE, _BYTEARRAY),
        *(_BACKED, *_STRINGS, *_CATEGORICAL, *_CATEGORIES, *_STRING_DTYPES, *_MISSING, _NEW_INDEX, *_INDEX_KINDS),
        *(*_ARROW_STRINGS, _ARROW_ARRAY, _ARROW_CHUNKS, _ARROW_TYPE, _ARROW_BUFFER),
    }
)
"""The names that arrays are pickled with, by pandas 1 to 3 and numpy 1 and 2."""

_NUMBER_KINDS = "biuf"
_OBJECTS = "O8"
_ORDERS = ("<", ">", "=", "|")
_OFFSETS: dict[str, np.dtype[Any]] = {"string": np.dtype("<i4"), "large_string": np.dtype("<i8")}
_TUPLE_OF_ARRAY = 5
_TUPLE_OF_ARROW = 7


class NoTableError(ValueError):
    """Why a pickle's values are no table of numbers and texts."""


def one_of(value: object, names: tuple[str, ...] | str, *, least: int = 0) -> Built:
    """Return `value` where it is a call of one of `names` with `least` arguments; raises `NoTableError`."""
    expected = (names,) if isinstance(names, str) else names
    if isinstance(value, Built) and value.name in expected and len(value.args) >= least:
        return value
    raise NoTableError(f"it has no {expected[0].rpartition(' ')[2]} where one belongs")


def flat(value: Any) -> Column:
    """Return a one-dimensional array or index of any kind; raises `NoTableError`."""
    if isinstance(value, Built) and value.name == _NEW_INDEX:
        return _index(value)
    if isinstance(value, Built) and value.name == _BACKED:
        return _backed(value)
    if isinstance(value, Built) and value.name in _ARROW_STRINGS:
        return _arrow_strings(value)
    shape, items, _ = _array(value)
    if len(shape) != 1:
        raise NoTableError("it has an array of another dimension than 1 where a column belongs")
    return items


def block_rows(value: Any) -> list[Column]:
    """Return the columns of a block: the rows of a two-dimensional array, or one of pandas' own arrays."""
    if isinstance(value, Built) and (value.name == _BACKED or value.name in _ARROW_STRINGS):
        return [flat(value)]
    shape, items, columns_first = _array(value)
    if len(shape) != 2:
        raise NoTableError("it has a block that is no matrix")
    rows, length = shape
    if rows > MAX_COLUMNS:
        raise NoTableError(f"it has more than {MAX_COLUMNS} columns")
    if rows == 1:
        return [items]
    if columns_first:
        return [items[row::rows] for row in range(rows)]
    return [items[row * length : (row + 1) * length] for row in range(rows)]


def is_arrow_text(value: Any) -> bool:
    """Whether `value` is an array of pyarrow's texts, which several blocks could share the bytes of."""
    return isinstance(value, Built) and value.name in _ARROW_STRINGS


def plain(value: Any) -> Any:
    """Return an item of an array of objects as Python's own: None where it is missing; raises `NoTableError`."""
    if isinstance(value, Named):
        if value.name in _MISSING:
            return None
        raise NoTableError("it has a cell that is neither number, text nor list")
    if not isinstance(value, Built):
        return value
    if value.name in _SCALAR and len(value.args) == 2:
        return _numbers(_buffer(value.args[1]), _dtype(value.args[0]), 1).tolist()[0]
    return list(flat(value))


def _array(value: Any) -> tuple[tuple[int, ...], Column, bool]:
    """Return shape, items one after another, and whether they run along the first dimension first."""
    if isinstance(value, Built) and value.name in _FROM_BUFFER and len(value.args) == 4:
        buffer, dtype, shape, order = value.args
        columns_first, data = order == "F", buffer
    else:
        state = one_of(value, _RECONSTRUCT).state
        if not isinstance(state, tuple) or len(state) != _TUPLE_OF_ARRAY:
            raise NoTableError("it has an array without its data")
        _, shape, dtype, columns_first, data = state
    size = _size(shape)
    kind = _dtype(dtype)
    if kind is not None:
        return shape, _numbers(_buffer(data), kind, size), bool(columns_first)
    if not isinstance(data, list) or len(data) != size:
        raise NoTableError("it has an array of another size than its shape")
    return shape, data, bool(columns_first)


def _size(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise NoTableError("it has an array without a shape")
    return math.prod(shape)


def _dtype(value: Any) -> np.dtype[Any] | None:
    """Return the type of an array's numbers, None for objects."""
    dtype = one_of(value, _DTYPE, least=1)
    code = dtype.args[0]
    if code == _OBJECTS:
        return None
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "<"
    if isinstance(code, str) and code[:1] in _NUMBER_KINDS and code[1:] in ("1", "2", "4", "8") and order in _ORDERS:
        try:
            return np.dtype(f"{order}{code}")
        except TypeError:
            pass
    raise NoTableError(f"it has an array of type {str(code)[:20]!r}, which holds neither numbers nor texts")


def _numbers(data: bytes, dtype: np.dtype[Any] | None, size: int) -> NDArray[Any]:
    if dtype is None or len(data) != size * dtype.itemsize:
        raise NoTableError("it has an array of another size than its shape")
    return np.frombuffer(data, dtype=dtype)


def _buffer(value: Any) -> bytes:
    if isinstance(value, Built) and value.name == _ARROW_BUFFER and len(value.args) == 1:
        value = value.args[0]
    if isinstance(value, Built) and value.name == _BYTEARRAY:
        if not value.args:
            return b""
        value = value.args[0]
    if isinstance(value, Built) and value.name == _ENCODE and len(value.args) == 2:
        text, encoding = value.args
        if isinstance(text, str) and encoding == "latin1":
            value = text.encode("latin1")  # A UnicodeEncodeError is a ValueError.
    elif isinstance(value, Built) and value.name == _ENCODE:
        value = b""
    if not isinstance(value, bytes):
        raise NoTableError("it has an array without its bytes")
    return value


def _index(value: Built) -> Column:
    if len(value.args) != 2 or not isinstance(value.args[1], dict) or "data" not in value.args[1]:
        raise NoTableError("it has columns without names")
    return flat(value.args[1]["data"])


def _backed(value: Built) -> Column:
    kind = value.args[0] if value.args else None
    state = value.state
    if not isinstance(kind, Named) or not isinstance(state, tuple) or len(state) < 2:
        raise NoTableError("it has an array without its data")
    if kind.name in _STRINGS:
        return flat(state[1])
    if kind.name not in _CATEGORICAL:
        raise NoTableError(f"it has an array of kind {kind.name.rpartition(' ')[2]!r}")
    dtype = one_of(state[0], _CATEGORIES).state
    if not isinstance(dtype, dict):
        raise NoTableError("it has categories without names")
    categories, codes = list(flat(dtype.get("categories"))), flat(state[1])
    if (
        not isinstance(codes, np.ndarray)
        or codes.dtype.kind != "i"
        or (codes.size and not -1 <= codes.min() <= codes.max() < len(categories))
    ):
        raise NoTableError("it has categories without names")
    return [None if code < 0 else categories[code] for code in codes.tolist()]


def _arrow_strings(value: Built) -> list[str | None]:
    state = value.state
    if not isinstance(state, dict):
        raise NoTableError("it has texts without their data")
    data = state.get("_pa_array", state.get("_data"))
    if isinstance(data, Built) and data.name == _ARROW_CHUNKS and data.args and isinstance(data.args[0], list):
        return [text for chunk in data.args[0] for text in _arrow_texts(chunk)]
    return _arrow_texts(data)


def _arrow_texts(value: Any) -> list[str | None]:
    (state,) = one_of(value, _ARROW_ARRAY, least=1).args
    if not isinstance(state, tuple) or len(state) != _TUPLE_OF_ARROW or not isinstance(state[4], list):
        raise NoTableError("it has texts without their data")
    kind, length, _, start, buffers, _, _ = state
    alias = one_of(kind, _ARROW_TYPE, least=1).args[0]
    known = isinstance(alias, str) and alias in _OFFSETS and len(buffers) == 3
    if not known or type(length) is not int or type(start) is not int or min(length, start) < 0:
        raise NoTableError("it has texts of another kind")
    if length == 0:
        return []
    offset_type = _OFFSETS[alias]
    raw = b"" if buffers[2] is None else _buffer(buffers[2])
    offset_bytes = _buffer(buffers[1])
    if len(offset_bytes) < (start + length + 1) * offset_type.itemsize:
        raise NoTableError("it has texts of another size than it says")
    offsets = np.frombuffer(offset_bytes, dtype=offset_type)[start : start + length + 1]
    if offsets[0] < 0 or offsets[-1] > len(raw) or (np.diff(offsets) < 0).any():
        raise NoTableError("it has texts of another size than it says")
    known_rows = _validity(buffers[0], start, length)
    ends = offsets.tolist()
    return [
        raw[begin:end].decode("utf-8", "replace") if there else None
        for begin, end, there in zip(ends, ends[1:], known_rows, strict=False)
    ]


def _validity(buffer: Any, start: int, length: int) -> list[bool]:
    if buffer is None:
        return [True] * length
    used = _buffer(buffer)[start // 8 : (start + length + 7) // 8]
    bits = np.unpackbits(np.frombuffer(used, dtype=np.uint8), bitorder="little")[start % 8 :]
    if bits.size < length:
        raise NoTableError("it has texts of another size than it says")
    return [bool(bit) for bit in bits[:length]]
