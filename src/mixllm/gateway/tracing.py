"""Traces by OpenTelemetry, with its names for generative AI; nothing of it is loaded where it is off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from mixllm.config import TelemetryConfig
from mixllm.errors import MissingExtraError
from mixllm.gateway.notes import RequestNotes
from mixllm.gateway.usage import Usage, read_answer, read_chunk
from mixllm.interfaces import LLMClient, UpstreamReply, UpstreamStream
from mixllm.types import Decision, LLMSpec

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

__all__ = ["TracedClient", "Tracing", "decision_span"]

_ACTIVE: ContextVar[Tracing | None] = ContextVar("mixllm_tracing", default=None)
_OPERATIONS = {"/chat/completions": "chat", "/embeddings": "embeddings", "/responses": "chat"}
_FIRST_ERROR = 500


class Tracing:
    """Makes the spans of one gateway and sends them.

    Parameters
    ----------
    config
        Where they go, and how many.
    exporter
        Takes them in place of the configured endpoint.

    Raises
    ------
    MissingExtraError
        Where OpenTelemetry is not installed.
    """

    def __init__(self, config: TelemetryConfig, *, exporter: SpanExporter | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter(endpoint=config.otlp_endpoint)
        except ImportError as error:
            raise MissingExtraError("Tracing (telemetry.otlp_endpoint)", "otel") from error
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": config.service_name}),
            sampler=ParentBased(TraceIdRatioBased(config.sample_share)),
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mixllm")

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    @contextmanager
    def request(self, scope: Mapping[str, Any]) -> Iterator[Span]:
        """Surround a request with its span, in the trace that its ``traceparent`` names."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            f"{scope['method']} {scope['path'][:200]}",
            context=self._propagator.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.path": scope["path"][:200]},
        ) as span:
            token = _ACTIVE.set(self)
            try:
                yield span
            finally:
                _ACTIVE.reset(token)

    def finish(self, span: Span, *, status: int, notes: RequestNotes) -> None:
        """Tell what came of a request."""
        span.set_attribute("http.response.status_code", status)
        if status >= _FIRST_ERROR:
            span.set_status(self._trace.StatusCode.ERROR)
        if notes.decision is not None:
            span.set_attribute("mixllm.decision_id", notes.decision.decision_id)
            span.set_attribute("gen_ai.response.model", notes.llm)
        self._tell_usage(span, notes.tokens_in, notes.tokens_out)
        if notes.cost_usd is not None:
            span.set_attribute("mixllm.cost_usd", notes.cost_usd)

    @contextmanager
    def deciding(self) -> Iterator[Span]:
        """Surround a decision with its span."""
        with self._tracer.start_as_current_span("mixllm.route") as span:
            yield span

    def call(self, spec: LLMSpec, path: str) -> Span:
        """Begin the span of a call to an LLM."""
        operation = _OPERATIONS.get(path, path.strip("/"))
        parts = urlsplit(spec.api_base or "")
        return self._tracer.start_span(
            f"{operation} {spec.upstream_model}",
            kind=self._trace.SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": spec.upstream_model,
                "mixllm.llm": spec.name,
                "server.address": parts.hostname or "",
                "server.port": parts.port or (443 if parts.scheme == "https" else 80),
            },
        )

    @contextmanager
    def current(self, span: Span) -> Iterator[None]:
        """Have `span` be the current one, so that what is sent names it; it goes on afterwards."""
        with self._trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    def answered(self, span: Span, *, model: str | None, usage: Usage | None) -> None:
        """Tell what an answer says of itself."""
        if model is not None:
            span.set_attribute("gen_ai.response.model", model)
        if usage is not None:
            self._tell_usage(span, usage.prompt_tokens, usage.completion_tokens)

    def failed(self, span: Span, error: BaseException) -> None:
        """Tell that a call failed. The words of an error stay in the log: an endpoint may have put anything there."""
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(self._trace.StatusCode.ERROR)

    def outgoing_headers(self) -> dict[str, str]:
        """Return the headers that tell an endpoint which trace its call belongs to."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    @staticmethod
    def _tell_usage(span: Span, tokens_in: int | None, tokens_out: int | None) -> None:
        for name, tokens in (("input", tokens_in), ("output", tokens_out)):
            if tokens is not None:
                span.set_attribute(f"gen_ai.usage.{name}_tokens", tokens)


class _NoSpan:
    """Stands for a decision's span where nothing is traced."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def decided(self, decision: Decision) -> None:
        """Tell nobody."""


class _DecisionSpan(_NoSpan):
    def __init__(self, tracing: Tracing) -> None:
        self._open = tracing.deciding()
        self._span: Span | None = None

    def __enter__(self) -> Self:
        self._span = self._open.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.__exit__(*exception)

    def decided(self, decision: Decision) -> None:
        assert self._span is not None
        self._span.set_attributes(
            {
                "mixllm.decision_id": decision.decision_id,
                "mixllm.llm": decision.llm,
                "mixllm.policy": decision.policy,
                "mixllm.trade_off": decision.trade_off,
                "mixllm.candidates": len(decision.candidates),
                "mixllm.model_version": decision.model_version,
                "mixllm.out_of_domain": decision.out_of_domain,
            }
        )


_NO_SPAN = _NoSpan()


def decision_span() -> _NoSpan:
    """Return the context of a decision: its span where the current request is traced, nothing where it is not."""
    tracing = _ACTIVE.get()
    return _NO_SPAN if tracing is None else _DecisionSpan(tracing)


class TracedClient:
    """An `LLMClient` each of whose calls has a span.

    Parameters
    ----------
    client
        Makes the calls.
    tracing
        Takes the spans.
    """

    def __init__(self, client: LLMClient, tracing: Tracing) -> None:
        self._client = client
        self._tracing = tracing

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        """Call, as the client does."""
        span = self._tracing.call(spec, path)
        try:
            with self._tracing.current(span):
                reply = await self._client.complete(spec, path=path, body=body)
            answer = read_answer(reply.body)
            self._tracing.answered(span, model=answer.model, usage=answer.usage)
        except BaseException as error:
            self._tracing.failed(span, error)
            raise
        finally:
            span.end()
        return reply

    def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> AbstractAsyncContextManager[UpstreamStream]:
        """Open a stream, as the client does."""
        return _TracedStream(self._client.stream(spec, path=path, body=body), self._tracing, spec, path)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


class _TracedStream:
    def __init__(
        self, opening: AbstractAsyncContextManager[UpstreamStream], tracing: Tracing, spec: LLMSpec, path: str
    ) -> None:
        self._opening = opening
        self._tracing = tracing
        self._span = tracing.call(spec, path)
        self._stream: UpstreamStream | None = None

    async def __aenter__(self) -> Self:
        try:
            with self._tracing.current(self._span):
                self._stream = await self._opening.__aenter__()
        except BaseException as error:
            self._tracing.failed(self._span, error)
            self._span.end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._opening.__aexit__(kind, error, trace)
        finally:
            if error is not None:
                self._tracing.failed(self._span, error)
            self._span.end()

    async def events(self) -> AsyncIterator[bytes]:
        async for batch in self.batches():
            for data in batch:
                yield data

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        assert self._stream is not None
        model: str | None = None
        try:
            async for batch in self._stream.batches():
                for data in batch:
                    chunk = read_chunk(data)
                    if model is None and chunk.model is not None:
                        model = chunk.model
                        self._span.add_event("gen_ai.first_chunk")
                    if chunk.model is not None or chunk.usage is not None:
                        self._tracing.answered(self._span, model=model, usage=chunk.usage)
                yield batch
        except Exception as error:
            self._tracing.failed(self._span, error)
            raise
