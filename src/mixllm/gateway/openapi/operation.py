"""One operation of the gateway as its description tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Operation", "Shape"]

Shape: TypeAlias = Any
"""The schema of a body: a type that msgspec knows, the name of a schema of `schemas.WRITTEN`, or a schema as a dict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method and a path.

    Parameters
    ----------
    method, path
        As in `mixllm.gateway.scopes`, e.g. ``/v1/llms/{name}``.
    name
        Its ``operationId``.
    summary
        What it does, in a sentence.
    tag
        Which group it belongs to.
    answer
        What it answers with; None where that is text.
    status
        Of a request that succeeds.
    body
        What it takes; None where it takes none.
    example
        A body that can be sent as it is.
    errors
        Statuses of errors besides those that every operation has.
    streams
        Whether the answer may be a stream of events.
    headers
        Headers of the request that it reads, with what they say.
    query
        Parameters of its query string, which may be missing, with their schemas.
    fallible
        Whether another status also comes with `answer`, with what it means.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: str
    answer: Shape = None
    status: int = 200
    body: Shape = None
    example: Mapping[str, Any] | None = None
    errors: tuple[int, ...] = ()
    streams: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fallible: Mapping[int, str] = field(default_factory=dict)
