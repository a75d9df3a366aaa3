"""Columns of a parquet file, with errors that name file, column and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixllm.errors import did_you_mean
from mixllm.logs.findings import TableError

__all__ = ["TableFile", "is_float_list", "is_scalar"]

_SCALAR_KINDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_temporal,
    pa.types.is_null,
)


class TableFile:
    """A parquet file whose columns are read when they are asked for.

    Parameters
    ----------
    file
        Its path.

    Raises
    ------
    LogError
        Where the file is missing or is no parquet.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.is_file():
            raise TableError(
                file=file,
                column=None,
                problem="is missing. A routing log is a folder with queries.parquet and outcomes.parquet.",
            )
        try:
            self._parquet = pq.ParquetFile(file)
            self.schema: Any = self._parquet.schema_arrow
            self._names: list[str] = list(self.schema.names)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # The last: a name of a column is no text.
            raise TableError(
                file=file,
                column=None,
                problem=f"is not a parquet file that can be read ({type(error).__name__}). Write it again.",
            ) from error
        metadata = self._parquet.metadata
        self.rows: int = metadata.num_rows
        if self.rows != sum(metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)):
            # Arrays of so many rows are made before a column is read.
            raise TableError(file=file, column=None, problem="says of itself two numbers of rows. Write it again.")

    def __contains__(self, column: str) -> bool:
        return column in self._names

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._names)

    def error(self, column: str, problem: str, *, row: int | None = None) -> TableError:
        """Return the error of a column, and of a row where one is known."""
        return TableError(file=self.file, column=column, row=row, problem=problem)

    def column(self, name: str) -> Any:
        """Return the column as one pyarrow array, dictionaries resolved; raises `LogError` where it is missing."""
        if name not in self:
            hint = did_you_mean(name, self.names)
            raise self.error(name, f"the column is missing.{hint} Add it; there are: {', '.join(self.names)}.")
        try:
            array = self._parquet.read([name], use_threads=False).column(0).combine_chunks()
            array.validate(full=True)  # Also that texts are UTF-8, which is not looked at where a file is read.
        except (pa.ArrowException, OSError) as error:
            raise self.error(name, f"it cannot be read ({type(error).__name__}). Write the file again.") from error
        if len(array) != self.rows:
            raise self.error(name, f"it has {len(array)} values, the file {self.rows} rows. Write the file again.")
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
        return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array

    def text(self, name: str) -> Any:
        """Return the column cast to text, nulls kept."""
        array = self.column(name)
        if not is_scalar(array.type):
            raise self.error(name, f"it holds {array.type}, which is no text. Write it as strings.")
        return pc.cast(array, pa.large_string())

    def values(self, name: str) -> list[Any]:
        """Return the column as Python's own values, None where one is missing."""
        values: list[Any] = self.column(name).to_pylist()
        return values

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return the column as float64, shape (rows,), NaN where a value is missing."""
        array = self.column(name)
        kind = array.type
        if pa.types.is_null(kind):
            return np.full(len(array), np.nan)
        is_number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
        if not any(holds(kind) for holds in is_number):
            raise self.error(name, f"it holds {kind}, which are no numbers. Write it as numbers.")
        numbers: NDArray[np.float64] = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers


def is_float_list(kind: Any) -> bool:
    """Whether a pyarrow type is a list of floats."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(holds(kind) for holds in lists) and bool(pa.types.is_floating(kind.value_type))


def is_scalar(kind: Any) -> bool:
    """Whether a pyarrow type can be written as one short text."""
    if pa.types.is_dictionary(kind):
        return is_scalar(kind.value_type)
    return any(holds(kind) for holds in _SCALAR_KINDS)
