"""Answers: JSON, OpenAI's error shape, and which status each error has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from mixllm.errors import (
    BudgetExhaustedError,
    ConfigError,
    ConflictingEventError,
    DuplicateLLMError,
    InvalidValueError,
    MissingExtraError,
    MixLLMError,
    NoEligibleLLMError,
    PoolBusyError,
    StoreError,
    UnknownDecisionError,
    UnknownLLMError,
    UnknownPriceError,
    UpstreamError,
    UpstreamStatusError,
    UpstreamTimeoutError,
)
from mixllm.gateway.bodies import BodyTooLargeError, InvalidBodyError, UnsupportedMediaError
from mixllm.gateway.permissions import ForbiddenLLMError

__all__ = [
    "StoppingError",
    "error_event",
    "error_response",
    "is_of_the_request",
    "json_response",
    "problem",
    "raw_response",
]

JSON = "application/json"


class StoppingError(MixLLMError):
    """The gateway was told to stop, and did not wait any longer for this answer."""

    def __init__(self) -> None:
        super().__init__("The gateway is stopping. Send the request again in a moment.")


_NO_MONEY = "insufficient_quota"
"""OpenAI's own code, and type, for it: its clients do not try again at once."""

_STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (BodyTooLargeError, 413, "request_too_large"),
    (UnsupportedMediaError, 415, "unsupported_media_type"),
    (InvalidBodyError, 400, "invalid_request"),
    (ForbiddenLLMError, 403, "model_not_allowed"),
    (UnknownDecisionError, 404, "unknown_inference_id"),
    (ConflictingEventError, 409, "conflicting_feedback"),
    (UnknownLLMError, 404, "model_not_found"),
    (DuplicateLLMError, 409, "duplicate_llm"),
    (UnknownPriceError, 422, "unknown_price"),
    (PoolBusyError, 429, "pool_busy"),
    (NoEligibleLLMError, 422, "no_eligible_llm"),
    (BudgetExhaustedError, 429, _NO_MONEY),
    (ConfigError, 422, "invalid_llm"),
    (InvalidValueError, 400, "invalid_value"),
    (UpstreamTimeoutError, 504, "upstream_timeout"),
    (UpstreamError, 502, "upstream_error"),
    (StoreError, 503, "store_unavailable"),
    (StoppingError, 503, "stopping"),
    (MissingExtraError, 501, "not_installed"),
    (MixLLMError, 500, "internal_error"),
)
"""First match wins."""

_UPSTREAM_STATUSES_PASSED_ON = frozenset({400, 404, 408, 409, 413, 415, 422, 429})
"""Faults of the request: the caller can act on them. The rest are the endpoint's, or the gateway's own key's: 502."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class _Error(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), status, headers, JSON)


def raw_response(body: bytes, *, content_type: str, headers: Mapping[str, str]) -> Response:
    """Return `body` as it is."""
    return Response(body, 200, headers, content_type)


def problem(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error in OpenAI's shape."""
    return json_response({"error": _error(status, message, code, param)}, status=status, headers=headers)


def error_response(error: Exception, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request that failed with `error`.

    An upstream's error of the request's own making (a context that is too long, a rate limit) is passed on as it came.
    """
    if isinstance(error, UpstreamStatusError):
        return _upstream_status(error, dict(headers or {}))
    status, code = _status_of(error)
    if isinstance(error, BudgetExhaustedError | PoolBusyError):
        headers = {**(headers or {}), "retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    return problem(status, str(error), code=code, param=_param_of(error), headers=headers)


def error_event(error: Exception) -> bytes:
    """Return the server-sent event that ends a broken stream."""
    status, code = _status_of(error)
    return b"data: " + msgspec.json.encode({"error": _error(status, str(error), code, None)}) + b"\n\n"


def is_of_the_request(error: UpstreamError) -> bool:
    """Return whether `error` is of the request's own making: a fault in it, or that there are too many of them."""
    return isinstance(error, UpstreamStatusError) and error.status in _UPSTREAM_STATUSES_PASSED_ON


def _upstream_status(error: UpstreamStatusError, headers: dict[str, str]) -> Response:
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if not is_of_the_request(error):
        hint = " Check its api_key." if error.status in {401, 403} else ""
        return problem(502, f"{error}{hint}", code="upstream_error", headers=headers)
    if _is_error_body(error.body):
        return Response(error.body, error.status, headers, JSON)
    return problem(error.status, str(error), code="upstream_error", headers=headers)


def _is_error_body(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("error"), msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _status_of(error: Exception) -> tuple[int, str]:
    if isinstance(error, NoEligibleLLMError) and not error.reasons:
        return HTTPStatus.SERVICE_UNAVAILABLE, "empty_pool"  # nothing that the request could do better
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            return status, code
    return HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"


def _param_of(error: Exception) -> str | None:
    if isinstance(error, InvalidBodyError):
        return error.param
    if isinstance(error, InvalidValueError):
        return error.parameter
    return "model" if isinstance(error, UnknownLLMError | ForbiddenLLMError) else None


def _error(status: int, message: str, code: str | None, param: str | None) -> _Error:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    if code == _NO_MONEY:
        kind = code
    return _Error(message=message, type=kind, param=param, code=code)
