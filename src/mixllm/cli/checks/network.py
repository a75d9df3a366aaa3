"""Checks of the network: the LLMs' endpoints, and the gateway where it runs."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mixllm.cli.checks.finding import Finding, fail, ok, warn
from mixllm.cli.gateway_api import Answer, GatewayAPI, GatewayError, exchange
from mixllm.cli.masking import masked_url, printable
from mixllm.cli.output import seconds
from mixllm.config import ModelEntry
from mixllm.errors import MixLLMError
from mixllm.types import LLMSpec, Secret

__all__ = ["check_gateway", "check_upstreams"]

_LOOKUP_ALLOWANCE = 1.5
"""Looking up a name and answering may take this many time limits together."""
_UNAUTHORISED = frozenset({401, 403})
_WITHOUT_LISTING = frozenset({404, 405, 501})


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def check_upstreams(
    entries: Sequence[ModelEntry], environ: Mapping[str, str], *, timeout_s: float
) -> Iterator[Finding]:
    """Ask every endpoint for its models, all at the same time; nothing is generated and nothing is paid."""
    if not entries:
        return
    groups: dict[tuple[str, Secret | None], list[LLMSpec]] = {}
    for entry in entries:
        spec = entry.spec()
        groups.setdefault((spec.api_base or "", _key(entry, spec, environ)), []).append(spec)
    found: dict[int, Finding] = {}

    def ask(place: int, api_base: str, key: Secret | None, specs: Sequence[LLMSpec]) -> None:
        found[place] = _ask(api_base, key, specs, timeout_s=timeout_s)

    # Threads that nobody has to wait for: looking up a name can take longer than any time limit of a socket.
    threads = [
        threading.Thread(target=ask, args=(place, base, key, specs), daemon=True)
        for place, ((base, key), specs) in enumerate(groups.items())
    ]
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + _LOOKUP_ALLOWANCE * timeout_s
    for place, (thread, ((base, _), specs)) in enumerate(zip(threads, groups.items(), strict=True)):
        thread.join(max(0.0, deadline_s - time.monotonic()))
        yield found[place] if place in found else _silent(base, specs, timeout_s=timeout_s)


def check_gateway(url: str, *, timeout_s: float) -> Finding:
    """Ask the gateway whether it is ready; that none runs is in order."""
    shown = masked_url(url)
    try:
        readiness = GatewayAPI(url=url, timeout_s=timeout_s).readiness()
    except GatewayError as error:
        if isinstance(error.__cause__, ConnectionRefusedError):
            return ok("gateway", f"none runs at {shown}")
        return fail("gateway", str(error), "Give another gateway.port, or stop what uses it.")
    except MixLLMError as error:
        return fail("gateway", str(error), "Correct --url.")
    wrong = (*readiness.problems, *readiness.warnings)
    if wrong:
        return warn("gateway", f"runs at {shown}, but: {printable('; '.join(wrong))}", "See its log.")
    return ok("gateway", f"runs at {shown} with {readiness.llms} LLMs and is {printable(readiness.status)}")


def _key(entry: ModelEntry, spec: LLMSpec, environ: Mapping[str, str]) -> Secret | None:
    value = environ.get(spec.api_key_env) if spec.api_key_env is not None else None
    return entry.secret() or (Secret(value) if value else None)


def _ask(api_base: str, key: Secret | None, specs: Sequence[LLMSpec], *, timeout_s: float) -> Finding:
    check, names = _check(api_base), _names(specs)
    headers = {"Accept": "application/json"}
    if key is not None:
        text = key.reveal()
        if not (text.isascii() and text.isprintable()):
            return fail(check, f"the key of {names} holds characters that no key has", "Check the variable's value.")
        headers["Authorization"] = f"Bearer {text}"
    started_s = time.perf_counter()
    try:
        answer = exchange(f"{api_base}/models", timeout_s=timeout_s, headers=headers)
    except TimeoutError:
        return _silent(api_base, specs, timeout_s=timeout_s)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        cause = getattr(error, "strerror", None) or type(error).__name__
        return fail(check, f"cannot be reached ({printable(cause)}), for {names}", "Start it, or correct api_base.")
    except MixLLMError as error:
        return fail(check, str(error), "Correct api_base.")
    return _judged(specs, check, answer, took_s=time.perf_counter() - started_s)


def _silent(api_base: str, specs: Sequence[LLMSpec], *, timeout_s: float) -> Finding:
    return fail(
        _check(api_base),
        f"did not answer within {timeout_s:g} s, for {_names(specs)}",
        "Check the address and the network, or allow more with --timeout-s.",
    )


def _judged(specs: Sequence[LLMSpec], check: str, answer: Answer, *, took_s: float) -> Finding:
    status, names = answer.status, _names(specs)
    if status in _UNAUTHORISED:
        return fail(check, f"refuses the key of {names} (status {status})", "Set the right key, or give one.")
    if status in _WITHOUT_LISTING:
        return ok(check, f"answers in {seconds(took_s)}, for {names}; it does not list its models")
    if not 200 <= status < 300:
        return warn(check, f"answers with status {status}, for {names}", "See the endpoint's log or status page.")
    try:
        listed = {model.id for model in msgspec.json.decode(answer.body, type=_Models).data}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return warn(check, f"does not answer as OpenAI's API does, for {names}", "Check api_base; most end in /v1.")
    unknown = [spec.upstream_model for spec in specs if spec.upstream_model not in listed]
    if unknown:
        return warn(check, f"does not list {', '.join(unknown)}", "Check the name of the model.")
    return ok(check, f"answers in {seconds(took_s)}, for {names}")


def _check(api_base: str) -> str:
    return f"endpoint {masked_url(api_base)}"


def _names(specs: Sequence[LLMSpec]) -> str:
    return ", ".join(spec.name for spec in specs)
