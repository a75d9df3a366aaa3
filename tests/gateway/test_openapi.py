"""The description of the gateway: whole, valid, and the same in the documentation as over HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import schemathesis
from tests.gateway.running import Gateway, config_for

from mixllm import __version__
from mixllm.gateway.app import _ROUTES
from mixllm.gateway.openapi import OPERATIONS, Operation, describe
from mixllm.gateway.scopes import OPEN_PATHS, SCOPES
from mixllm.playback import PlaybackServer

PAGE = Path(__file__).parents[2] / "docs" / "openapi.json"


def named_alike(method: str, path: str) -> tuple[str, str]:
    """Return a route whatever its parameters are called."""
    return method, re.sub(r"\{[^}]*\}", "{}", path)


def test_every_route_is_described_and_every_described_one_is_there() -> None:
    described = [named_alike(operation.method, operation.path) for operation in OPERATIONS]
    served = [*((method, path) for method, path, _ in _ROUTES), ("GET", "/dashboard/data")]
    assert sorted(described) == sorted(named_alike(method, path) for method, path in served)


def test_every_described_operation_needs_no_key_or_has_its_scopes() -> None:
    for operation in OPERATIONS:
        assert operation.path in OPEN_PATHS or (operation.method, operation.path) in SCOPES


def test_it_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(describe("1")).validate()


def test_streams_have_no_schema_that_a_reader_could_hold_against_their_events() -> None:
    streams = [
        answer["content"]["text/event-stream"]
        for methods in describe("1")["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
        if "text/event-stream" in answer["content"]
    ]
    assert streams == [{}] * sum(operation.streams for operation in OPERATIONS) != []


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    text = json.dumps(describe("1"))
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred == set(describe("1")["components"]["schemas"])


def test_names_of_operations_are_unique() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_the_documentation_has_it_as_it_is() -> None:
    assert json.loads(PAGE.read_text()) == json.loads(json.dumps(describe(__version__))), (
        "Renew docs/openapi.json: python scripts/update_openapi.py"
    )


def test_everybody_may_read_it_and_nothing_of_the_gateway_s_own_is_in_it(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(pool, tmp_path / "mixllm.db", gateway={"api_keys": ["sk-secret"]})
    with Gateway(config) as gateway:
        assert gateway.ask("GET", "/v1/models").status == 401
        reply = gateway.ask("GET", "/openapi.json")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == json.loads(json.dumps(describe(__version__)))
    assert not any(spec.name in reply.body.decode() for spec in pool.llm_specs())


@pytest.mark.parametrize(
    "operation",
    # No LLM of this pool can embed.
    [one for one in OPERATIONS if one.example and "{" not in one.path and one.name != "createEmbedding"],
    ids=lambda operation: operation.name,
)
def test_examples_can_be_sent_as_they_are(operation: Operation, gateway: Gateway) -> None:
    reply = gateway.ask(operation.method, operation.path, operation.example)
    assert reply.status == operation.status, reply.body
    if operation.name == "addLLM":
        assert operation.example is not None
        gateway.ask("DELETE", f"/v1/llms/{operation.example['name']}")
