"""The ASGI application: routes, errors, keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from mixllm.config import CallsConfig, ConversationsConfig, GatewayConfig, SignalsConfig
from mixllm.errors import MixLLMError
from mixllm.gateway.access import KeyGuard
from mixllm.gateway.answers import error_response, problem
from mixllm.gateway.audit import Audit
from mixllm.gateway.bodies import BodyTooLargeError, InvalidBodyError, UnsupportedMediaError
from mixllm.gateway.budget import get_budget
from mixllm.gateway.call_metrics import CallMetrics
from mixllm.gateway.calling import HedgeAllowance
from mixllm.gateway.chat import chat_completions
from mixllm.gateway.conversations import ConversationMemory
from mixllm.gateway.decisions import get_decision, post_route
from mixllm.gateway.direct import Direct, Handler
from mixllm.gateway.door import Door
from mixllm.gateway.embeddings import embeddings
from mixllm.gateway.feedback import post_feedback
from mixllm.gateway.health import live, metrics, ready
from mixllm.gateway.judge import Judge
from mixllm.gateway.keys import KeyRing
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.gateway.llms import add_llm, get_llm, get_model, list_llms, list_models, remove_llm, update_llm
from mixllm.gateway.messages import count_tokens, messages
from mixllm.gateway.metrics import Metrics
from mixllm.gateway.openapi import get_openapi
from mixllm.gateway.reload import Reloader, post_reload
from mixllm.gateway.request_log import RequestLog
from mixllm.gateway.responses import responses
from mixllm.gateway.shown import error_for
from mixllm.gateway.signals import Signals
from mixllm.gateway.state import GatewayState
from mixllm.gateway.states import get_state, list_states, release_state, roll_back_state
from mixllm.gateway.tracing import Tracing
from mixllm.gateway.watch_metrics import WatchMetrics
from mixllm.gateway.watching import Watch
from mixllm.interfaces import LLMClient
from mixllm.router import RouterCore

__all__ = ["create_app"]


def create_app(
    *,
    router: RouterCore,
    client: LLMClient,
    config: GatewayConfig,
    ring: KeyRing | None = None,
    llm_keys: LLMKeyRules | None = None,
    signals: SignalsConfig | None = None,
    judge: Judge | None = None,
    conversations: ConversationsConfig | None = None,
    calls: CallsConfig | None = None,
    reloader: Reloader | None = None,
    tracing: Tracing | None = None,
    windows: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Return the gateway over `router` and `client`; it closes neither.

    Parameters
    ----------
    router
        Decides and learns; its worker is started with the application.
    client
        Calls the LLMs.
    config
        Limits.
    ring
        Keys that clients must present; None or empty: none is asked for, and only loopback names are answered to.
    llm_keys
        Which keys LLMs that are added at run time may use; None allows none.
    signals
        Which events of the traffic count as feedback; None counts none.
    judge
        Judges a share of the answers; it works while the application runs.
    conversations
        How far a conversation stays with its LLM; None takes the defaults.
    calls
        How LLMs are called for one request; None takes the defaults.
    reloader
        Reads the configuration again when it is asked to; None: it cannot be.
    tracing
        Takes the spans of requests; None: there are none.
    windows
        Routes that it serves besides its own, behind the same keys.
    """
    calls = calls or CallsConfig()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        router.worker.start()
        async with judge or nullcontext():
            yield

    handlers: dict[type[Exception], Callable[..., Awaitable[Response]]] = dict.fromkeys(_REFUSALS, _answer_error)
    handlers[HTTPException] = _answer_http_error
    app = Starlette(
        routes=[*(Route(path, handler, methods=[method]) for method, path, handler in _ROUTES), *windows],
        exception_handlers={**handlers, Exception: _answer_bug},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    conversations = conversations or ConversationsConfig()
    gateway_metrics = Metrics(router=router)
    watch = None
    if judge is not None or (signals is not None and signals.implicit):
        watch = Watch(signals=Signals(router=router, config=signals or SignalsConfig()), judge=judge)
        gateway_metrics.registry.register(WatchMetrics(watch))
    call_metrics = CallMetrics(registry=gateway_metrics.registry, router=router)
    app.state.gateway = GatewayState(
        router=router,
        client=client,
        config=config,
        metrics=gateway_metrics,
        llm_keys=llm_keys or LLMKeyRules(),
        watch=watch,
        conversations=ConversationMemory(config=conversations, clock=router.clock) if conversations.sticky else None,
        calls=calls,
        call_metrics=call_metrics,
        hedges=HedgeAllowance(max_share=calls.hedge.max_share),
        reloader=reloader,
    )
    audit = Audit(path=None if config.audit_path is None else Path(config.audit_path))
    direct = Direct(
        app=app,
        handlers={(method, path): handler for method, path, handler in _ROUTES if "{" not in path},
        refusals=_REFUSALS,
        answer_error=_answer_error,
        answer_bug=_bug,
    )
    door = Door(app=direct, paths=_CALLING, config=config, metrics=call_metrics)
    guard = KeyGuard(app=door, ring=ring if ring is not None else KeyRing({}), audit=audit)
    front = RequestLog(app=guard, enabled=config.access_log, tracing=tracing)
    if reloader is not None:
        reloader.attach(app, guard, front, door)
    return front


_CALLING = ("/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/responses")
"""The paths that call LLMs."""

_REFUSALS = (MixLLMError, InvalidBodyError, BodyTooLargeError, UnsupportedMediaError)
"""Errors that have an answer of their own."""

_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/chat/completions", chat_completions),
    ("POST", "/v1/embeddings", embeddings),
    ("POST", "/v1/messages", messages),
    ("POST", "/v1/messages/count_tokens", count_tokens),
    ("POST", "/v1/responses", responses),
    ("POST", "/v1/feedback", post_feedback),
    ("POST", "/v1/route", post_route),
    ("GET", "/v1/decisions/{decision_id}", get_decision),
    ("GET", "/v1/budget", get_budget),
    ("GET", "/v1/models", list_models),
    ("GET", "/v1/models/{name:path}", get_model),
    ("GET", "/v1/llms", list_llms),
    ("POST", "/v1/llms", add_llm),
    ("GET", "/v1/llms/{name:path}", get_llm),
    ("PATCH", "/v1/llms/{name:path}", update_llm),
    ("DELETE", "/v1/llms/{name:path}", remove_llm),
    ("GET", "/v1/state", list_states),
    ("GET", "/v1/state/{version:int}", get_state),
    ("POST", "/v1/state/rollback", roll_back_state),
    ("POST", "/v1/state/release", release_state),
    ("POST", "/v1/reload", post_reload),
    ("GET", "/health/live", live),
    ("GET", "/health/ready", ready),
    ("GET", "/metrics", metrics),
    ("GET", "/openapi.json", get_openapi),
)


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_response(error_for(request, error))


async def _answer_http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return problem(
            404, f"No endpoint {request.method} {request.url.path[:200]}. See the API reference.", code="not_found"
        )
    return problem(
        error.status_code, f"{error.detail}: {request.method} {request.url.path[:200]}.", headers=error.headers
    )


async def _answer_bug(request: Request, error: Exception) -> Response:
    del request, error
    return _bug()


def _bug() -> Response:
    # The server logs the traceback; the client learns nothing of the inside.
    return problem(500, "The gateway failed on this request. The log has the details; please report it.")
