"""What a router decided and what came of it, out of a store, as a routing log that others can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mixllm.errors import InvalidValueError, LogError, MissingExtraError, UnknownDecisionError
from mixllm.interfaces import Store
from mixllm.types import (
    IMPLICIT_SOURCES,
    JUDGE_SOURCE,
    Feedback,
    FeedbackKind,
    LearningEvent,
    Outcome,
    OutcomeStatus,
    StoredDecision,
    Value,
)

if TYPE_CHECKING:
    from mixllm.logs.export_files import ChosenOutcome, ExportFiles

__all__ = ["ExportCounts", "export_log", "judged_quality"]

_PAGE = 512
_METRIC = "quality"
_FLOAT32_BYTES = 4


class ExportCounts(Value, frozen=True, kw_only=True):
    """What became of the decisions of a store.

    Parameters
    ----------
    decisions
        Decisions that were exported, each a query of the log.
    outcomes
        Calls of them.
    judged
        Those of the calls that have a quality.
    candidates
        LLMs that could have taken the queries, over all decisions.
    without_outcome
        Decisions that were left out because no call with a known cost, or none at all, is known.
    other_encoder
        Decisions that were left out because their encoding has another length than the newest one's.
    """

    decisions: int = 0
    outcomes: int = 0
    judged: int = 0
    candidates: int = 0
    without_outcome: int = 0
    other_encoder: int = 0


def export_log(
    store: Store,
    path: str | os.PathLike[str],
    *,
    encoder_fingerprint: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> ExportCounts:
    """Write what is in `store` as a routing log into the new folder `path`; `mixllm.logs.open_log` reads it.

    ``queries.parquet`` has a row per decision, ``outcomes.parquet`` one per call that was answered, so only what was
    chosen has an outcome, and ``candidates.parquet`` one per LLM that could have been chosen. The quality is null
    where nobody judged. Of several judgements of an answer the last score counts, else the mean of the thumbs; see
    `judged_quality`. They are the quality of the LLM whose answer came last. The propensity is null for an LLM that
    stood in for the chosen one. ``decision_id`` is the query's id; ``prompt`` is empty where prompts are not stored.

    Parameters
    ----------
    store
        Where decisions, outcomes and feedback are. What comes in during the export is left out, or there in part.
    path
        The folder. It is put in place when it is complete, so a failed export leaves nothing.
    encoder_fingerprint
        Identity of the encoder that made the encodings: `mixllm.interfaces.Encoder.fingerprint`. The store does not
        know it.
    on_progress
        Called now and then with how many decisions are done and how many the store had.

    Returns
    -------
    ExportCounts
        What was exported, and what was left out and why.

    Raises
    ------
    InvalidValueError
        Where the fingerprint is empty.
    LogError
        Where `path` exists and is no empty folder, or cannot be written, or the store holds nothing to export.
    MissingExtraError
        Where pyarrow is not installed.

    Notes
    -----
    The encodings are in the store's events, so those are walked, page by page, and each decision is written at its
    first event, in that order. In memory are a page, the rows of a row group, and the ids of the decisions that are
    done (about 150 bytes each).
    """
    if not encoder_fingerprint:
        raise InvalidValueError("encoder_fingerprint", encoder_fingerprint, "the fingerprint of the encoder")
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise LogError(f"{target} is there already. Give a folder that does not exist, or an empty one.")
    try:
        from mixllm.logs.export_files import ExportFiles
    except ModuleNotFoundError as error:
        raise MissingExtraError("Exporting routing logs", "logs") from error
    store.flush()
    newest = _newest_event(store)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            folder = Path(scratch) / target.name
            folder.mkdir()
            with ExportFiles(folder, encoder=encoder_fingerprint) as files:
                counts = _Export(store, files, newest).run(on_progress)
            if not counts.decisions:
                raise LogError("The store holds no decision with an outcome yet, so there is nothing to export.")
            if target.exists():
                target.rmdir()
            folder.rename(target)
    except OSError as error:
        raise LogError(f"{target} cannot be written ({error.strerror}). Give another folder.") from error
    return counts


def judged_quality(feedback: tuple[Feedback, ...]) -> float | None:
    """Return the quality that the judgements of an answer amount to: the last score, else the mean of the thumbs.

    Only those whose metric is ``quality`` count; None where there is none. A score says more than a thumb, and a later
    score corrects an earlier one; thumbs of several people are votes. What people said goes before what an LLM judged,
    and that before what was read off the traffic.

    Parameters
    ----------
    feedback
        The judgements, oldest first.

    Examples
    --------
    >>> def thumb(up: float) -> Feedback:
    ...     return Feedback(feedback_id="f", decision_id="d", kind=FeedbackKind.BINARY, value=up)
    >>> judged_quality((thumb(1.0), thumb(0.0), thumb(1.0), thumb(1.0)))
    0.75
    >>> judged_quality(()) is None
    True
    """
    counted = [judgement for judgement in feedback if judgement.metric == _METRIC]
    first = min(map(_rank, counted), default=0)
    values: dict[FeedbackKind, list[float]] = {kind: [] for kind in FeedbackKind}
    for judgement in counted:
        if _rank(judgement) == first:
            values[judgement.kind].append(judgement.value)
    if values[FeedbackKind.REFINED]:
        return values[FeedbackKind.REFINED][-1]
    thumbs = values[FeedbackKind.BINARY]
    return sum(thumbs) / len(thumbs) if thumbs else None


def _rank(judgement: Feedback) -> int:
    if judgement.source.startswith(IMPLICIT_SOURCES):
        return 2
    return 1 if judgement.source == JUDGE_SOURCE else 0


class _Export:
    """One export under way."""

    def __init__(self, store: Store, files: ExportFiles, newest: LearningEvent | None) -> None:
        self._store, self._files, self._newest = store, files, newest
        self._counts = dict.fromkeys(ExportCounts.__struct_fields__, 0)

    def run(self, on_progress: Callable[[int, int], None] | None) -> ExportCounts:
        total = self._store.counts()["decisions"]
        done: set[str] = set()
        for event in self._events():
            if event.decision_id in done:
                continue
            done.add(event.decision_id)
            self._export(event)
            if on_progress is not None and len(done) % _PAGE == 0:
                on_progress(len(done), total)
        self._counts["without_outcome"] += max(0, total - len(done))
        if on_progress is not None:
            on_progress(total, total)
        return ExportCounts(**self._counts)

    def _events(self) -> Iterator[LearningEvent]:
        if self._newest is None:
            return
        seq = 0
        while page := self._store.events_after(seq, limit=_PAGE):
            for event in page:
                if event.seq > self._newest.seq:
                    return
                yield event
            seq = page[-1].seq

    def _export(self, event: LearningEvent) -> None:
        assert self._newest is not None
        if len(event.encoding) != len(self._newest.encoding) or len(event.encoding) % _FLOAT32_BYTES:
            self._counts["other_encoder"] += 1
            return
        try:
            stored = self._store.decision(event.decision_id)
        except UnknownDecisionError:  # A store in memory forgets.
            return
        outcomes = _outcomes(stored)
        if not outcomes:
            self._counts["without_outcome"] += 1
            return
        self._files.add(stored.decision, encoding=event.encoding, prompt=stored.prompt, outcomes=outcomes)
        self._counts["decisions"] += 1
        self._counts["outcomes"] += len(outcomes)
        self._counts["judged"] += sum(chosen.quality is not None for chosen in outcomes)
        self._counts["candidates"] += len(stored.decision.candidates)


def _outcomes(stored: StoredDecision) -> list[ChosenOutcome]:
    """Return what each LLM did that answered, and the one that was judged even where its call ended badly."""
    from mixllm.logs.export_files import ChosenOutcome

    decision = stored.decision
    facts: dict[str, Outcome] = {}
    judged = decision.llm
    for outcome in stored.outcomes:
        if outcome.status is OutcomeStatus.OK:
            judged = outcome.llm or decision.llm
            facts[judged] = outcome
    quality = judged_quality(stored.feedback)
    if quality is not None and judged not in facts:
        facts |= {llm: outcome for outcome in stored.outcomes if (llm := outcome.llm or decision.llm) == judged}
    propensity = next((one.propensity for one in decision.candidates if one.llm == decision.llm), None)
    return [
        ChosenOutcome(
            llm=llm,
            quality=quality if llm == judged else None,
            propensity=(propensity or None) if llm == decision.llm else None,
            outcome=outcome,
        )
        for llm, outcome in facts.items()
        if outcome.cost_usd is not None
    ]


def _newest_event(store: Store) -> LearningEvent | None:
    """Return the newest event, found by halving: a store tells what comes after a place, not where its end is."""
    newest = next(iter(store.events_after(0, limit=1)), None)
    if newest is None:
        return None
    low, high = newest.seq, 2 * newest.seq
    while later := store.events_after(high, limit=1):
        newest = later[0]
        low, high = newest.seq, 2 * newest.seq
    while low < high:  # No event is after `high`, and `low` is one.
        middle = (low + high) // 2
        later = store.events_after(middle, limit=1)
        if later:
            newest = later[0]
            low = newest.seq
        else:
            high = middle
    return newest
