"""Failures behind Anthropic's API and the Responses API: the next best answers there too, in their own words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.clients.wire import http_answer, open_wire, say
from tests.gateway.calling.ranking import RANKED, calls_of
from tests.gateway.running import Gateway, Reply

from mixllm.playback import ErrorStatus, PlaybackServer
from mixllm.types import Endpoint, LLMSpec, Price

BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"max_tokens": 50, "messages": [{"role": "user", "content": "What is the capital of France?"}]},
    "/v1/responses": {"input": "What is the capital of France?"},
}
DEAR = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)


def post(gateway: Gateway, path: str, **fields: Any) -> Reply:
    return gateway.ask("POST", path, {"model": "mixllm/auto", **BODIES[path], **fields})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_failure_falls_back_on_the_next_best(
    steady: Gateway, playback: PlaybackServer, path: str, *, stream: bool
) -> None:
    best, second, _ = RANKED
    playback.put_faults(best, ErrorStatus(status=500))

    reply = post(steady, path, stream=stream)

    assert reply.status == 200
    assert reply.headers["x-mixllm-model"] == second
    assert reply.headers["x-mixllm-attempts"] == "2"
    assert calls_of(steady, reply) == [(best, "error", 0), (second, "ok", 1)]
    assert second.encode() in reply.body
    assert (b"message_stop" if path == "/v1/messages" else b"response.completed") in reply.body or not stream
    assert steady.in_flight() == 0


@pytest.mark.parametrize("path", BODIES)
def test_where_all_fail_the_error_is_told_in_its_own_words(
    steady: Gateway, playback: PlaybackServer, path: str
) -> None:
    for llm in RANKED:
        playback.put_faults(llm, ErrorStatus(status=500))

    reply = post(steady, path)

    assert (reply.status, reply.headers["x-mixllm-attempts"]) == (502, "3")
    assert set(json.loads(reply.body)) == ({"type", "error"} if path == "/v1/messages" else {"error"})


async def test_a_request_in_the_form_of_one_llm_goes_to_no_other_that_does_not_take_it(own: Gateway) -> None:
    failing = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"
    answer = b'{"id":"resp_1","object":"response","output":[],"model":"theirs"}'
    async with open_wire(say(failing)) as broken, open_wire(say(http_answer(answer))) as other:
        both = frozenset({Endpoint.RESPONSES})
        first = LLMSpec(name="first", api_base=broken.base_url, price=DEAR, endpoints=both, public_score=0.999)
        second = LLMSpec(name="second", api_base=other.base_url, price=DEAR, endpoints=both, public_score=0.1)
        with own.with_llm(first), own.with_llm(second):
            alone = await asyncio.to_thread(
                post, own, "/v1/responses", mixllm={"allowed_llms": ["first", "ember-mini"]}
            )
            two = await asyncio.to_thread(
                post, own, "/v1/responses", mixllm={"allowed_llms": ["first", "ember-mini", "second"]}
            )

    assert alone.status == 502
    assert [llm for llm, _, _ in calls_of(own, alone)] == ["first"]
    assert two.status == 200
    assert calls_of(own, two) == [("first", "error", 0), ("second", "ok", 1)]
