"""The gateway's description: one table of operations, from which the OpenAPI document is made."""

from __future__ import annotations

from mixllm.gateway.openapi.document import describe
from mixllm.gateway.openapi.endpoint import get_openapi
from mixllm.gateway.openapi.operation import Operation
from mixllm.gateway.openapi.operations import OPERATIONS

__all__ = ["OPERATIONS", "Operation", "describe", "get_openapi"]
