"""Each LLM by the client that speaks its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from mixllm.clients.litellm_client import LiteLLMClient
from mixllm.clients.openai_http import OpenAIClient
from mixllm.interfaces import LLMClient, UpstreamReply, UpstreamStream
from mixllm.types import LLMSpec, Secret

__all__ = ["ClientByProvider"]


class ClientByProvider:
    """OpenAI's protocol by one client, other providers' by another.

    Parameters
    ----------
    openai
        For LLMs without a `provider`.
    others
        For those with one.
    """

    def __init__(self, *, openai: OpenAIClient, others: LiteLLMClient) -> None:
        self.openai = openai
        self.others = others

    @property
    def secrets(self) -> Mapping[str, Secret]:
        """Literal keys by the LLM's name."""
        return self.openai.secrets

    @secrets.setter
    def secrets(self, secrets: Mapping[str, Secret]) -> None:
        self.openai.secrets = self.others.secrets = secrets

    @property
    def connect_timeout_s(self) -> float:
        """Time limit for opening a connection to an LLM without one of its own, where OpenAI's protocol is spoken."""
        return self.openai.connect_timeout_s

    @connect_timeout_s.setter
    def connect_timeout_s(self, limit_s: float) -> None:
        self.openai.connect_timeout_s = limit_s

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        """Return the whole answer; raises as the client does."""
        return await self._client(spec).complete(spec, path=path, body=body)

    def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> AbstractAsyncContextManager[UpstreamStream]:
        """Open the stream of the answer; raises as the client does."""
        return self._client(spec).stream(spec, path=path, body=body)

    async def close(self) -> None:
        """Close both."""
        try:
            await self.openai.close()
        finally:
            await self.others.close()

    def _client(self, spec: LLMSpec) -> LLMClient:
        return self.openai if spec.provider is None else self.others
