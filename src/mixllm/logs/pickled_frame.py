"""A pandas DataFrame out of a pickle's values; neither pandas nor anything in the pickle runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import LogError, did_you_mean
from mixllm.logs.findings import TableError
from mixllm.logs.pickle_values import MAX_OBJECTS, MAX_STEPS, parse_pickle
from mixllm.logs.pickled_arrays import (
    ARRAY_NAMES,
    MAX_COLUMNS,
    Column,
    NoTableError,
    block_rows,
    flat,
    is_arrow_text,
    one_of,
    plain,
)

__all__ = ["PickledTable"]

MAX_BYTES: Final = 2 * 1024**3
"""Largest pickle that is read; RouterBench's tables have less than a tenth of it."""

_FRAME = ("pandas DataFrame", "pandas.core.frame DataFrame")
_MANAGER = ("pandas.core.internals.managers BlockManager", "pandas._libs.internals BlockManager")
_BLOCK, _SLICE = "pandas._libs.internals _unpickle_block", "builtins slice"
_NAMES = ARRAY_NAMES | {*_FRAME, *_MANAGER, _BLOCK, _SLICE}
_OLD_LAYOUT = "0.14.1"
_MAX_CELLS = 20_000_000
"""Blocks may share what they hold, so that a small file could ask for any number of cells."""


class PickledTable:
    """A pickled DataFrame, column by column; the interface of `mixllm.logs.columns.TableFile` as far as it is needed.

    Parameters
    ----------
    file
        Its path.
    max_bytes, max_steps, max_objects
        Bounds on what is read, see `mixllm.logs.pickle_values.parse_pickle`.

    Raises
    ------
    LogError
        Where the file is missing, too large, damaged, refers to anything but the parts of a DataFrame of numbers and
        texts, or is no such DataFrame.
    """

    def __init__(
        self, file: Path, *, max_bytes: int = MAX_BYTES, max_steps: int = MAX_STEPS, max_objects: int = MAX_OBJECTS
    ) -> None:
        self.file = file
        data = _read(file, max_bytes)
        value = parse_pickle(data, names=_NAMES, file=file, max_steps=max_steps, max_objects=max_objects)
        try:
            self._columns = _frame(value, max_chars=len(data))
        except (ValueError, RecursionError) as error:
            reason = "its parts refer to each other" if isinstance(error, RecursionError) else str(error)
            raise LogError(
                f"{file}: this is no table of numbers and texts: {reason}. Use the published file, or parquet."
            ) from None
        self.rows = len(next(iter(self._columns.values()), []))

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._columns)

    def error(self, column: str, problem: str, *, row: int | None = None) -> TableError:
        """Return the error of a column, and of a row where one is known."""
        return TableError(file=self.file, column=column, row=row, problem=problem)

    def values(self, name: str) -> list[Any]:
        """Return the column as Python's own values, None where one is missing."""
        column = self._column(name)
        if isinstance(column, np.ndarray):
            return [None if isinstance(value, float) and math.isnan(value) else value for value in column.tolist()]
        try:
            cells = [plain(value) for value in column]
        except ValueError as error:
            raise self.error(name, f"{error}. Use the published file, or parquet.") from None
        return [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return the column as float64, shape (rows,), NaN where a value is missing."""
        column = self._column(name)
        if isinstance(column, np.ndarray):
            return column.astype(np.float64)
        numbers = np.full(len(column), np.nan)
        for row, value in enumerate(self.values(name)):
            if isinstance(value, (int, float)):
                try:
                    numbers[row] = float(value)
                except OverflowError:
                    numbers[row] = np.inf
            elif value is not None:
                raise self.error(name, "it holds what is no number. Write it as numbers.", row=row)
        return numbers

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            hint = did_you_mean(name, self.names)
            raise self.error(name, f"the column is missing.{hint} Add it; there are: {', '.join(self.names)}.")
        return self._columns[name]


def _read(file: Path, max_bytes: int) -> bytes:
    try:
        size = file.stat().st_size
        if size > max_bytes:
            raise LogError(f"{file}: it has {size} bytes; at most {max_bytes} are read. Write it as parquet.")
        return file.read_bytes()
    except OSError as error:
        raise LogError(f"{file}: it cannot be read ({error.strerror}). Check the path.") from error


def _frame(value: Any, *, max_chars: int) -> dict[str, Column]:
    state = one_of(value, _FRAME).state
    if not isinstance(state, dict):
        raise NoTableError("its DataFrame has no data")
    axes, blocks = _manager(state.get("_mgr", state.get("_data")))
    names = [plain(name) for name in flat(axes[0])] if axes else []
    if len(names) > MAX_COLUMNS or not all(isinstance(name, str) for name in names):
        raise NoTableError("its columns are not named by texts")
    if len(set(names)) != len(names):
        raise NoTableError("two of its columns have the same name")
    columns: dict[str, Column] = {}
    cells = chars = 0
    for block, positions in blocks:
        rows = block_rows(block)
        if len(rows) != len(positions):
            raise NoTableError("a block has another number of columns than places")
        cells += sum(len(row) for row in rows)
        chars += sum(len(text or "") for text in rows[0]) if is_arrow_text(block) else 0
        if cells > _MAX_CELLS or chars > max_chars:
            raise NoTableError("it is larger than its file")
        for position, column in zip(positions, rows, strict=True):
            if not 0 <= position < len(names) or names[position] in columns:
                raise NoTableError("a block is out of place")
            columns[names[position]] = column
    if len(columns) != len(names):
        raise NoTableError("a column has no data")
    if len({len(column) for column in columns.values()}) > 1:
        raise NoTableError("its columns differ in length")
    return {name: columns[name] for name in names}


def _manager(value: Any) -> tuple[list[Any], list[tuple[Any, list[int]]]]:
    manager = one_of(value, _MANAGER)
    if len(manager.args) >= 2:
        blocks, axes = manager.args[:2]
        if not isinstance(blocks, (tuple, list)) or not isinstance(axes, list):
            raise NoTableError("its DataFrame has no blocks")
        pairs = [one_of(block, _BLOCK, least=2).args[:2] for block in blocks]
    else:
        layout = _old_layout(manager.state)
        axes = layout.get("axes")
        blocks = layout.get("blocks")
        if not isinstance(blocks, list) or not isinstance(axes, list) or not all(isinstance(b, dict) for b in blocks):
            raise NoTableError("its DataFrame has no blocks")
        pairs = [(block.get("values"), block.get("mgr_locs")) for block in blocks]
    return axes, [(values, _positions(placement)) for values, placement in pairs]


def _old_layout(state: Any) -> dict[str, Any]:
    """Before pandas 1.3 the manager's last piece of state names the layout and holds all of it."""
    extra = state[-1] if isinstance(state, tuple) and state else None
    layout = extra.get(_OLD_LAYOUT) if isinstance(extra, dict) else None
    if not isinstance(layout, dict):
        raise NoTableError("its DataFrame has no blocks")
    return layout


def _positions(placement: Any) -> list[int]:
    if getattr(placement, "name", None) == _SLICE:
        bounds = one_of(placement, _SLICE).args
        if len(bounds) != 3 or not all(type(bound) is int for bound in bounds) or bounds[2] == 0:
            raise NoTableError("a block is out of place")
        places = range(*bounds)
        if len(places) > MAX_COLUMNS:
            raise NoTableError("a block is out of place")
        return list(places)
    positions = flat(placement)
    if not isinstance(positions, np.ndarray) or positions.dtype.kind not in "iu":
        raise NoTableError("a block is out of place")
    return [int(position) for position in positions.tolist()]
