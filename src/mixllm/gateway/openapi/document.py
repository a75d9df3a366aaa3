"""The OpenAPI document: made from the table of operations."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from mixllm.gateway.openapi.operation import Operation
from mixllm.gateway.openapi.operations import OPERATIONS
from mixllm.gateway.openapi.schemas import components, schema_of
from mixllm.gateway.scopes import OPEN_PATHS, scopes_for

__all__ = ["describe"]

_PARAMETER = re.compile(r"\{(\w+)\}")
_JSON = "application/json"
_EVENTS = "text/event-stream"
_EVERY_ERROR = (400, 401, 403, 414, 429, 431)
_BODY_ERRORS = (413, 415)
_TAGS = {
    "chat": "Requests to LLMs, as OpenAI's API has them.",
    "feedback": "What became of a decision, and how good it was.",
    "pool": "The LLMs, read and changed at run time.",
    "state": "What was learned, version by version.",
    "running": "Health, metrics, configuration.",
}


def describe(version: str) -> dict[str, Any]:
    """Return the description of the gateway of that version, as OpenAPI 3.1.

    Examples
    --------
    >>> describe("1.0")["paths"]["/health/live"]["get"]["operationId"]
    'live'
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MixLLM gateway",
            "version": version,
            "description": "An OpenAI-compatible gateway that routes each request to the LLM that is worth it.",
        },
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components(shape for one in OPERATIONS for shape in (one.body, one.answer)),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    is_open = operation.path in OPEN_PATHS
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *map(_in_path, _PARAMETER.findall(operation.path)),
            *({"name": name, "in": "query", "schema": dict(schema)} for name, schema in operation.query.items()),
            *_headers(operation),
        ],
        "responses": _answers(operation, is_open=is_open),
        "security": [] if is_open else [{"key": []}],
    }
    if not is_open:
        scopes = " or ".join(scopes_for(operation.method, operation.path))
        described["description"] = f"Where keys are asked for, one with the scope {scopes}."
    if operation.body is not None:
        content: dict[str, Any] = {"schema": schema_of(operation.body)}
        if operation.example is not None:
            content["example"] = dict(operation.example)
        described["requestBody"] = {"required": True, "content": {_JSON: content}}
    return described


def _answers(operation: Operation, *, is_open: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    if operation.answer is not None:
        content = {_JSON: {"schema": schema_of(operation.answer)}}
    answers: dict[str, Any] = {
        str(operation.status): {"description": HTTPStatus(operation.status).phrase, "content": dict(content)}
    }
    if operation.streams:
        # OpenAPI 3.1 has no words for the single events of a stream, and readers differ in what a schema here means.
        answers[str(operation.status)]["content"][_EVENTS] = {}
    for status, meaning in operation.fallible.items():
        answers[str(status)] = {"description": meaning, "content": content}
    errors = set(operation.errors)
    if not is_open:
        errors |= {*_EVERY_ERROR, *(_BODY_ERRORS if operation.body is not None else ())}
    error = {_JSON: {"schema": schema_of("Error")}}
    for status in sorted(errors):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": error}
    return answers


def _in_path(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": 0} if name == "version" else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": says, "schema": {"type": "string"}}
        for name, says in operation.headers.items()
    ]
