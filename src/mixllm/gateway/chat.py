"""``POST /v1/chat/completions``: decide, call, answer, record."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mixllm.errors import UpstreamError, UpstreamTimeoutError
from mixllm.gateway.answers import error_event, error_response, raw_response
from mixllm.gateway.bodies import read_fields
from mixllm.gateway.requests import ChatRequest, read_chat_request
from mixllm.gateway.state import GatewayState, state_of
from mixllm.gateway.usage import Usage, read_answer, read_chunk, with_model
from mixllm.interfaces import UpstreamStream
from mixllm.types import Decision, LLMSpec, Outcome, OutcomeStatus

__all__ = ["chat_completions"]

_PATH = "/chat/completions"
_DONE = b"[DONE]"


async def chat_completions(request: Request) -> Response:
    """Answer a chat request with the LLM that the router decides on."""
    started_s = time.perf_counter()
    state = state_of(request)
    chat = read_chat_request(await read_fields(request), trade_off=state.router.maker.weights.trade_off)
    decision = state.router.route(chat.query, llm=chat.llm)
    call = _Call(state=state, chat=chat, decision=decision, started_s=started_s)
    return await (call.stream() if chat.stream else call.complete())


class _Call:
    """One call to the chosen LLM, from the decision to its record."""

    def __init__(self, *, state: GatewayState, chat: ChatRequest, decision: Decision, started_s: float) -> None:
        self.state = state
        self.chat = chat
        self.decision = decision
        self.spec: LLMSpec = state.router.llm(decision.llm)
        self.started_s = started_s
        self.called_s = started_s
        self.first_s: float | None = None
        self.recorded = False

    async def complete(self) -> Response:
        """Answer in one piece."""
        body = self.chat.body_for(self.spec)
        self.called_s = time.perf_counter()
        try:
            reply = await self.state.client.complete(self.spec, path=_PATH, body=body)
        except UpstreamError as error:
            self._record_failure(error)
            return error_response(error, headers=self._headers())
        except BaseException:
            self._record(OutcomeStatus.CANCELLED)
            raise
        answered_s = time.perf_counter()
        answer = read_answer(reply.body)
        outcome = self._record(OutcomeStatus.OK, usage=answer.usage, ended_s=answered_s)
        content = reply.body if answer.model == self.spec.name else with_model(reply.body, self.spec.name)
        headers = self._headers(upstream_s=answered_s - self.called_s)
        if outcome.cost_usd is not None:
            headers["x-mixllm-cost-usd"] = f"{outcome.cost_usd:.9f}"
        return raw_response(content, content_type=reply.content_type, headers=headers)

    async def stream(self) -> Response:
        """Answer as a stream; errors before its first byte are plain answers."""
        context = self.state.client.stream(self.spec, path=_PATH, body=self.chat.body_for(self.spec))
        self.called_s = time.perf_counter()
        try:
            upstream = await context.__aenter__()
        except UpstreamError as error:
            self._record_failure(error)
            return error_response(error, headers=self._headers())
        except BaseException:
            self._record(OutcomeStatus.CANCELLED)
            raise
        opened_s = time.perf_counter()

        headers = self._headers(upstream_s=opened_s - self.called_s)
        headers["cache-control"] = "no-cache"
        return _StreamedAnswer(self._pass_on(upstream), close=lambda: self._leave(context), headers=headers)

    async def _leave(self, context: AbstractAsyncContextManager[UpstreamStream]) -> None:
        if not self.recorded:
            self._record(OutcomeStatus.CANCELLED)
        await context.__aexit__(None, None, None)

    async def _pass_on(self, upstream: UpstreamStream) -> AsyncIterator[bytes]:
        usage: Usage | None = None
        chunks = 0
        try:
            async for data in upstream.events():
                if data == _DONE:
                    self._record(OutcomeStatus.OK, usage=usage, chunks=chunks)
                    yield b"data: [DONE]\n\n"
                    continue
                if self.first_s is None:
                    self.first_s = time.perf_counter()
                chunk = read_chunk(data)
                chunks += bool(chunk.choices)
                if chunk.usage is not None:
                    usage = chunk.usage
                    if not chunk.choices and not self.chat.wants_usage:
                        continue
                yield b"data: " + self._named(data, chunk.model) + b"\n\n"
        except UpstreamError as error:
            self._record_failure(error, status=OutcomeStatus.BROKEN_STREAM, usage=usage)
            yield error_event(error)

    def _named(self, data: bytes, model: str | None) -> bytes:
        return data if model is None or model == self.spec.name else with_model(data, self.spec.name)

    def _record_failure(
        self, error: UpstreamError, *, status: OutcomeStatus | None = None, usage: Usage | None = None
    ) -> None:
        if status is None:
            status = OutcomeStatus.TIMEOUT if isinstance(error, UpstreamTimeoutError) else OutcomeStatus.ERROR
        self._record(status, usage=usage, error=f"{type(error).__name__}: {error}")

    def _record(
        self,
        status: OutcomeStatus,
        *,
        usage: Usage | None = None,
        chunks: int | None = None,
        ended_s: float | None = None,
        error: str | None = None,
    ) -> Outcome:
        self.recorded = True
        # Where an endpoint does not count, a chunk is close to a token; nothing is close to the length of a plain one.
        tokens_out = usage.completion_tokens if usage is not None else chunks
        tokens_in = usage.prompt_tokens if usage is not None else (self.decision.tokens_in if chunks else None)
        outcome = self.state.router.record(
            self.decision.decision_id,
            Outcome(
                llm=self.spec.name,
                status=status,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cached_tokens_in=usage.cached_tokens_in if usage else 0,
                reasoning_tokens=usage.reasoning_tokens if usage else 0,
                latency_s=(ended_s or time.perf_counter()) - self.called_s,
                ttft_s=None if self.first_s is None else self.first_s - self.called_s,
                streamed=self.chat.stream,
                error=error,
            ),
        )
        self.state.metrics.observe(outcome)
        return outcome

    def _headers(self, *, upstream_s: float = 0.0) -> dict[str, str]:
        overhead_s = time.perf_counter() - self.started_s - upstream_s
        self.state.metrics.observe_overhead(overhead_s)
        return {
            "x-mixllm-inference-id": self.decision.decision_id,
            "x-mixllm-model": _header_safe(self.spec.name),
            "x-mixllm-overhead-ms": f"{overhead_s * 1000:.3f}",
            "x-mixllm-reason": _header_safe(self.decision.reason),
        }


class _StreamedAnswer(StreamingResponse):
    """A stream that leaves its upstream however it ends: read to the end, broken, or left by the client."""

    def __init__(
        self, content: AsyncIterator[bytes], *, close: Callable[[], Awaitable[None]], headers: dict[str, str]
    ) -> None:
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Closes the connection, which cancels the LLM's work where it still goes on.
            await self._close()


def _header_safe(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
