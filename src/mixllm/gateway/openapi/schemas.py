"""Schemas of bodies: those of msgspec's structs, and those written here for what is no struct."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from mixllm.gateway.openapi.operation import Shape
from mixllm.gateway.requests import Wishes
from mixllm.types import LLMSpec, StateInfo

__all__ = ["WRITTEN", "components", "schema_of"]

_REFERENCE = "#/components/schemas/{name}"

_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string"},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]},
    },
}
_CHAT_FIELDS: dict[str, Any] = {
    "model": {"type": "string", "minLength": 1, "description": "mixllm/auto, one of its profiles, or an LLM's name."},
    "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
    "stream": {"type": ["boolean", "null"]},
    "stream_options": {
        "anyOf": [
            {"type": "object", "properties": {"include_usage": {"type": ["boolean", "null"]}}},
            {"type": "null"},
        ]
    },
    "max_tokens": {"type": ["integer", "null"], "minimum": 1},
    "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1},
    "tools": {"type": ["array", "null"]},
    "response_format": {
        "anyOf": [{"type": "object", "properties": {"type": {"type": ["string", "null"]}}}, {"type": "null"}]
    },
    "mixllm": Wishes,
}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}

WRITTEN: dict[str, dict[str, Any]] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": ["string", "null"]},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer", "null"]},
                },
            }
        },
    },
    "ChatRequest": {
        "description": "OpenAI's chat request. Fields that are not named here are passed on as they are.",
        "type": "object",
        "required": ["model", "messages"],
        "properties": _CHAT_FIELDS,
    },
    "RouteRequest": {
        "description": "A chat request of which only the routing is wanted; model may be missing.",
        "type": "object",
        "required": ["messages"],
        "properties": _CHAT_FIELDS,
    },
    "ChatCompletion": {
        "description": "OpenAI's chat completion, as the LLM gave it; model is the LLM's name in the pool.",
        "type": "object",
    },
    "EmbeddingRequest": {
        "description": "OpenAI's request for embeddings. Fields that are not named here are passed on as they are.",
        "type": "object",
        "required": ["model", "input"],
        "properties": {"model": _CHAT_FIELDS["model"], "input": {"type": ["string", "array"]}, "mixllm": Wishes},
    },
    "EmbeddingList": {"description": "OpenAI's list of embeddings, as the LLM gave it.", "type": "object"},
    "ResponseRequest": {
        "description": "A request of OpenAI's Responses API. Fields that are not named here are passed on as they are.",
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": _CHAT_FIELDS["model"],
            "input": {"type": ["string", "array"]},
            "stream": _CHAT_FIELDS["stream"],
            "mixllm": Wishes,
        },
    },
    "ResponseObject": {"description": "OpenAI's response object; model is the LLM's name.", "type": "object"},
    "MessageRequest": {
        "description": "A request of Anthropic's Messages API, translated by LiteLLM.",
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": _CHAT_FIELDS["model"],
            "messages": _CHAT_FIELDS["messages"],
            "max_tokens": {"type": "integer", "minimum": 1},
            "stream": _CHAT_FIELDS["stream"],
            "mixllm": Wishes,
        },
    },
    "MessageObject": {"description": "Anthropic's message; model is the LLM's name in the pool.", "type": "object"},
    "TokenCount": {
        "type": "object",
        "required": ["input_tokens"],
        "properties": {"input_tokens": {"type": "integer"}},
    },
    "Model": _MODEL,
    "ModelList": {
        "type": "object",
        "required": ["object", "data"],
        "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": "Model"}},
    },
    "Account": {
        "description": "What a budget is, what is spent of it, and how it paces.",
        "type": "object",
    },
    "Budget": {
        "type": "object",
        "required": ["period", "total", "key"],
        "properties": {
            "period": {"type": ["string", "null"]},
            "start_s": {"type": "number"},
            "end_s": {"type": "number"},
            "when_spent": {"type": "string"},
            "total": {"anyOf": ["Account", {"type": "null"}]},
            "key": {"anyOf": ["Account", {"type": "null"}]},
        },
    },
    "ModelEntry": {
        "description": "An entry of model_list; a literal api_key is refused, os.environ/NAME is not.",
        "type": "object",
        "required": ["model_name", "litellm_params"],
        "properties": {
            "model_name": {"type": "string"},
            "litellm_params": {
                "type": "object",
                "required": ["model"],
                "properties": {"model": {"type": "string"}, "api_base": {"type": ["string", "null"]}},
            },
            "model_info": {"type": "object"},
        },
        "additionalProperties": False,
    },
    "LLMChanges": {
        "description": "Fields of an LLM's spec; null takes one away where it may be missing.",
        "type": "object",
        "properties": {name: {} for name in LLMSpec.__struct_fields__},
        "additionalProperties": False,
    },
    "RemovedLLM": {
        "type": "object",
        "required": ["name", "removed"],
        "properties": {"name": {"type": "string"}, "removed": {"const": True}},
    },
    "States": {
        "type": "object",
        "required": ["current", "states"],
        "properties": {
            "current": {
                "type": "object",
                "required": ["version", "position"],
                "properties": {"version": {"type": "integer"}, "position": {"type": "integer"}},
            },
            "states": {"type": "array", "items": StateInfo},
        },
    },
    "ReleasedState": {
        "type": "object",
        "required": ["version", "released"],
        "properties": {"version": {"type": "integer"}, "released": {"const": True}},
    },
    "DashboardData": {
        "description": "What the page shows. docs/dashboard.md names the figures.",
        "type": "object",
        "required": ["since", "now_s", "report", "router", "newest"],
        "properties": {
            "since": {"type": "string"},
            "now_s": {"type": "number"},
            "report": {"type": "object"},
            "router": {"type": "object"},
            "newest": {"type": "array", "items": {"type": "object"}},
        },
    },
    "Alive": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
    "Readiness": {
        "type": "object",
        "required": ["status", "problems", "warnings", "llms", "breakers", "store", "learning"],
        "properties": {
            "status": {"enum": ["ready", "degraded", "unready"]},
            "problems": {"type": "array", "items": {"type": "string"}},
            "warnings": {"type": "array", "items": {"type": "string"}},
            "llms": {"type": "integer", "minimum": 0},
            "breakers": {"type": "object"},
            "store": {"type": "object"},
            "learning": {"type": "object"},
        },
    },
}
"""Schemas that no struct stands for. In them a type or another one's name may stand where a schema belongs."""


