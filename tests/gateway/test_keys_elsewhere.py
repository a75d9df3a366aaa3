"""Limits of keys at the endpoints beside the chat: no protocol is a way around them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.clients.wire import http_answer, open_wire, say
from tests.gateway.running import Gateway, Reply, config_for

from mixllm.config import key_name
from mixllm.playback import PlaybackServer
from mixllm.types import Endpoint, LLMSpec, Price, Secret

BOUNDED, THRIFTY, EMBEDDER = (f"mxk_{name}-{'x' * 40}" for name in "abc")
PATHS = ("/v1/messages", "/v1/responses")
ALLOWED, OTHER = "boreal-pro", "atlas-large"
VECTORS = b'{"object":"list","data":[],"model":"m","usage":{"prompt_tokens":10,"total_tokens":10}}'


@pytest.fixture(scope="module")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = [
        {"name": "bounded", "key": BOUNDED, "allowed_llms": [ALLOWED]},
        {"name": "thrifty", "key": THRIFTY, "max_cost_usd": 1e-9},
        {"name": "embedder", "key": EMBEDDER, "allowed_llms": ["vectors"]},
    ]
    with Gateway(config_for(pool, tmp_path_factory.mktemp("keys") / "m.db", gateway={"keys": keys})) as running:
        yield running


def ask(gateway: Gateway, key: str, path: str, model: str = "mixllm/auto", **fields: Any) -> Reply:
    messages = {"max_tokens": 50, "messages": [{"role": "user", "content": "Hi there."}]}
    body = {"model": model, **(messages if path == "/v1/messages" else {"input": "Hi there."}), **fields}
    return gateway.ask("POST", path, body, {"authorization": f"Bearer {key}"})


@pytest.mark.parametrize("path", PATHS)
def test_only_allowed_llms_answer(gateway: Gateway, path: str) -> None:
    for model in ("mixllm/auto", ALLOWED):
        reply = ask(gateway, BOUNDED, path, model)
        assert reply.headers["x-mixllm-model"] == ALLOWED
        decision = gateway.router.decision(reply.inference_id).decision
        assert decision.key_id == key_name(Secret(BOUNDED))
    named = ask(gateway, BOUNDED, path, OTHER)
    assert named.status == 403
    assert OTHER in named.json["error"]["message"]


@pytest.mark.parametrize("model", ["mixllm/auto", OTHER])
@pytest.mark.parametrize("path", PATHS)
def test_no_request_costs_more_than_its_key_may_spend_on_one(gateway: Gateway, path: str, model: str) -> None:
    reply = ask(gateway, THRIFTY, path, model)

    assert reply.status == 422
    assert "cost" in reply.json["error"]["message"]


async def test_embeddings_come_from_allowed_llms_alone(gateway: Gateway) -> None:
    async with open_wire(say(http_answer(VECTORS))) as wire:
        price = Price(usd_per_million_tokens_in=2, usd_per_million_tokens_out=0)
        specs = [
            LLMSpec(name=name, api_base=wire.base_url, price=price, endpoints=frozenset({Endpoint.EMBEDDINGS}))
            for name in ("vectors", "others")
        ]
        with gateway.with_llm(specs[0]), gateway.with_llm(specs[1]):

            async def embed(key: str, model: str) -> Reply:
                return await asyncio.to_thread(ask, gateway, key, "/v1/embeddings", model)

            only, named = await embed(EMBEDDER, "mixllm/auto"), await embed(EMBEDDER, "vectors")
            forbidden, none = await embed(EMBEDDER, "others"), await embed(BOUNDED, "mixllm/auto")
            dear = await embed(THRIFTY, "vectors")

    assert [only.headers["x-mixllm-model"], named.headers["x-mixllm-model"]] == ["vectors", "vectors"]
    assert (forbidden.status, forbidden.error["code"]) == (403, "model_not_allowed")
    assert (none.status, none.error["code"]) == (422, "no_eligible_llm")
    assert (dear.status, dear.error["code"]) == (422, "no_eligible_llm")
    assert len(wire.requests) == 2
