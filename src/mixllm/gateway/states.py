"""``/v1/state``: what was learned, version by version; back to an earlier one, and out of quarantine."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.errors import StateError
from mixllm.gateway.access import audit_details
from mixllm.gateway.answers import json_response, problem
from mixllm.gateway.bodies import read_object
from mixllm.gateway.state import state_of
from mixllm.learning.state_details import read_details

__all__ = ["Release", "RollBack", "get_state", "list_states", "release_state", "roll_back_state"]


class RollBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to go back to, and whether the events since then are learned again."""

    version: int | None = None
    relearn: bool = False


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which checkpoint to take out of quarantine."""

    version: int


async def list_states(request: Request) -> Response:
    """Return what is known of every checkpoint, oldest first, and which version decides now."""
    router = state_of(request).router
    states = await asyncio.to_thread(router.store.states)
    snapshot = router.snapshot
    return json_response({"current": {"version": snapshot.version, "position": snapshot.position}, "states": states})


async def get_state(request: Request) -> Response:
    """Return what is in one checkpoint."""
    store, version = state_of(request).router.store, request.path_params["version"]
    try:
        details = await asyncio.to_thread(read_details, store, version)
    except StateError as error:
        return problem(404, str(error), code="no_such_state")
    return json_response(details)


async def roll_back_state(request: Request) -> Response:
    """Go back to an earlier checkpoint; the next decision is made from it."""
    body = await read_object(request, RollBack)
    audit_details(request, version=body.version, relearn=body.relearn)
    router = state_of(request).router
    try:
        done = await asyncio.to_thread(router.worker.roll_back, body.version, relearn=body.relearn)
    except StateError as error:
        return problem(409, str(error), code="no_such_state", param="version")
    return json_response(done)


async def release_state(request: Request) -> Response:
    """Take a checkpoint out of quarantine."""
    body = await read_object(request, Release)
    audit_details(request, version=body.version)
    store = state_of(request).router.store
    states = await asyncio.to_thread(store.states)
    if body.version not in {info.version for info in states}:
        return problem(
            404,
            f"No checkpoint of version {body.version}. GET /v1/state lists them.",
            code="no_such_state",
            param="version",
        )
    await asyncio.to_thread(store.release_state, body.version)
    return json_response({"version": body.version, "released": True})