def components(shapes: Iterable[Shape]) -> dict[str, Any]:
    """Return every schema that `shapes` refer to, by name."""
    kinds = _kinds([*WRITTEN.values(), *shapes])
    _, made = msgspec.json.schema_components(list(dict.fromkeys(kinds)), ref_template=_REFERENCE)
    for schema in made.values():
        # The first paragraph: what follows explains the parameters to readers of the code.
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
        for kept in schema.get("properties", {}).values():
            if kept.get("uniqueItems") and "default" in kept:
                kept["default"] = sorted(kept["default"])  # A set has another order in every process.
    return {**made, **{name: schema_of(schema) for name, schema in WRITTEN.items()}}


def schema_of(shape: Shape) -> Any:
    """Return the schema of a shape, with references in the place of types and names."""
    if isinstance(shape, type):
        return {"$ref": _REFERENCE.format(name=shape.__name__)}
    if isinstance(shape, str):
        return {"$ref": _REFERENCE.format(name=shape)} if shape in WRITTEN else shape
    if isinstance(shape, dict):
        return {key: _value(key, value) for key, value in shape.items()}
    return shape


def _value(key: str, value: Any) -> Any:
    if key in {"items", "additionalProperties"}:
        return schema_of(value)
    if key in {"anyOf", "oneOf"}:
        return [schema_of(choice) for choice in value]
    if key == "properties":
        return {name: schema_of(schema) for name, schema in value.items()}
    return value


def _kinds(shapes: Iterable[Any]) -> Iterator[type]:
    for shape in shapes:
        if isinstance(shape, type):
            yield shape
        elif isinstance(shape, dict):
            yield from _kinds(shape.values())
        elif isinstance(shape, list):
            yield from _kinds(shape)
