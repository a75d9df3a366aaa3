"""``/v1/responses``: passed on where the LLM has it, told as a chat where it has not."""

from __future__ import annotations

from mixllm.gateway.responses.endpoint import responses

__all__ = ["responses"]
