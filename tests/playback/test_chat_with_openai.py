"""The official client against the real server."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from mixllm.logs import RoutingLog
from mixllm.playback import TOOL_CALL_MARKER, AnswerBook, ErrorStatus, PlaybackServer

TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["C", "F"]},
                "detail": {"type": "boolean"},
            },
            "required": ["city", "days", "unit"],
        },
    },
}
OTHER: ChatCompletionToolParam = {"type": "function", "function": {"name": "other"}}


def ask(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def client_of(server: PlaybackServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


def test_whole_answers(server: PlaybackServer, log: RoutingLog, book: AnswerBook) -> None:
    with client_of(server) as client:
        for llm in log.llms:
            reply = client.chat.completions.create(model=llm, messages=ask(log.prompts[3]))
            recorded = book.answer(llm, log.prompts[3])
            assert reply.model == llm
            assert reply.choices[0].message.content == recorded.text
            assert reply.choices[0].finish_reason == "stop"
            assert reply.usage is not None
            assert reply.usage.prompt_tokens == log.tokens_in[3, log.column(llm)]
            assert reply.usage.completion_tokens == log.tokens_out[3, log.column(llm)]
            assert reply.usage.total_tokens == recorded.tokens_in + recorded.tokens_out


def test_streamed_answers(server: PlaybackServer, log: RoutingLog, book: AnswerBook) -> None:
    with client_of(server) as client:
        stream = client.chat.completions.create(
            model="dune-medic", messages=ask(log.prompts[0]), stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    recorded = book.answer("dune-medic", log.prompts[0])
    *with_choices, last = chunks
    assert with_choices[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in with_choices[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in with_choices) == recorded.text
    assert [chunk.choices[0].finish_reason for chunk in with_choices] == [None] * (len(with_choices) - 1) + ["stop"]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == recorded.tokens_out
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert max(len(chunk.choices[0].delta.content or "") for chunk in with_choices) == 32


def test_without_the_option_a_stream_has_no_usage(server: PlaybackServer, log: RoutingLog) -> None:
    with client_of(server) as client:
        chunks = list(client.chat.completions.create(model="atlas-large", messages=ask(log.prompts[0]), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_the_async_client(server: PlaybackServer, log: RoutingLog, book: AnswerBook) -> None:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        reply = await client.chat.completions.create(model="atlas-large", messages=ask(log.prompts[1]))
        stream = await client.chat.completions.create(model="atlas-large", messages=ask(log.prompts[1]), stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        listed = [model.id async for model in client.models.list()]
    assert reply.choices[0].message.content == text == book.answer("atlas-large", log.prompts[1]).text
    assert listed == list(log.llms)


def test_any_text_is_answered(server: PlaybackServer) -> None:
    with client_of(server) as client:
        replies = [
            client.chat.completions.create(model="ember-mini", messages=ask("What is this?")).choices for _ in range(2)
        ]
    assert replies[0] == replies[1]
    assert "ember-mini" in (replies[0][0].message.content or "")


def test_the_last_question_counts_and_parts_are_read(server: PlaybackServer, log: RoutingLog, book: AnswerBook) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": log.prompts[5]},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": [{"type": "text", "text": log.prompts[6]}]},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    with client_of(server) as client:
        reply = client.chat.completions.create(model="ember-mini", messages=messages)
    assert reply.choices[0].message.content == book.answer("ember-mini", log.prompts[6]).text


def test_several_choices(server: PlaybackServer, log: RoutingLog, book: AnswerBook) -> None:
    text = book.answer("ember-mini", log.prompts[0]).text
    with client_of(server) as client:
        reply = client.chat.completions.create(model="ember-mini", messages=ask(log.prompts[0]), n=3)
        stream = client.chat.completions.create(model="ember-mini", messages=ask(log.prompts[0]), n=3, stream=True)
        streamed = ["", "", ""]
        for chunk in stream:
            choice = chunk.choices[0]
            streamed[choice.index] += choice.delta.content or ""
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert streamed == [choice.message.content for choice in reply.choices] == [text] * 3
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 3 * book.answer("ember-mini", log.prompts[0]).tokens_out


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_limits_cut_the_answer(server: PlaybackServer, log: RoutingLog, book: AnswerBook, field: str) -> None:
    recorded = book.answer("atlas-large", log.prompts[2])
    limit = recorded.tokens_out // 2
    with client_of(server) as client:
        extra: dict[str, Any] = {field: limit}
        reply = client.chat.completions.create(model="atlas-large", messages=ask(log.prompts[2]), **extra)
        whole = client.chat.completions.create(model="atlas-large", messages=ask(log.prompts[2]), max_tokens=99_999)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == limit
    content = reply.choices[0].message.content or ""
    assert recorded.text.startswith(content)
    assert 0 < len(content) < len(recorded.text)
    assert whole.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "choice", "name"),
    [
        (f"Sunny? {TOOL_CALL_MARKER}", None, "weather"),
        ("Sunny?", "required", "weather"),
        ("Sunny?", {"type": "function", "function": {"name": "weather"}}, "weather"),
        ("Sunny?", {"type": "function", "function": {"name": "other"}}, "other"),
    ],
)
def test_function_calls(server: PlaybackServer, text: str, choice: Any, name: str) -> None:
    extra: dict[str, Any] = {} if choice is None else {"tool_choice": choice}
    with client_of(server) as client:
        reply = client.chat.completions.create(
            model="boreal-pro", messages=ask(text), tools=[TOOL, OTHER], **extra
        ).choices[0]
        stream = client.chat.completions.create(
            model="boreal-pro", messages=ask(text), tools=[TOOL, OTHER], stream=True, **extra
        )
        calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert reply.finish_reason == "tool_calls"
    assert reply.message.content is None
    assert reply.message.tool_calls is not None
    (called,) = reply.message.tool_calls
    assert called.type == "function"
    assert called.function.name == name
    expected = {"city": text, "days": 1, "unit": "C"} if name == "weather" else {}
    assert json.loads(called.function.arguments) == expected
    assert calls[0].function is not None
    assert (calls[0].function.name, calls[0].type, bool(calls[0].id)) == (name, "function", True)
    pieces = [call.function.arguments or "" for call in calls if call.function]
    assert json.loads("".join(pieces)) == expected
    assert {call.index for call in calls} == {0}


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_tools_alone_do_not_make_a_call(server: PlaybackServer, choice: Any) -> None:
    extra: dict[str, Any] = {} if choice is None else {"tool_choice": choice}
    text = TOOL_CALL_MARKER if choice == "none" else "Hello"
    with client_of(server) as client:
        reply = client.chat.completions.create(model="boreal-pro", messages=ask(text), tools=[TOOL], **extra)
    assert reply.choices[0].message.tool_calls is None
    assert reply.choices[0].finish_reason == "stop"


def test_after_the_tool_has_answered_there_is_text(server: PlaybackServer) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": TOOL_CALL_MARKER},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    with client_of(server) as client:
        reply = client.chat.completions.create(model="boreal-pro", messages=messages, tools=[TOOL])
    assert reply.choices[0].message.content


def test_errors_have_the_shape_of_openai(server: PlaybackServer, log: RoutingLog) -> None:
    with client_of(server) as client:
        with pytest.raises(openai.NotFoundError, match="Did you mean 'atlas-large'") as unknown:
            client.chat.completions.create(model="atlas-larg", messages=ask("x"))
        with pytest.raises(openai.BadRequestError, match="n must be between 1 and 128"):
            client.chat.completions.create(model="atlas-large", messages=ask("x"), n=0)
        server.put_faults("atlas-large", ErrorStatus(status=429, retry_after_s=2))
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="atlas-large", messages=ask(log.prompts[0]))
    assert (unknown.value.code, unknown.value.param, unknown.value.type) == (
        "model_not_found",
        "model",
        "invalid_request_error",
    )
    assert limited.value.response.headers["retry-after"] == "2"
    assert limited.value.type == "rate_limit_error"
