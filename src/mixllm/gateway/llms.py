"""``/v1/llms``: the pool, read and changed at run time; ``/v1/models``: the names that ``model`` may have."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.config import decode_model_entry
from mixllm.errors import ConfigError, UnknownLLMError
from mixllm.gateway.access import audit_details, key_of
from mixllm.gateway.answers import json_response, problem
from mixllm.gateway.bodies import InvalidBodyError, read_object
from mixllm.gateway.profiles import AUTO_MODELS
from mixllm.gateway.state import state_of
from mixllm.registry import BreakerStatus
from mixllm.router import RouterCore
from mixllm.types import LLMSpec, Value

__all__ = ["LLMStatus", "add_llm", "get_llm", "get_model", "list_llms", "list_models", "remove_llm", "update_llm"]

_OWNER = "mixllm"


class LLMStatus(Value, frozen=True, kw_only=True):
    """An LLM of the pool and what is known of it.

    `in_flight` counts the calls of all workers; `wait_s` is what a call of usual length is expected to wait now, limits
    and cooldowns included; `refused_s` is how long its endpoint has asked to be left alone.
    """

    spec: LLMSpec
    in_flight: int
    judgements: float
    ttft_s: float
    tpot_s: float
    wait_s: float
    refused_s: float
    breaker: BreakerStatus


async def list_llms(request: Request) -> Response:
    """Return every LLM of the pool."""
    return json_response({"llms": _statuses(state_of(request).router)})


async def get_llm(request: Request) -> Response:
    """Return one LLM of the pool."""
    router = state_of(request).router
    name = request.path_params["name"]
    statuses = _statuses(router)
    for status in statuses:
        if status.spec.name == name:
            return json_response(status)
    raise UnknownLLMError(name, [status.spec.name for status in statuses])


async def add_llm(request: Request) -> Response:
    """Add an LLM, given as an entry of ``model_list`` or as a spec."""
    tree = await read_object(request, dict[str, Any])
    spec = _read_spec(tree)
    if spec.api_base is None and spec.provider is None:
        raise InvalidBodyError("api_base is missing: the gateway has to know where to call the LLM.", param="api_base")
    audit_details(request, llm=spec.name, api_base=spec.api_base, api_key_env=spec.api_key_env)
    state_of(request).llm_keys.check(spec)
    added = await asyncio.to_thread(state_of(request).router.add_llm, spec)
    return json_response(added, status=201)


async def update_llm(request: Request) -> Response:
    """Change an LLM of the pool: its price, its endpoint, its limits; what is not named stays (RFC 7396)."""
    state = state_of(request)
    changes = await read_object(request, dict[str, Any])
    audit_details(request, changed=sorted(changes))
    before = state.router.llm(request.path_params["name"])
    spec = _read_fields(_merged(msgspec.to_builtins(before), changes))
    if spec.name != before.name:
        raise InvalidBodyError("An LLM's name cannot be changed. Add it under the new name.", param="name")
    if spec.api_base is None and spec.provider is None:
        raise InvalidBodyError("api_base is missing: the gateway has to know where to call the LLM.", param="api_base")
    audit_details(request, api_base=spec.api_base, api_key_env=spec.api_key_env)
    state.llm_keys.check(spec)
    updated = await asyncio.to_thread(state.router.update_llm, spec)
    if (spec.api_base, spec.api_key_env, spec.model) != (before.api_base, before.api_key_env, before.model):
        state.router.breakers.forget(spec.name)  # What failed was something else.
    return json_response(updated)


async def remove_llm(request: Request) -> Response:
    """Remove an LLM; what was learned of it is kept for its return."""
    name = request.path_params["name"]
    router = state_of(request).router
    await asyncio.to_thread(router.remove_llm, name)
    router.breakers.forget(name)
    return json_response({"name": name, "removed": True})


async def list_models(request: Request) -> Response:
    """Return the routing models and the LLMs of the pool in OpenAI's shape."""
    return json_response({"object": "list", "data": [_model(name) for name in _model_names(request)]})


async def get_model(request: Request) -> Response:
    """Return one of them."""
    name = request.path_params["name"]
    if name not in _model_names(request):
        return problem(
            404, f"No model {name[:200]!r}. GET /v1/models lists them.", code="model_not_found", param="model"
        )
    return json_response(_model(name))


def _read_spec(tree: dict[str, Any]) -> LLMSpec:
    if "model_name" in tree or "litellm_params" in tree:
        entry = decode_model_entry(tree)
        if entry.secret() is not None:
            raise ConfigError(
                f"LLM {entry.model_name!r}: a key is not accepted here, as the pool is stored. Put it into the "
                "gateway's environment and give api_key as os.environ/NAME."
            )
        return entry.spec()
    return _read_fields(tree)


def _read_fields(tree: dict[str, Any]) -> LLMSpec:
    unknown = sorted(set(tree) - set(LLMSpec.__struct_fields__))
    if unknown:
        raise InvalidBodyError(
            f"Unknown field {unknown[0]!r}. Valid fields: {', '.join(LLMSpec.__struct_fields__)}.", param=unknown[0]
        )
    try:
        return msgspec.convert(tree, LLMSpec)
    except msgspec.ValidationError as error:
        raise InvalidBodyError(f"{error}. Send an entry of model_list, or the fields of an LLM spec.") from error


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**before, **changes}
    for key, change in changes.items():
        known = before.get(key)
        if isinstance(change, dict) and isinstance(known, dict):
            merged[key] = _merged(known, change)
    return merged


def _statuses(router: RouterCore) -> list[LLMStatus]:
    snapshot, counts = router.snapshot, router.traffic.counts()
    waits_s, refused_s = router.waits_s(), router.traffic.refused_s()
    return [
        LLMStatus(
            spec=spec,
            in_flight=counts.get(spec.name, 0),
            judgements=judgements,
            ttft_s=latency.ttft_s,
            tpot_s=latency.tpot_s,
            wait_s=waits_s.get(spec.name, 0.0),
            refused_s=refused_s.get(spec.name, 0.0),
            breaker=router.breakers.status(spec.name),
        )
        for spec, judgements, latency in zip(snapshot.specs, snapshot.judgements, snapshot.latency, strict=True)
    ]


def _model_names(request: Request) -> list[str]:
    key = key_of(request)
    return [*AUTO_MODELS, *(spec.name for spec in state_of(request).router.llms if key.allows(spec.name))]


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER}
