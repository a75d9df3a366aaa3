"""``/health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from mixllm.gateway.answers import json_response
from mixllm.gateway.metrics import CONTENT_TYPE
from mixllm.gateway.state import state_of

__all__ = ["live", "metrics", "ready"]


async def live(request: Request) -> Response:
    """Say that the process answers."""
    del request
    return json_response({"status": "ok"})


async def ready(request: Request) -> Response:
    """Say whether requests can be routed and whether learning happens.

    503 where nothing can be routed or nothing learns, with the reasons. Where learning has trouble or LLMs fail, but
    every request is still routed, the status is ``degraded`` and 200: taking the gateway away would not mend it.
    """
    router = state_of(request).router
    vitals = await asyncio.to_thread(router.worker.vitals)
    refusing = router.breakers.refusing()
    warnings = [*vitals.warnings(), *(f"LLM {llm!r} is left alone: {reason}" for llm, reason in refusing.items())]
    problems = []
    if not router.llms:
        problems.append("the pool is empty: add an LLM with POST /v1/llms")
    if not vitals.running:
        problems.append("learning is not running: see the log")
    snapshot = router.snapshot
    answer = {
        "status": "unready" if problems else "degraded" if warnings else "ready",
        "problems": problems,
        "warnings": warnings,
        "llms": len(router.llms),
        "breakers": {spec.name: router.breakers.status(spec.name) for spec in router.llms},
        "store": vitals.store,
        "learning": {
            "running": vitals.running,
            "stalled": vitals.stalled,
            "model_version": snapshot.version,
            "position": snapshot.position,
            "newest_event": vitals.newest_event,
            "lag": vitals.lag,
            "waiting_s": vitals.waiting_s,
            "idle_s": vitals.idle_s,
            "learned_age_s": vitals.learned_age_s,
            "outcomes": vitals.outcomes,
            "feedback": vitals.feedback,
            "ignored": vitals.ignored,
            "refused": vitals.refused,
            "refused_share": vitals.refused_share,
            "untaught": vitals.untaught,
            "swaps": router.swaps,
            "quarantined": sorted(vitals.quarantined),
            "effective_samples": {
                spec.name: judgements for spec, judgements in zip(snapshot.specs, snapshot.judgements, strict=True)
            },
        },
    }
    return json_response(answer, status=503 if problems else 200)


async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(state_of(request).metrics.exposition(), media_type=CONTENT_TYPE)
