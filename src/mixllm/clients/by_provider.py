"""Each LLM by the client that speaks its protocol."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from mixllm.interfaces import LLMClient, UpstreamReply, UpstreamStream
from mixllm.types import LLMSpec

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

    def __init__(self, *, openai: LLMClient, others: LLMClient) -> None:
        self.openai = openai
        self.others = others

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
