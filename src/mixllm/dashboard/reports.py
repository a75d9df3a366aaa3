"""Reports for a page that asks again and again, beside requests that must not wait for them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from mixllm.dashboard.figures import Report
from mixllm.dashboard.period import period_s
from mixllm.dashboard.reading import OUT_OF_DOMAIN_THRESHOLD, read_report
from mixllm.router import RouterCore

__all__ = ["Reports"]

_PAGE = 32
_FRESH_S = 5.0
_REST = 9.0
_MOST_KEPT = 8


class Reports:
    """Reads one report at a time, at half speed, and keeps it for nine times as long as that took.

    Looking at the page so takes at most a tenth of a core, and its short pages keep a request on its way from waiting
    for the interpreter longer than a few milliseconds.

    Parameters
    ----------
    router
        Its store is read.
    most
        Most decisions of a report, >= 1: the newest are read.
    """

    def __init__(self, router: RouterCore, *, most: int = 20_000) -> None:
        self._router = router
        self._most = most
        self._reading = asyncio.Lock()
        self._kept: OrderedDict[str, tuple[float, Report]] = OrderedDict()

    async def report(self, since: str) -> Report:
        """Return a report on the period `since`, a few seconds old at most where it is read quickly.

        Raises
        ------
        InvalidValueError
            Where it is no period.
        StoreError
            Where the store cannot be read.
        """
        span_s = period_s(since)
        async with self._reading:
            until_s, report = self._kept.get(since, (0.0, None))
            began_s = time.monotonic()
            if report is None or began_s >= until_s:
                report = await asyncio.to_thread(self._read, span_s)
                ended_s = time.monotonic()
                self._kept[since] = (ended_s + max(_FRESH_S, _REST * (ended_s - began_s)), report)
                self._kept.move_to_end(since)
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
            return report

    def _read(self, span_s: float | None) -> Report:
        router, rule = self._router, self._router.maker.out_of_domain
        began_s = time.monotonic()

        def rest(read: int) -> None:
            nonlocal began_s
            del read
            time.sleep(time.monotonic() - began_s)
            began_s = time.monotonic()

        return read_report(
            router.store,
            now_s=router.clock.time_s(),
            span_s=span_s,
            reference=router.learner.reference,
            out_of_domain_threshold=OUT_OF_DOMAIN_THRESHOLD if rule is None else rule.threshold,
            most=self._most,
            page=_PAGE,
            on_page=rest,
        )
