"""``GET /dashboard`` and ``GET /dashboard/data``: routes for a gateway to serve."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixllm.dashboard.figures import Report
from mixllm.dashboard.live import NewestDecision, RouterNow, newest_decision, router_now
from mixllm.dashboard.page import read_page
from mixllm.dashboard.reports import Reports
from mixllm.router import RouterCore
from mixllm.types import Value

__all__ = ["DashboardData", "dashboard_routes"]

_NEWEST = 20
_SINCE = "24h"


class DashboardData(Value, frozen=True, kw_only=True):
    """What the page shows: the report on a period, the router now, the newest decisions, newest first."""

    since: str
    now_s: float
    report: Report
    router: RouterNow
    newest: tuple[NewestDecision, ...]


def dashboard_routes(router: RouterCore) -> list[Route]:
    """Return the page, which is the same for everybody, and its data, which whoever serves it must guard.

    Parameters
    ----------
    router
        Whose store is shown. The page reads its data from ``/dashboard/data?since=24h``; an error there is for the
        server to answer: `mixllm.errors.InvalidValueError` of the period, `mixllm.errors.StoreError`.
    """
    page, reports = read_page(), Reports(router)

    async def show(request: Request) -> Response:
        del request
        return Response(page.body, media_type="text/html", headers=page.headers)

    async def data(request: Request) -> Response:
        since = request.query_params.get("since", _SINCE)
        report = await reports.report(since)
        now, newest = await asyncio.gather(
            asyncio.to_thread(router_now, router), asyncio.to_thread(router.store.decisions, limit=_NEWEST)
        )
        answer = DashboardData(
            since=since,
            now_s=router.clock.time_s(),
            report=report,
            router=now,
            newest=tuple(newest_decision(stored) for stored in newest),
        )
        return Response(msgspec.json.encode(answer), media_type="application/json", headers=_NOT_KEPT)

    return [
        Route("/dashboard", show, methods=["GET"]),
        Route("/dashboard/data", data, methods=["GET"]),
    ]


_NOT_KEPT = {"cache-control": "no-store"}
