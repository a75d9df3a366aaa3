"""OpenAI's own client against the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from tests.gateway.running import Gateway

from mixllm.playback import TOOL_CALL_MARKER, AnswerBook, PlaybackServer
from mixllm.types import LLMSpec

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def async_client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


def test_a_plain_answer_is_the_upstreams(client: openai.OpenAI, book: AnswerBook) -> None:
    text = book.log.prompts[0]

    answer = client.chat.completions.create(model="mixllm/auto", messages=[{"role": "user", "content": text}])

    assert answer.model in book.llms
    recorded = book.answer(answer.model, text)
    assert recorded.recorded
    assert answer.choices[0].message.content == recorded.text
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (recorded.tokens_in, recorded.tokens_out)


async def test_the_async_client_gets_plain_and_streamed_answers(
    async_client: openai.AsyncOpenAI, book: AnswerBook
) -> None:
    chat: list[ChatCompletionMessageParam] = [{"role": "user", "content": book.log.prompts[1]}]

    answer = await async_client.chat.completions.create(model="mixllm/auto", messages=chat)
    stream = await async_client.chat.completions.create(model=answer.model, messages=chat, stream=True)
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(pieces) == answer.choices[0].message.content == book.answer(answer.model, book.log.prompts[1]).text
    assert len(pieces) > 2


def test_a_stream_names_the_llm_in_every_chunk_and_ends(client: openai.OpenAI, book: AnswerBook) -> None:
    chunks = list(client.chat.completions.create(model="mixllm/auto", messages=QUESTION, stream=True))

    assert {chunk.model for chunk in chunks} <= set(book.llms)
    assert len({chunk.model for chunk in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_usage_chunk_comes_only_where_it_is_asked_for(client: openai.OpenAI, playback: PlaybackServer) -> None:
    without = list(client.chat.completions.create(model="atlas-large", messages=QUESTION, stream=True))
    sent_without = msgspec.json.decode(playback.requests(1)[0].body)
    asked = list(
        client.chat.completions.create(
            model="atlas-large", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    assert sent_without["stream_options"] == {"include_usage": True}
    assert all(chunk.usage is None and chunk.choices for chunk in without)
    assert all(chunk.usage is None for chunk in asked[:-1])
    assert asked[-1].usage is not None
    assert asked[-1].choices == []
    assert [chunk.choices for chunk in without] == [chunk.choices for chunk in asked[:-1]]


def test_a_stream_without_its_usage_is_recorded_with_it(gateway: Gateway) -> None:
    reply = gateway.chat("atlas-large", stream=True)

    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert outcome["status"] == "ok"
    assert outcome["streamed"] is True
    assert outcome["tokens_out"] > 0
    assert outcome["cost_usd"] > 0
    assert 0 <= outcome["ttft_s"] <= outcome["latency_s"]


def test_other_stream_options_are_kept(gateway: Gateway, playback: PlaybackServer) -> None:
    gateway.chat("atlas-large", stream=True, stream_options={"include_obfuscation": False, "include_usage": False})

    sent = msgspec.json.decode(playback.requests(1)[0].body)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_an_endpoint_without_stream_usage_is_not_asked_for_it(gateway: Gateway, playback: PlaybackServer) -> None:
    plain = playback.llm_specs()[0]
    spec = msgspec.structs.replace(plain, name="old-server", model=plain.name, stream_usage=False)

    with gateway.with_llm(spec):
        reply = gateway.chat("old-server", stream=True)

    sent = msgspec.json.decode(playback.requests(1)[0].body)
    assert "stream_options" not in sent
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert outcome["tokens_out"] >= 1
    assert (
        outcome["tokens_in"] == gateway.ask("GET", f"/v1/decisions/{reply.inference_id}").json["decision"]["tokens_in"]
    )


def test_a_tool_call_passes_through(client: openai.OpenAI, playback: PlaybackServer) -> None:
    chat: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"Weather in Oslo? {TOOL_CALL_MARKER}"}]

    answer = client.chat.completions.create(
        model="mixllm/auto", messages=chat, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False
    )
    stream = client.chat.completions.create(model=answer.model, messages=chat, tools=[WEATHER], stream=True)
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]

    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls is not None
    (called,) = answer.choices[0].message.tool_calls
    assert called.type == "function"
    assert called.function.name == "weather"
    assert set(msgspec.json.decode(called.function.arguments)) == {"city"}
    assert calls[0].function is not None
    assert calls[0].function.name == "weather"
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert arguments == called.function.arguments
    assert msgspec.json.decode(playback.requests(1)[0].body)["tools"] == [WEATHER]


def test_tools_and_json_answers_need_llms_that_can(gateway: Gateway, playback: PlaybackServer) -> None:
    plain = playback.llm_specs()[0]
    spec = msgspec.structs.replace(plain, name="text-only", model=plain.name, capabilities=frozenset())

    with gateway.with_llm(spec):
        tools = gateway.ask("POST", "/v1/route", {"messages": [{"role": "user", "content": "x"}], "tools": [WEATHER]})
        answer_format = gateway.ask(
            "POST",
            "/v1/route",
            {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}},
        )

    assert tools.json["ineligible"] == [{"llm": "text-only", "reason": "cannot do tools"}]
    assert answer_format.json["ineligible"] == [{"llm": "text-only", "reason": "cannot do json"}]


def test_a_response_format_passes_through(client: openai.OpenAI, playback: PlaybackServer) -> None:
    schema: Any = {"name": "answer", "strict": True, "schema": {"type": "object", "properties": {}}}

    client.chat.completions.create(
        model="mixllm/auto", messages=QUESTION, response_format={"type": "json_schema", "json_schema": schema}
    )

    sent = msgspec.json.decode(playback.requests(1)[0].body)
    assert sent["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_models_are_listed_and_retrieved(client: openai.OpenAI, book: AnswerBook) -> None:
    names = [model.id for model in client.models.list()]

    assert names[:4] == ["mixllm/auto", "mixllm/auto:cost", "mixllm/auto:quality", "mixllm/auto:fast"]
    assert set(names[4:]) == set(book.llms)
    assert client.models.retrieve("mixllm/auto:cost").id == "mixllm/auto:cost"
    assert client.models.retrieve("atlas-large").object == "model"
    with pytest.raises(openai.NotFoundError, match="no-such"):
        client.models.retrieve("no-such")


def test_the_headers_say_what_was_decided(client: openai.OpenAI, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model="mixllm/auto", messages=QUESTION)

    answer = raw.parse()
    known = gateway.ask("GET", f"/v1/decisions/{raw.headers['x-mixllm-inference-id']}").json
    assert raw.headers["x-mixllm-model"] == answer.model == known["decision"]["llm"]
    assert raw.headers["x-mixllm-reason"] == known["decision"]["reason"]
    assert float(raw.headers["x-mixllm-out-of-domain"]) == known["decision"]["out_of_domain"] == 0.0
    assert float(raw.headers["x-mixllm-cost-usd"]) == pytest.approx(known["outcomes"][0]["cost_usd"], abs=1e-9)
    assert float(raw.headers["x-mixllm-cost-usd"]) > 0
    assert 0 < float(raw.headers["x-mixllm-overhead-ms"]) < 10_000


def test_a_stream_has_the_headers_too(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="atlas-large", messages=QUESTION, stream=True
    ) as raw:
        headers = dict(raw.headers)
        raw.read()

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-mixllm-model"] == "atlas-large"
    assert {"x-mixllm-inference-id", "x-mixllm-overhead-ms", "x-mixllm-reason"} <= set(headers)


def test_a_concrete_model_bypasses_routing(client: openai.OpenAI, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model="dune-medic", messages=QUESTION)

    decision = gateway.ask("GET", f"/v1/decisions/{raw.headers['x-mixllm-inference-id']}").json["decision"]
    assert raw.parse().model == "dune-medic"
    assert decision["policy"] == "forced"
    assert [candidate["propensity"] for candidate in decision["candidates"]] == [1.0]


def test_the_answer_carries_the_name_of_the_pool(client: openai.OpenAI, gateway: Gateway, pool: PlaybackServer) -> None:
    spec = msgspec.structs.replace(pool.llm_specs()[0], name="team/Größte", model="atlas-large")

    with gateway.with_llm(spec):
        raw = client.chat.completions.with_raw_response.create(model="team/Größte", messages=QUESTION)
        chunks = list(client.chat.completions.create(model="team/Größte", messages=QUESTION, stream=True))

    assert raw.parse().model == "team/Größte"
    assert {chunk.model for chunk in chunks} == {"team/Größte"}
    assert raw.headers["x-mixllm-model"] == "team/Gr??te"
    assert msgspec.json.decode(pool.requests(1)[0].body)["model"] == "atlas-large"


def test_an_unknown_model_is_refused_with_the_nearest_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"Did you mean 'atlas-large'\?") as refusal:
        client.chat.completions.create(model="atlas-larg", messages=QUESTION)

    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("model", ["mixllm/", "mixllm/atuo", "mixllm/auto:cheap", "mixllm/auto-x", "mixllm/auto--1"])
def test_an_unknown_routing_model_is_refused(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="mixllm/auto") as refusal:
        client.chat.completions.create(model=model, messages=QUESTION)

    assert refusal.value.param == "model"


def test_constraints_of_a_request_are_kept_and_not_passed_on(client: openai.OpenAI, playback: PlaybackServer) -> None:
    answer = client.chat.completions.create(
        model="mixllm/auto",
        messages=QUESTION,
        extra_body={"mixllm": {"allowed_llms": ["dune-medic"], "lambda": 0.5, "max_cost_usd": 1}},
    )

    assert answer.model == "dune-medic"
    assert "mixllm" not in msgspec.json.decode(playback.requests(1)[0].body)


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ({"max_cost": 1}, "max_cost"),
        ({"lambda": -1}, "trade_off"),
        ({"min_quality": 2}, "min_quality"),
        ({"allowed_llms": "atlas-large"}, "allowed_llms"),
        ("fast", "mixllm"),
    ],
)
def test_constraints_that_mean_nothing_are_refused(client: openai.OpenAI, wishes: object, complaint: str) -> None:
    with pytest.raises(openai.BadRequestError, match=complaint):
        client.chat.completions.create(model="mixllm/auto", messages=QUESTION, extra_body={"mixllm": wishes})


def test_constraints_that_nobody_meets_say_why_for_each_llm(client: openai.OpenAI, book: AnswerBook) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refusal:
        client.chat.completions.create(
            model="mixllm/auto", messages=QUESTION, extra_body={"mixllm": {"max_cost_usd": 0}}
        )

    assert refusal.value.code == "no_eligible_llm"
    assert all(llm in refusal.value.message for llm in book.llms)


def test_an_llm_that_left_between_decision_and_call_is_not_called(
    gateway: Gateway, playback: PlaybackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = msgspec.structs.replace(playback.llm_specs()[0], name="fleeting", model="atlas-large")
    gateway.router.add_llm(spec)
    route = gateway.router.route

    def route_and_remove(*arguments: Any, **options: Any) -> Any:
        decision = route(*arguments, **options)
        monkeypatch.setattr(gateway.router, "route", route)
        gateway.router.remove_llm("fleeting")
        return decision

    monkeypatch.setattr(gateway.router, "route", route_and_remove)
    reply = gateway.chat("fleeting")

    assert reply.status == 404
    assert reply.error["code"] == "model_not_found"
    assert gateway.in_flight() == 0


def test_a_call_of_an_llm_that_was_removed_meanwhile_is_priced(gateway: Gateway, playback: PlaybackServer) -> None:
    price = playback.book.price("atlas-large")
    spec = LLMSpec(name="leaving", model="atlas-large", api_base=playback.base_url, price=price)
    record = gateway.router.record
    gateway.router.add_llm(spec)

    def remove_and_record(*arguments: Any) -> Any:
        gateway.router.remove_llm("leaving")
        return record(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway.router, "record", remove_and_record)
        reply = gateway.chat("leaving")

    assert reply.status == 200
    assert float(reply.headers["x-mixllm-cost-usd"]) > 0
