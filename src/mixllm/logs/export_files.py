"""The three files of an export: what a router chose, as a routing log, and whom it could have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixllm.logs.outcome_table import PROPENSITY
from mixllm.logs.parquet import OUTCOMES_FILE, QUERIES_FILE
from mixllm.logs.query_table import ENCODER, ENCODING
from mixllm.types import Decision, Outcome

__all__ = ["CANDIDATES_FILE", "ChosenOutcome", "ExportFiles"]

CANDIDATES_FILE: Final = "candidates.parquet"
_BUFFERED_DECISIONS = 1024
"""Decisions of one row group; they are held in memory until they are written."""

_QUERIES = {
    "query_id": pa.string(),
    "prompt": pa.string(),
    ENCODING: pa.list_(pa.float32()),
    ENCODER: pa.string(),
    "created_at_s": pa.float64(),
    "tag": pa.string(),
}
_OUTCOMES = {
    "query_id": pa.string(),
    "model": pa.string(),
    "quality": pa.float64(),
    "cost_usd": pa.float64(),
    "tokens_in": pa.int64(),
    "tokens_out": pa.int64(),
    "latency_s": pa.float64(),
    "ttft_s": pa.float64(),
    PROPENSITY: pa.float64(),
    "policy": pa.string(),
    "decision_id": pa.string(),
}
_CANDIDATES = {
    "decision_id": pa.string(),
    "llm": pa.string(),
    PROPENSITY: pa.float64(),
    "score": pa.float64(),
    "quality_mean": pa.float64(),
    "quality_std": pa.float64(),
    "cost_usd_mean": pa.float64(),
    "judgements": pa.float64(),
    "trade_off": pa.float64(),
    "cost_scale_usd": pa.float64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenOutcome:
    """What one LLM did with a query.

    Parameters
    ----------
    llm
        The LLM.
    quality
        What the answer was judged, in [0, 1]; None where nobody judged.
    propensity
        The probability with which it was chosen; None where it stood in for another.
    outcome
        The facts; the cost is known.
    """

    llm: str
    quality: float | None
    propensity: float | None
    outcome: Outcome


class ExportFiles:
    """Writes decisions one after another; at most 1,024 of them are in memory.

    Parameters
    ----------
    folder
        Where the files go; it must exist.
    encoder
        Fingerprint of the encoder that made the encodings.
    """

    def __init__(self, folder: Path, *, encoder: str) -> None:
        self._encoder = encoder
        self._tables = (
            _Table(folder / QUERIES_FILE, _QUERIES),
            _Table(folder / OUTCOMES_FILE, _OUTCOMES),
            _Table(folder / CANDIDATES_FILE, _CANDIDATES),
        )
        self._buffered = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write()
        finally:
            for table in self._tables:
                table.close()

    def add(
        self, decision: Decision, *, encoding: bytes, prompt: str | None, outcomes: Sequence[ChosenOutcome]
    ) -> None:
        """Write one decision.

        Parameters
        ----------
        decision
            The decision; its id becomes the query's.
        encoding
            Little-endian float32 bytes.
        prompt
            The text, where it is stored.
        outcomes
            What each LLM did that was called and answered.
        """
        queries, rows, candidates = self._tables
        query_id = decision.decision_id
        top = max(decision.tags, key=lambda tag: tag.probability, default=None)
        queries.add(
            query_id,
            prompt or "",
            np.frombuffer(encoding, dtype="<f4"),
            self._encoder,
            decision.created_at_s,
            "" if top is None else top.tag,
        )
        for chosen in outcomes:
            facts = chosen.outcome
            rows.add(
                *(query_id, chosen.llm, chosen.quality, facts.cost_usd, facts.tokens_in, facts.tokens_out),
                *(facts.latency_s, facts.ttft_s, chosen.propensity, decision.policy, query_id),
            )
        for candidate in decision.candidates:
            forecast = candidate.forecast
            candidates.add(
                *(query_id, candidate.llm, candidate.propensity, candidate.score),
                *(forecast.quality.mean, forecast.quality.std, forecast.cost_usd.mean, forecast.judgements),
                *(decision.trade_off, decision.cost_scale_usd),
            )
        self._buffered += 1
        if self._buffered >= _BUFFERED_DECISIONS:
            self._write()

    def _write(self) -> None:
        for table in self._tables:
            table.write()
        self._buffered = 0


class _Table:
    """One parquet file, row group by row group."""

    def __init__(self, file: Path, columns: dict[str, Any]) -> None:
        self._schema = pa.schema(columns)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._columns: list[list[Any]] = [[] for _ in columns]

    def add(self, *values: Any) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def write(self) -> None:
        arrays = [pa.array(column, field.type) for column, field in zip(self._columns, self._schema, strict=True)]
        if len(arrays[0]):
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._columns = [[] for _ in self._columns]

    def close(self) -> None:
        self._writer.close()
