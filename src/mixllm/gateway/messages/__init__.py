"""``/v1/messages``: Anthropic's API in front of the same pool; the translation is LiteLLM's."""

from __future__ import annotations

from mixllm.gateway.messages.endpoint import count_tokens, messages

__all__ = ["count_tokens", "messages"]
