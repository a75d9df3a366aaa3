"""Logged decisions out of a folder that ``mixllm data export`` wrote."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mixllm.errors import LogError, MissingExtraError
from mixllm.evaluation.offpolicy.gathering import CandidateRow, DecisionRow, Gathered
from mixllm.evaluation.offpolicy.logged import LoggedDecisions

if TYPE_CHECKING:
    from mixllm.logs.columns import TableFile

__all__ = ["decisions_of_export"]


class _Scale(NamedTuple):
    trade_off: float
    cost_scale_usd: float


class _Outcome(NamedTuple):
    llm: str
    quality: float
    cost_usd: float
    propensity: float
    policy: str


def decisions_of_export(path: str | os.PathLike[str]) -> LoggedDecisions:
    """Read the decisions of an exported store.

    Parameters
    ----------
    path
        The folder, with ``outcomes.parquet`` and ``candidates.parquet``.

    Raises
    ------
    LogError
        Where a file or a column is missing or broken.
    MissingExtraError
        Where pyarrow is not installed.

    Notes
    -----
    An export does not name the chosen LLM where only a stand-in answered; such decisions are left out and counted.
    """
    folder = Path(path)
    try:
        from mixllm.logs.columns import TableFile
        from mixllm.logs.export_files import CANDIDATES_FILE
    except ModuleNotFoundError as error:
        raise MissingExtraError("Reading exported logs", "logs") from error
    from mixllm.logs.parquet import OUTCOMES_FILE

    if not (folder / CANDIDATES_FILE).is_file():
        raise LogError(
            f"{folder} holds no {CANDIDATES_FILE}, so nobody knows whom else a router could have chosen. Give a folder "
            "that mixllm data export wrote, or a store with --store."
        )
    table = TableFile(folder / CANDIDATES_FILE)
    candidates = _candidates(table)
    outcomes = _outcomes(TableFile(folder / OUTCOMES_FILE))
    scales = _scales(table)
    gathered = Gathered()
    for decision_id, rows in candidates.items():
        row = _row(rows, outcomes.get(decision_id, []), scales[decision_id])
        if row is None:
            gathered.incomplete += 1
        else:
            gathered.add(row)
    return gathered.columns(newest_first=False, name=str(folder))


def _row(rows: list[CandidateRow], outcomes: list[_Outcome], scale: _Scale) -> DecisionRow | None:
    """Return the decision; None where it is not known who was chosen."""
    chosen = next((one for one in outcomes if not math.isnan(one.propensity)), None)
    if outcomes and chosen is None:
        return None
    qualities = [one.quality for one in outcomes if not math.isnan(one.quality)]
    costs = [one.cost_usd for one in outcomes if not math.isnan(one.cost_usd)]
    return DecisionRow(
        llm="" if chosen is None else chosen.llm,
        policy="" if chosen is None else chosen.policy,
        trade_off=scale.trade_off,
        cost_scale_usd=scale.cost_scale_usd,
        quality=qualities[-1] if qualities else math.nan,
        cost_usd=sum(costs) if costs else math.nan,
        candidates=rows,
    )


def _candidates(table: TableFile) -> dict[str, list[CandidateRow]]:
    ids, llms = table.text("decision_id").to_pylist(), table.text("llm").to_pylist()
    for column, values in (("decision_id", ids), ("llm", llms)):
        if None in values:
            raise table.error(column, "it is missing. Write the export again.", row=values.index(None))
    names = ("propensity", "score", "quality_mean", "quality_std", "cost_usd_mean", "judgements")
    numbers = [table.numbers(name).tolist() for name in names]
    found: dict[str, list[CandidateRow]] = {}
    for decision_id, llm, *values in zip(ids, llms, *numbers, strict=True):
        found.setdefault(decision_id, []).append(CandidateRow(llm, *values))
    # Ids sort by time, as a store's decisions do; an export is in the order of the first events.
    return dict(sorted(found.items()))


def _scales(table: TableFile) -> dict[str, _Scale]:
    ids = table.text("decision_id").to_pylist()
    weights, scales = table.numbers("trade_off").tolist(), table.numbers("cost_scale_usd").tolist()
    return {decision_id: _Scale(weight, scale) for decision_id, weight, scale in zip(ids, weights, scales, strict=True)}


def _outcomes(table: TableFile) -> dict[str, list[_Outcome]]:
    ids, llms = table.text("query_id").to_pylist(), table.text("model").to_pylist()
    policies = table.text("policy").to_pylist()
    numbers = [table.numbers(name).tolist() for name in ("quality", "cost_usd", "propensity")]
    found: dict[str, list[_Outcome]] = {}
    for decision_id, llm, quality, cost_usd, propensity, policy in zip(ids, llms, *numbers, policies, strict=True):
        row = _Outcome(llm or "", quality, cost_usd, propensity, policy or "")
        found.setdefault(decision_id, []).append(row)
    return found
