"""A store's decisions, newest first, into a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mixllm.dashboard.figures import Report
from mixllm.dashboard.groups import Groups
from mixllm.dashboard.means import StreamMean
from mixllm.dashboard.tally import Tally
from mixllm.interfaces import Store
from mixllm.types import StoredDecision

__all__ = ["OUT_OF_DOMAIN_THRESHOLD", "read_report"]

OUT_OF_DOMAIN_THRESHOLD = 0.5
"""That of `mixllm.decision.OutOfDomainRule`."""

_PAGE = 512
_NEWEST = 100
_LATE_S = 60.0
"""Several gateways' clocks differ, and with them the order of their ids, by no more than this."""


def read_report(
    store: Store,
    *,
    now_s: float,
    span_s: float | None,
    reference: str | None = None,
    out_of_domain_threshold: float = OUT_OF_DOMAIN_THRESHOLD,
    most: int | None = None,
    page: int = _PAGE,
    on_page: Callable[[int], None] | None = None,
) -> Report:
    """Read what was decided in the last `span_s` seconds, and what came of it.

    Parameters
    ----------
    store
        It stays open, and nothing is written. What is not durable yet is left out.
    now_s
        The end of the period, in Unix time.
    span_s
        Its length, > 0; None: everything.
    reference
        The LLM that savings are measured against; None takes the one that was forecast to be the dearest for the
        newest queries, as the router takes the dearest by its price.
    out_of_domain_threshold
        From which score on a query counts as out of domain, in [0, 1].
    most
        After so many decisions no further ones are read, and the report says so; None: all are.
    page
        How many are read at once.
    on_page
        Called after each page with how many decisions are read.

    Returns
    -------
    Report
        In memory are a page and sums: its cost in memory does not grow with the number of decisions.
    """
    from_s = None if span_s is None else now_s - span_s
    tally = Tally(
        reference=_dearest_llm(store) if reference is None else reference,
        out_of_domain_threshold=out_of_domain_threshold,
        span_s=span_s,
    )
    oldest_s, complete = now_s, True
    for stored in _since(store, from_s, page=page, on_page=on_page):
        if most is not None and tally.decisions >= most:
            complete = False
            break
        tally.add(stored)
        oldest_s = min(oldest_s, stored.decision.created_at_s)
    return tally.report(from_s=oldest_s if from_s is None or not complete else from_s, to_s=now_s, complete=complete)


def _dearest_llm(store: Store) -> str:
    """Return the LLM that was forecast to be the dearest, on average, for the newest queries; empty: there is none."""
    costs: Groups[StreamMean] = Groups(StreamMean)
    for stored in store.decisions(limit=_NEWEST):
        for one in stored.decision.candidates:
            costs[one.llm].add(one.forecast.cost_usd.mean)
    return max(costs.items(), key=lambda item: item[1].mean, default=("", None))[0]


def _since(
    store: Store, from_s: float | None, *, page: int, on_page: Callable[[int], None] | None
) -> Iterator[StoredDecision]:
    """Yield the decisions since `from_s`, about newest first."""
    read, before = 0, None
    while found := store.decisions(limit=page, before=before):
        for stored in found:
            if from_s is None or stored.decision.created_at_s >= from_s:
                yield stored
        read += len(found)
        if on_page is not None:
            on_page(read)
        before = found[-1].decision.decision_id
        if from_s is not None and found[-1].decision.created_at_s < from_s - _LATE_S:
            return
