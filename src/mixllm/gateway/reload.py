"""Reading the configuration again while requests go on: what can change does, what cannot is named."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from mixllm.assembly import PoolDifference, Router, build_limits
from mixllm.clients import ClientByProvider
from mixllm.config import CallsConfig, Config
from mixllm.config.section import Section
from mixllm.errors import ConfigError, MixLLMError
from mixllm.gateway.access import KeyGuard, audit_details, check_exposure
from mixllm.gateway.answers import json_response, problem
from mixllm.gateway.audit import Audit
from mixllm.gateway.bodies import read_object
from mixllm.gateway.door import Door
from mixllm.gateway.keys import key_ring
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.gateway.request_log import RequestLog
from mixllm.gateway.state import GatewayState, state_of
from mixllm.registry import SharedRates

__all__ = ["LIVE", "Reloaded", "Reloader", "changed_keys", "post_reload"]

_LOG = logging.getLogger(__name__)

LIVE = (
    "model_list",
    "routing.lambda",
    "routing.wait_weight",
    "routing.wait_steepness_per_s",
    "routing.wait_onset",
    "routing.deadline_s",
    "routing.queue_weight",
    "routing.max_wait_s",
    "routing.max_latency_s",
    "routing.max_ttft_s",
    "routing.deadline_quantile",
    "routing.caution",
    "routing.max_cost_share",
    "routing.caution_judgements",
    "routing.policy",
    "routing.shadow",
    "routing.out_of_domain",
    "budget.usd",
    "budget.each_key_usd",
    "budget.keys",
    "budget.when_spent",
    "budget.max_request_usd",
    "gateway.api_keys",
    "gateway.keys",
    "gateway.audit_path",
    "gateway.access_log",
    "gateway.llm_key_variables",
    "gateway.max_body_bytes",
    "gateway.connect_timeout_s",
    "gateway.max_in_flight",
    "gateway.max_in_flight_bytes",
    "calls.max_attempts",
    "calls.max_total_s",
    "calls.first_token_timeout_s",
    "calls.max_stream_s",
    "calls.retry_delay_s",
    "calls.max_retry_wait_s",
    "privacy.store_prompts",
)
"""Settings that change while the gateway runs; every other one needs a restart."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did.

    Parameters
    ----------
    applied
        Settings that changed and are in effect.
    needs_restart
        Settings that differ from those that are in effect, and wait for a restart.
    llms
        LLMs that were added, changed and removed.
    """

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]
    llms: PoolDifference


class Reloader:
    """Applies a configuration that was read again; thread-safe.

    Requests under way go on as they began: they hold what they were decided with. The whole configuration is checked
    before anything of it is applied.

    Parameters
    ----------
    read
        Reads the configuration again; raises `ConfigError` where it is broken.
    config
        The configuration that the gateway was started with.
    environ
        Where keys are looked up.
    router, client
        What it was made into.
    rates
        Where the rates of keys are shared; None: nowhere.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Config],
        config: Config,
        environ: Mapping[str, str],
        router: Router,
        client: ClientByProvider,
        rates: SharedRates | None = None,
    ) -> None:
        self._read = read
        self._rates = rates
        self._started = config
        self._config = config
        self._environ = environ
        self._router = router
        self._client = client
        self._lock = threading.Lock()
        self._app: Starlette | None = None
        self._guard: KeyGuard | None = None
        self._front: RequestLog | None = None
        self._door: Door | None = None

    def attach(self, app: Starlette, guard: KeyGuard, front: RequestLog, door: Door) -> None:
        """Take the application whose settings are changed."""
        self._app, self._guard, self._front, self._door = app, guard, front, door

    def reload(self) -> Reloaded:
        """Read the configuration again and apply it.

        Raises
        ------
        ConfigError, UnknownPriceError, InvalidValueError
            Where it cannot be used; everything stays as it was.
        StoreError
            Where the pool's change cannot be kept.
        """
        assert self._app is not None
        state: GatewayState = self._app.state.gateway
        with self._lock:
            try:
                reloaded = self._apply(self._read())
            except MixLLMError as error:
                state.metrics.observe_reload(applied=False)
                _LOG.error("the configuration was not reloaded, nothing changes: %s", error)
                raise
        state.metrics.observe_reload(applied=True)
        _LOG.info("configuration reloaded: %s", ", ".join(reloaded.applied) or "nothing changed")
        if reloaded.needs_restart:
            _LOG.warning("a restart is needed for %s", ", ".join(reloaded.needs_restart))
        return reloaded

    def reload_on_signal(self) -> None:
        """Reload as SIGHUP asks for: what comes of it is in the log, the metrics and the audit."""
        assert self._guard is not None
        try:
            reloaded = self.reload()
        except MixLLMError:
            self._guard.audit.write(action="SIGHUP", status=422)
            return
        self._guard.audit.write(action="SIGHUP", status=200, details=_details(reloaded))

    def _apply(self, config: Config) -> Reloaded:
        assert self._app is not None
        assert self._guard is not None
        assert self._front is not None
        assert self._door is not None
        live = [key for key in changed_keys(self._config, config) if _is_live(key)]
        waiting = [key for key in changed_keys(self._started, config) if not _is_live(key)]
        limits = build_limits(config.budget, self._environ)
        budget = self._router.budget
        if (limits is None) is not (budget is None) or any(key.startswith("budget.period") for key in waiting):
            # Counting begins with the first event: a budget that comes, goes or changes its period needs a restart.
            waiting += [key for key in live if key.startswith("budget.")]
            live = [key for key in live if not key.startswith("budget.")]
            limits = None
        ring = key_ring(config.gateway, self._environ, before=self._guard.ring, rates=self._rates)
        check_exposure(self._started.gateway.host, ring)
        rules = LLMKeyRules.from_config(config)
        audit = self._guard.audit
        if "gateway.audit_path" in live:
            audit = Audit(path=None if config.gateway.audit_path is None else Path(config.gateway.audit_path))
        # From here on nothing is refused any more, but by a store that fails.
        before = self._client.secrets
        self._client.secrets = {**before, **config.secrets()}
        try:
            llms = self._router.reconfigure(config, limits=limits)
        except BaseException:
            self._client.secrets = before
            raise
        self._client.secrets = config.secrets()
        self._client.connect_timeout_s = config.gateway.connect_timeout_s
        state: GatewayState = self._app.state.gateway
        self._app.state.gateway = replace(
            state, config=config.gateway, llm_keys=rules, calls=_calls(state.calls, config.calls)
        )
        self._guard.ring, self._guard.audit = ring, audit
        self._front.enabled = config.gateway.access_log
        self._door.config = config.gateway
        self._config = config
        return Reloaded(applied=tuple(live), needs_restart=tuple(sorted(waiting)), llms=llms)


