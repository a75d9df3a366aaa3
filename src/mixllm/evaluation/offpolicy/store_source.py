"""Logged decisions out of a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from mixllm.evaluation.offpolicy.gathering import CandidateRow, DecisionRow, Gathered
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.interfaces import Store
from mixllm.learning.store_export import judged_quality
from mixllm.types import StoredDecision

__all__ = ["decisions_of_store", "row_of", "stored_decisions"]

_PAGE = 512


def decisions_of_store(
    store: Store, *, name: str = "The store", on_progress: Callable[[int, int], None] | None = None
) -> LoggedDecisions:
    """Read every decision of `store`, page by page, with what came of it.

    The quality is what `mixllm.learning.store_export.judged_quality` makes of the judgements, the cost the sum of the
    known costs of its calls: a stand-in's answer and cost belong to the choice that made it necessary.

    Parameters
    ----------
    store
        It stays open, and nothing is written. What comes in meanwhile is left out.
    name
        What the store is called in errors.
    on_progress
        Called after each page with how many decisions are read and how many there are.

    Raises
    ------
    LogError
        Where no decision of a policy has an outcome.
    """
    gathered = Gathered()
    for stored in stored_decisions(store, on_progress=on_progress):
        gathered.add(row_of(stored))
    return gathered.columns(newest_first=True, name=name)


def stored_decisions(
    store: Store, *, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[StoredDecision]:
    """Yield every decision of `store`, newest first, page by page."""
    total = store.counts()["decisions"]
    done, before = 0, None
    while page := store.decisions(limit=_PAGE, before=before):
        yield from page
        done += len(page)
        before = page[-1].decision.decision_id
        if on_progress is not None:
            on_progress(done, max(done, total))


def row_of(stored: StoredDecision) -> DecisionRow:
    """Return what off-policy evaluation reads of a decision."""
    decision = stored.decision
    quality = judged_quality(stored.feedback)
    costs = [outcome.cost_usd for outcome in stored.outcomes if outcome.cost_usd is not None]
    return DecisionRow(
        llm=decision.llm,
        policy=decision.policy,
        trade_off=decision.trade_off,
        cost_scale_usd=decision.cost_scale_usd,
        quality=math.nan if quality is None else quality,
        cost_usd=sum(costs) if costs else math.nan,
        candidates=[
            CandidateRow(
                llm=one.llm,
                propensity=one.propensity,
                score=one.score,
                quality_mean=one.forecast.quality.mean,
                quality_std=one.forecast.quality.std,
                cost_usd_mean=one.forecast.cost_usd.mean,
                judgements=one.forecast.judgements,
            )
            for one in decision.candidates
        ],
    )
