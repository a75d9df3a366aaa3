"""``POST /v1/feedback``: a judgement, acknowledged when it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.gateway.access import key_id_of
from mixllm.gateway.answers import json_response
from mixllm.gateway.bodies import InvalidBodyError, read_object
from mixllm.gateway.elsewhere import once_known
from mixllm.gateway.state import state_of
from mixllm.types import IMPLICIT_SOURCES, JUDGE_SOURCE, MAX_ID_CHARS, FeedbackReceipt

__all__ = ["FeedbackAnswer", "FeedbackBody", "post_feedback"]


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A judgement as it is sent: a thumb, or a score from 0 to 1."""

    inference_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
    value: bool | float
    metric_name: str = "quality"
    source: str = "user"
    tags: dict[str, str] = {}


class FeedbackAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Says that a judgement is kept."""

    feedback_id: str
    inference_id: str
    duplicate: bool


async def post_feedback(request: Request) -> Response:
    """Keep a judgement: a thumb where ``value`` is true or false, a score where it is a number from 0 to 1."""
    body = await read_object(request, FeedbackBody)
    state = state_of(request)
    _check_source(body.source, own_judge=state.watch is not None and state.watch.judge is not None)
    thumbs = body.value if isinstance(body.value, bool) else None

    def submit() -> Awaitable[FeedbackReceipt]:
        return asyncio.wrap_future(
            state.router.submit_feedback(
                body.inference_id,
                quality=None if isinstance(body.value, bool) else body.value,
                thumbs=thumbs,
                metric=body.metric_name,
                source=body.source,
                feedback_id=request.headers.get("idempotency-key"),
                tags=body.tags,
                key_id=key_id_of(request),
            )
        )

    receipt = await once_known(state, body.inference_id, submit)
    state.metrics.observe_feedback(kind="refined" if thumbs is None else "binary", duplicate=receipt.duplicate)
    return json_response(
        FeedbackAnswer(feedback_id=receipt.feedback_id, inference_id=body.inference_id, duplicate=receipt.duplicate)
    )


def _check_source(source: str, *, own_judge: bool) -> None:
    # Each source is trusted for itself: nobody may speak, or take the place, of the gateway's own.
    if source.startswith(IMPLICIT_SOURCES) or (own_judge and source == JUDGE_SOURCE):
        raise InvalidBodyError(
            f"source {source[:80]!r} is the gateway's own. Name yours, e.g. 'user' or 'my-judge'.", param="source"
        )
