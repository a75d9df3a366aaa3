"""A running gateway over HTTP: few, small requests on the standard library, and errors that say what to do."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from mixllm import __version__
from mixllm.cli.masking import masked_url, printable
from mixllm.errors import InvalidValueError, MixLLMError
from mixllm.registry import BreakerStatus
from mixllm.router.account import AccountStatus
from mixllm.types import Decision, LLMSpec, Secret, StateInfo, Value

if TYPE_CHECKING:
    from mixllm.learning.rollback import RolledBack
    from mixllm.learning.state_details import StateDetails

__all__ = [
    "Answer",
    "BudgetAnswer",
    "FeedbackAnswer",
    "GatewayAPI",
    "GatewayError",
    "PoolEntry",
    "Readiness",
    "exchange",
]

_T = TypeVar("_T")
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_UNAUTHORISED = 401


class GatewayError(MixLLMError):
    """The gateway cannot be reached, or refuses.

    Parameters
    ----------
    message
        What happened and what to do.
    status
        HTTP status of its answer; None where there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class PoolEntry(Value, frozen=True, kw_only=True):
    """An LLM of the gateway's pool and what is known of it, as ``GET /v1/llms`` gives it."""

    spec: LLMSpec
    in_flight: int
    judgements: float
    ttft_s: float | None
    tpot_s: float | None
    wait_s: float = 0.0
    refused_s: float = 0.0
    breaker: BreakerStatus | None = None


class FeedbackAnswer(Value, frozen=True, kw_only=True):
    """That a judgement is stored, as ``POST /v1/feedback`` says it."""

    feedback_id: str
    inference_id: str
    duplicate: bool


class BudgetAnswer(Value, frozen=True, kw_only=True):
    """Where the budgets stand, as ``GET /v1/budget`` says it; no period where there is no budget."""

    period: str | None
    start_s: float = 0.0
    end_s: float = 0.0
    when_spent: str = ""
    total: AccountStatus | None = None
    key: AccountStatus | None = None


class Readiness(Value, frozen=True, kw_only=True):
    """What ``GET /health/ready`` says."""

    status: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    llms: int = 0


class _Pool(msgspec.Struct):
    llms: tuple[PoolEntry, ...]


class _States(msgspec.Struct):
    states: tuple[StateInfo, ...]


class _Problem(msgspec.Struct):
    message: str


class _ProblemBody(msgspec.Struct):
    error: _Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes


