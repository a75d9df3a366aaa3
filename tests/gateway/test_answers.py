from __future__ import annotations

import json

import pytest

from mixllm.errors import (
    ConfigError,
    ConflictingEventError,
    DuplicateLLMError,
    InvalidValueError,
    MixLLMError,
    NoEligibleLLMError,
    StateError,
    StoreClosedError,
    StoreError,
    UnknownDecisionError,
    UnknownLLMError,
    UnknownPriceError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatusError,
    UpstreamTimeoutError,
)
from mixllm.gateway.answers import error_event, error_response, problem


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (UnknownDecisionError("x"), 404, "not_found_error", "unknown_inference_id"),
        (ConflictingEventError("x"), 409, "invalid_request_error", "conflicting_feedback"),
        (UnknownLLMError("x", ["y"]), 404, "not_found_error", "model_not_found"),
        (DuplicateLLMError("x"), 409, "invalid_request_error", "duplicate_llm"),
        (UnknownPriceError("x", "x"), 422, "invalid_request_error", "unknown_price"),
        (NoEligibleLLMError({"x": "too dear"}), 422, "invalid_request_error", "no_eligible_llm"),
        (NoEligibleLLMError({}), 503, "server_error", "empty_pool"),
        (ConfigError("x"), 422, "invalid_request_error", "invalid_llm"),
        (InvalidValueError("x", 1, "2"), 400, "invalid_request_error", "invalid_value"),
        (UpstreamTimeoutError("x", "late"), 504, "server_error", "upstream_timeout"),
        (UpstreamProtocolError("x", "odd"), 502, "server_error", "upstream_error"),
        (UpstreamError("x", "down"), 502, "server_error", "upstream_error"),
        (StoreError("x"), 503, "server_error", "store_unavailable"),
        (StoreClosedError(), 503, "server_error", "store_unavailable"),
        (StateError("x"), 500, "server_error", "internal_error"),
        (MixLLMError("x"), 500, "server_error", "internal_error"),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int, kind: str, code: str) -> None:
    response = error_response(error, headers={"x-mixllm-model": "m"})
    event = error_event(error)

    body = json.loads(bytes(response.body))
    assert response.status_code == status
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert body["error"]["message"] == str(error)
    assert response.headers["x-mixllm-model"] == "m"
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == code


@pytest.mark.parametrize(("asked_s", "told"), [(None, None), (0.0, "0"), (0.2, "1"), (1.5, "2"), (30.0, "30")], ids=str)
def test_the_wait_that_is_passed_on_is_never_shorter(asked_s: float | None, told: str | None) -> None:
    response = error_response(UpstreamStatusError("x", 429, b"", asked_s))

    assert response.status_code == 429
    assert response.headers.get("retry-after") == told


@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 415, 422, 429])
def test_the_request_s_own_faults_are_passed_on(status: int) -> None:
    body = b'{"error":{"message":"too long","type":"t","param":"messages","code":"c","more":1.0}}'

    response = error_response(UpstreamStatusError("x", status, body))

    assert response.status_code == status
    assert bytes(response.body) == body


@pytest.mark.parametrize("status", [401, 402, 403, 405, 451, 500, 501, 502, 503, 504, 529, 301])
def test_the_endpoint_s_faults_are_the_gateway_s_and_tell_nothing_of_its_body(status: int) -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-123"}}'

    response = error_response(UpstreamStatusError("x", status, body, 3.0))

    assert response.status_code == 502
    assert b"sk-123" not in bytes(response.body)
    assert str(status) in json.loads(bytes(response.body))["error"]["message"]
    assert response.headers["retry-after"] == "3"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"detail":"x"}', b"\xff", b'{"error":', b"[" * 100_000])
def test_a_body_that_is_no_error_is_replaced_by_one(body: bytes) -> None:
    response = error_response(UpstreamStatusError("x", 400, body))

    assert response.status_code == 400
    assert json.loads(bytes(response.body))["error"]["code"] == "upstream_error"


def test_a_problem_has_the_shape_of_openai_s_errors() -> None:
    response = problem(401, "No.", code="c", param="p", headers={"www-authenticate": "Bearer"})

    assert response.headers["content-type"] == "application/json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert json.loads(bytes(response.body)) == {
        "error": {"message": "No.", "type": "authentication_error", "param": "p", "code": "c"}
    }
