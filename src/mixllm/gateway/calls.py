"""One call to the chosen LLM: passed on, answered, timed and recorded, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mixllm.errors import UpstreamError, UpstreamProtocolError, UpstreamTimeoutError
from mixllm.gateway.answers import StoppingError, error_event, error_response, raw_response
from mixllm.gateway.dialect import EMBEDDINGS
from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.state import GatewayState
from mixllm.gateway.usage import Usage
from mixllm.gateway.watching import WatchedCall
from mixllm.types import Decision, LLMSpec, Outcome, OutcomeStatus

__all__ = ["Call", "StreamedAnswer"]

_DONE = b"[DONE]"


class Call:
    """One call to the chosen LLM, from the decision to its record.

    Parameters
    ----------
    state
        What the handlers share.
    chat, decision, spec
        The request, what was decided on it, and the LLM as it was then.
    started_s
        When the request came, on the clock of `time.perf_counter`.
    watched
        Observes what the answer says; None: nobody wants to know.
    """

    def __init__(
        self,
        *,
        state: GatewayState,
        chat: ChatRequest,
        decision: Decision,
        spec: LLMSpec,
        started_s: float,
        watched: WatchedCall | None = None,
    ) -> None:
        self.state = state
        self.chat = chat
        self.decision = decision
        self.spec = spec
        self.dialect = chat.dialect
        self.started_s = started_s
        self.watched = watched
        self.called_s = started_s
        self.first_s: float | None = None
        self.recorded = False

    async def answer(self) -> Response:
        """Call the LLM and answer; what fails before the answer's first byte becomes an error with a status."""
        body = self.chat.body_for(self.spec)
        self.called_s = time.perf_counter()
        try:
            return await (self._stream(body) if self.chat.stream else self._complete(body))
        except UpstreamError as error:
            status = OutcomeStatus.TIMEOUT if isinstance(error, UpstreamTimeoutError) else OutcomeStatus.ERROR
            self._record_failure(status, error)
            return error_response(error, headers=self._headers(answered_s=time.perf_counter()))
        except asyncio.CancelledError:
            self._record(OutcomeStatus.CANCELLED)
            raise
        except BaseException as error:
            # A fault of the gateway itself: its words are for the log alone, as they could hold anything.
            self._record(OutcomeStatus.ERROR, error=type(error).__name__)
            raise

    async def _complete(self, body: bytes) -> Response:
        reply = await self.state.client.complete(self.spec, path=self.dialect.path, body=body)
        answered_s = time.perf_counter()
        answer = self.dialect.read_answer(reply.body)
        outcome = self._record(OutcomeStatus.OK, usage=answer.usage, ended_s=answered_s)
        if self.watched is not None:
            self.watched.read_body(reply.body)
            self.watched.answered(answer.usage)
        content = reply.body if answer.model == self.spec.name else self.dialect.named(reply.body, self.spec.name)
        headers = self._headers(answered_s=answered_s)
        if outcome is not None and outcome.cost_usd is not None:
            headers["x-mixllm-cost-usd"] = f"{outcome.cost_usd:.9f}"
        return raw_response(content, content_type=reply.content_type, headers=headers)

    async def _stream(self, body: bytes) -> Response:
        held = AsyncExitStack()
        try:
            upstream = await held.enter_async_context(
                self.state.client.stream(self.spec, path=self.dialect.path, body=body)
            )
            events = upstream.events()
            # Only with the first event in hand is it known that there is an answer: until then an error has a status.
            first = await anext(events, _DONE)
        except BaseException:
            await held.aclose()
            raise
        self.first_s = time.perf_counter()
        headers = self._headers(answered_s=self.first_s)
        headers["cache-control"] = "no-cache"
        return StreamedAnswer(self._pass_on(first, events), close=lambda: self._leave(held), headers=headers)

    async def _leave(self, held: AsyncExitStack) -> None:
        self._record(OutcomeStatus.CANCELLED)
        await held.aclose()

    async def _pass_on(self, first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        usage: Usage | None = None
        chunks = 0
        data = first
        try:
            while data != _DONE:
                chunk = self.dialect.read_event(data)
                chunks += bool(chunk.choices)
                usage = chunk.usage or usage
                if self.watched is not None and chunk.choices:
                    self.watched.read_choices(chunk.choices)
                if chunk.choices or chunk.usage is None or self.chat.wants_usage:
                    yield self.dialect.event(self._named(data, chunk.model))
                data = await anext(events, _DONE)
        except UpstreamError as error:
            self._record_failure(OutcomeStatus.BROKEN_STREAM, error, usage=usage)
            yield error_event(error)
            return
        self._record(OutcomeStatus.OK, usage=usage, chunks=chunks)
        if self.watched is not None:
            self.watched.answered(usage)
        yield self.dialect.event(_DONE)

    def _named(self, data: bytes, model: str | None) -> bytes:
        if model is None or model == self.spec.name:
            return data
        try:
            return self.dialect.named(data, self.spec.name)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamProtocolError(self.spec.name, "its stream holds an event that is not UTF-8.") from error

    def _record_failure(self, status: OutcomeStatus, error: UpstreamError, *, usage: Usage | None = None) -> None:
        self._record(status, usage=usage, error=f"{type(error).__name__}: {error}")
        if self.watched is not None:
            self.watched.failed(error)

    def _record(
        self,
        status: OutcomeStatus,
        *,
        usage: Usage | None = None,
        chunks: int | None = None,
        ended_s: float | None = None,
        error: str | None = None,
    ) -> Outcome | None:
        """Keep how the call ended, once; return it as kept, or None where it had been kept before."""
        if self.recorded:
            return None
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
                cost_usd=self._cost_usd(usage) if usage else None,
                latency_s=(ended_s or time.perf_counter()) - self.called_s,
                ttft_s=None if self.first_s is None else self.first_s - self.called_s,
                streamed=self.chat.stream,
                choices=self.chat.query.choices,
                error=error,
            ),
        )
        self.state.metrics.observe(outcome)
        return outcome

    def _cost_usd(self, usage: Usage) -> float | None:
        """Return the billed cost; None where the tokens have to tell it, which an embedding's prompt alone does."""
        price = self.spec.price
        if usage.cost_usd is None and self.dialect is EMBEDDINGS and price is not None and usage.prompt_tokens:
            return price.cost_usd(tokens_in=usage.prompt_tokens, tokens_out=0)
        return usage.cost_usd

    def _headers(self, *, answered_s: float) -> dict[str, str]:
        overhead_s = time.perf_counter() - self.started_s - (answered_s - self.called_s)
        self.state.metrics.observe_overhead(overhead_s)
        return {
            "x-mixllm-inference-id": self.decision.decision_id,
            "x-mixllm-model": _header_safe(self.spec.name),
            "x-mixllm-overhead-ms": f"{overhead_s * 1000:.3f}",
            "x-mixllm-reason": _header_safe(self.decision.reason),
            "x-mixllm-out-of-domain": f"{self.decision.out_of_domain:.3f}",
        }


class StreamedAnswer(StreamingResponse):
    """A stream that leaves its upstream however it ends: read to the end, broken, or left by the client."""

    def __init__(
        self, content: AsyncIterator[bytes], *, close: Callable[[], Awaitable[None]], headers: dict[str, str]
    ) -> None:
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._close = close
        self.last_words: Callable[[Exception], bytes] = error_event
        """Makes the event that ends it for an error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and leave its upstream."""
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            # Starlette ends by itself where the client left; only a server that stops cancels the whole answer.
            await send({"type": "http.response.body", "body": self.last_words(StoppingError()), "more_body": False})
        finally:
            # Closes the connection, which cancels the LLM's work where it still goes on.
            await self._close()


def _header_safe(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