async def post_reload(request: Request) -> Response:
    """Read the configuration again, as SIGHUP asks for, and tell what came of it."""
    await read_object(request, dict[str, object])
    reloader = state_of(request).reloader
    if reloader is None:
        return problem(409, "This gateway was not started from a file. Restart it instead.", code="no_file")
    try:
        reloaded = await asyncio.to_thread(reloader.reload)
    except ConfigError as error:
        return problem(422, f"Nothing was changed. {error}", code="invalid_configuration")
    audit_details(request, **_details(reloaded))
    return json_response(reloaded)


def changed_keys(before: Section, after: Section, prefix: str = "") -> Iterator[str]:
    """Yield each key in which two configurations differ, dotted; a list counts as one.

    Examples
    --------
    >>> from mixllm.config import parse_config
    >>> list(changed_keys(parse_config("routing: {lambda: 2}"), parse_config("gateway: {port: 1}")))
    ['routing.lambda', 'gateway.port']
    """
    for field in msgspec.structs.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        key = f"{prefix}{field.encode_name}"
        if old == new:
            continue
        if isinstance(old, Section) and isinstance(new, Section) and not _is_live(key):
            yield from changed_keys(old, new, f"{key}.")
        else:
            yield key


def _is_live(key: str) -> bool:
    return key in LIVE


def _details(reloaded: Reloaded) -> dict[str, object]:
    details: dict[str, object] = msgspec.to_builtins(reloaded)
    return details


def _calls(before: CallsConfig, after: CallsConfig) -> CallsConfig:
    """Return `after` with the breakers and hedges of `before`, which hold state of their own."""
    return msgspec.structs.replace(after, breaker=before.breaker, hedge=before.hedge)
