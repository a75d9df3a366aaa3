"""Embeddings: passed on to one LLM, recorded, never routed between models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import openai
import pytest
from tests.clients.wire import WireServer, http_answer, open_wire, say
from tests.gateway.running import Gateway

from mixllm.types import Endpoint, LLMSpec, Price

ANSWER = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,-1e-3]}],"model":"text-embed-3",'
    b'"usage":{"prompt_tokens":1000,"total_tokens":1000},"x_unknown":1.0}'
)
EMBEDDINGS = frozenset({Endpoint.EMBEDDINGS})


def embedder(wire: WireServer, name: str, *, model: str = "text-embed-3", usd: float = 2.0) -> LLMSpec:
    price = Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=0)
    return LLMSpec(name=name, model=model, api_base=wire.base_url, price=price, endpoints=EMBEDDINGS)


@contextmanager
def pool_of(gateway: Gateway, *specs: LLMSpec) -> Iterator[None]:
    with ExitStack() as stack:
        for spec in specs:
            stack.enter_context(gateway.with_llm(spec))
        yield


async def ask(gateway: Gateway, **fields: Any) -> Any:
    return await asyncio.to_thread(
        gateway.ask, "POST", "/v1/embeddings", {"model": "mixllm/auto", "input": "hi", **fields}
    )


async def test_vectors_come_back_as_they_were_given_and_their_cost_is_kept(gateway: Gateway) -> None:
    asked = {"input": ["one", "two"], "encoding_format": "float", "dimensions": 2, "x_unknown": {"a": 1.0}}
    async with open_wire(say(http_answer(ANSWER))) as wire:
        with pool_of(gateway, embedder(wire, "vectors")):
            before = gateway.learned()
            reply = await ask(gateway, model="vectors", **asked)
            learned = gateway.learned()

    assert wire.requests[0].path == "/v1/embeddings"
    assert json.loads(wire.requests[0].body) == {"model": "text-embed-3", **asked}
    assert reply.body == ANSWER.replace(b"text-embed-3", b"vectors")
    assert reply.headers["x-mixllm-cost-usd"] == "0.002000000"
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert (outcome["status"], outcome["tokens_in"], outcome["tokens_out"]) == ("ok", 1000, None)
    assert outcome["cost_usd"] == pytest.approx(0.002)
    # Vectors say nothing of how long and how dear answers are.
    assert {name.rpartition(".")[2] for name in learned if learned[name] != before[name]} <= {"position", "spent_usd"}


async def test_openai_s_client_gets_them(gateway: Gateway) -> None:
    async with open_wire(say(http_answer(ANSWER))) as wire:
        with pool_of(gateway, embedder(wire, "vectors")):
            async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as opened:
                answer = await opened.embeddings.create(model="vectors", input="hi", encoding_format="float")

    assert answer.data[0].embedding == [0.1, -0.001]
    assert answer.model == "vectors"


async def test_auto_is_the_only_one_or_the_cheapest_of_the_same_model(gateway: Gateway) -> None:
    async with open_wire(say(http_answer(ANSWER))) as wire:
        dear, cheap = embedder(wire, "dear"), embedder(wire, "cheap", usd=1.0)
        with pool_of(gateway, dear):
            only = await ask(gateway)
            with pool_of(gateway, cheap):
                cheapest = await ask(gateway)
                allowed = await ask(gateway, mixllm={"allowed_llms": ["dear"]})

    assert [reply.headers["x-mixllm-model"] for reply in (only, cheapest, allowed)] == ["dear", "cheap", "dear"]


async def test_different_models_are_not_routed_between(gateway: Gateway) -> None:
    async with open_wire(say(http_answer(ANSWER))) as wire:
        with pool_of(gateway, embedder(wire, "a"), embedder(wire, "b", model="other")):
            reply = await ask(gateway)

    assert reply.status == 400
    assert "a, b" in reply.error["message"]
    assert wire.requests == []


async def test_nothing_else_is_routed_to_an_llm_that_embeds(gateway: Gateway) -> None:
    async with open_wire(say(http_answer(ANSWER))) as wire:
        with pool_of(gateway, embedder(wire, "vectors")):
            reply = await asyncio.to_thread(
                gateway.ask, "POST", "/v1/route", {"messages": [{"role": "user", "content": "hi"}]}
            )

    assert reply.json["ineligible"] == [{"llm": "vectors", "reason": "does not serve chat"}]


def test_an_llm_that_does_not_embed_is_not_asked(gateway: Gateway) -> None:
    named = gateway.ask("POST", "/v1/embeddings", {"model": "atlas-large", "input": "hi"})
    auto = gateway.ask("POST", "/v1/embeddings", {"model": "mixllm/auto", "input": "hi"})

    assert [named.status, auto.status] == [422, 422]
    assert "mode: embedding" in named.error["message"]
    assert "does not serve embeddings" in auto.error["message"]


@pytest.mark.parametrize(
    ("given", "tokens"), [("12345678", 2), (["1234", "12345678"], 3), ([1, 2, 3], 3), ([[1, 2], [3]], 3)]
)
async def test_the_length_of_every_kind_of_input_is_known(gateway: Gateway, given: object, tokens: int) -> None:
    async with open_wire(say(http_answer(ANSWER))) as wire:
        with pool_of(gateway, embedder(wire, "vectors")):
            reply = await ask(gateway, input=given)

    assert gateway.ask("GET", f"/v1/decisions/{reply.inference_id}").json["decision"]["tokens_in"] == tokens


@pytest.mark.parametrize("fields", [{"input": 7}, {"input": {"a": 1}}, {"input": None}, {"model": ""}])
def test_what_cannot_be_embedded_is_refused(gateway: Gateway, fields: dict[str, Any]) -> None:
    reply = gateway.ask("POST", "/v1/embeddings", {"model": "mixllm/auto", "input": "hi", **fields})

    assert reply.status == 400
    assert reply.error["param"] in fields
