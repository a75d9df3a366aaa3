"""``GET /v1/budget``: what is left."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mixllm.gateway.access import key_id_of
from mixllm.gateway.answers import json_response
from mixllm.gateway.state import state_of

__all__ = ["get_budget"]


async def get_budget(request: Request) -> Response:
    """Return the period, the total, and the budget of the key that asks; other keys' are its owner's own business."""
    budget = state_of(request).router.budget
    if budget is None:
        return json_response({"period": None, "total": None, "key": None})
    status = budget.status(key_id=key_id_of(request))
    return json_response(
        {
            "period": status.period,
            "start_s": status.start_s,
            "end_s": status.end_s,
            "when_spent": status.when_spent,
            "total": status.total,
            "key": status.keys.get(key_id_of(request)),
        }
    )