def exchange(
    url: str,
    *,
    timeout_s: float,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one HTTP request and return its answer; redirects and proxy variables are not followed.

    Parameters
    ----------
    url
        Where to; ``http`` or ``https``.
    timeout_s
        Time limit of each step, and of the whole answer.
    method, body, headers
        What to send.

    Raises
    ------
    InvalidValueError
        Where `url` is none.
    OSError, http.client.HTTPException, UnicodeError
        Where there is no answer.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidValueError("url", masked_url(url), f"a URL ({error})") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidValueError("url", masked_url(url), "a URL that begins with http:// or https://, with a host")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, port, timeout=timeout_s)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    deadline_s = time.monotonic() + timeout_s
    try:
        connection.request(method, path or "/", body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(status=response.status, body=_read(response, deadline_s))
    finally:
        connection.close()


class GatewayAPI:
    """The requests that commands send to a running gateway.

    Parameters
    ----------
    url
        Where it listens; a trailing ``/v1``, as OpenAI clients want it, is understood.
    api_key
        A key of its ``gateway.api_keys``.
    timeout_s
        Time limit of a request.
    """

    def __init__(self, *, url: str, api_key: Secret | None = None, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.timeout_s = timeout_s
        self._api_key = api_key

    def pool(self) -> tuple[PoolEntry, ...]:
        """Return the LLMs of the pool."""
        return self._call("GET", "/v1/llms", _Pool).llms

    def add_llm(self, entry: object) -> LLMSpec:
        """Add an LLM, given as an entry of ``model_list`` or as a spec; return it with its price."""
        return self._call("POST", "/v1/llms", LLMSpec, value=entry)

    def update_llm(self, name: str, changes: Mapping[str, object]) -> LLMSpec:
        """Change fields of an LLM's spec; return it with its price."""
        return self._call("PATCH", f"/v1/llms/{quote(name, safe='')}", LLMSpec, value=changes)

    def remove_llm(self, name: str) -> None:
        """Remove an LLM."""
        self._call("DELETE", f"/v1/llms/{quote(name, safe='')}", dict)

    def feedback(
        self,
        inference_id: str,
        *,
        value: bool | float,
        metric: str = "quality",
        source: str = "user",
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> FeedbackAnswer:
        """Send a judgement: a thumb where `value` is a bool, a score where it is a number."""
        body = {"inference_id": inference_id, "value": value, "metric_name": metric, "source": source}
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._call("POST", "/v1/feedback", FeedbackAnswer, value=body | {"tags": tags or {}}, headers=headers)

    def budget(self) -> BudgetAnswer:
        """Return where the budget over everything and that of the asking key stand."""
        return self._call("GET", "/v1/budget", BudgetAnswer)

    def route(self, body: Mapping[str, object]) -> Decision:
        """Have a chat request decided and explained; nothing is called."""
        return self._call("POST", "/v1/route", Decision, value=body)

    def states(self) -> tuple[StateInfo, ...]:
        """Return what is known of every checkpoint, oldest first."""
        return self._call("GET", "/v1/state", _States).states

    def state(self, version: int) -> StateDetails:
        """Return what is in one checkpoint."""
        from mixllm.learning.state_details import StateDetails  # brings NumPy, which no other request needs

        return self._call("GET", f"/v1/state/{version}", StateDetails)

    def roll_back_state(self, version: int | None, *, relearn: bool) -> RolledBack:
        """Go back to an earlier checkpoint; None takes the last that knows something else."""
        from mixllm.learning.rollback import RolledBack

        return self._call("POST", "/v1/state/rollback", RolledBack, value={"version": version, "relearn": relearn})

    def release_state(self, version: int) -> None:
        """Take a checkpoint out of quarantine."""
        self._call("POST", "/v1/state/release", dict, value={"version": version})

    def readiness(self) -> Readiness:
        """Return whether it can route and learns; asks for no key."""
        answer = self._exchange("GET", "/health/ready", b"", {})
        if answer.status not in {200, 503}:
            raise self._refusal(answer)
        return self._decoded(answer, Readiness)

    def _call(
        self, method: str, path: str, kind: type[_T], *, value: object = None, headers: Mapping[str, str] | None = None
    ) -> _T:
        body = b"" if value is None else msgspec.json.encode(value)
        answer = self._exchange(method, path, body, {**self._authorization(), **(headers or {})})
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        return self._decoded(answer, kind)

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        sent = {"Accept": "application/json", "User-Agent": f"mixllm/{__version__}", **headers}
        if body:
            sent["Content-Type"] = "application/json"
        try:
            return exchange(
                f"{self.url}{path}", timeout_s=self.timeout_s, method=method, body=body or None, headers=sent
            )
        except TimeoutError as error:
            raise GatewayError(
                f"The gateway at {masked_url(self.url)} did not answer within {self.timeout_s:g} s. Look at its log, "
                "or try again."
            ) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise GatewayError(
                f"No gateway answers at {masked_url(self.url)} ({_cause(error)}). Start one: mixllm serve. Or give "
                "another address with --url or MIXLLM_URL."
            ) from error

    def _authorization(self) -> dict[str, str]:
        if self._api_key is None:
            return {}
        key = self._api_key.reveal().strip()
        if not (key.isascii() and key.isprintable()):
            # http.client's own error would show the key.
            raise GatewayError("The API key holds characters that no key has. Check MIXLLM_API_KEY, or --api-key.")
        return {"Authorization": f"Bearer {key}"}

    def _refusal(self, answer: Answer) -> GatewayError:
        shown = masked_url(self.url)
        if answer.status == _UNAUTHORISED:
            said = "asks for an API key" if self._api_key is None else "refuses the API key"
            return GatewayError(
                f"The gateway at {shown} {said}. Set MIXLLM_API_KEY to one of its gateway.api_keys.",
                status=answer.status,
            )
        try:
            message = msgspec.json.decode(answer.body, type=_ProblemBody).error.message
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._stranger(answer)
        return GatewayError(printable(message), status=answer.status)

    def _decoded(self, answer: Answer, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._stranger(answer) from error

    def _stranger(self, answer: Answer) -> GatewayError:
        return GatewayError(
            f"What answers at {masked_url(self.url)} (status {answer.status}) does not speak as this version's gateway "
            "does. Check --url or MIXLLM_URL, or bring both to the same version of mixllm.",
            status=answer.status,
        )


def _read(response: http.client.HTTPResponse, deadline_s: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_ANSWER_BYTES:
            raise http.client.HTTPException(f"its answer is longer than {_MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > deadline_s:
            raise TimeoutError
    return b"".join(chunks)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(str(error))[:200] or type(error).__name__
