"""What OpenAI's client does beyond `tests/gateway/test_chat.py`: structured output, its stream helpers, raw answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel
from tests.gateway.running import Gateway

from mixllm.playback import TOOL_CALL_MARKER, AnswerBook

MODEL = "mixllm/auto"


class Answer(BaseModel):
    city: str
    population: int


@pytest.fixture
def client(endpoint: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="sk-test", max_retries=0) as opened:
        yield opened


@pytest.fixture
async def async_client(endpoint: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="sk-test", max_retries=0) as opened:
        yield opened


def chat(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_structured_output_is_parsed(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model=MODEL, messages=chat("What is Rome?"), response_format=Answer)

    assert parsed.choices[0].message.parsed == Answer(city="What is Rome?", population=1)


async def test_structured_output_is_parsed_from_a_stream(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(
        model=MODEL, messages=chat("What is Rome?"), response_format=Answer
    ) as stream:
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()

    assert {"content.delta", "content.done"} <= kinds
    assert final.choices[0].message.parsed == Answer(city="What is Rome?", population=1)


async def test_tools_are_parsed_from_a_stream(async_client: openai.AsyncOpenAI) -> None:
    tools = [pydantic_function_tool(Answer, name="answer")]
    async with async_client.chat.completions.stream(
        model=MODEL, messages=chat(f"Rome? {TOOL_CALL_MARKER}"), tools=tools
    ) as stream:
        final = await stream.get_final_completion()

    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0].function.parsed_arguments, Answer)


def test_raw_answers_carry_the_gateway_s_headers_and_take_feedback(client: openai.OpenAI, answers: AnswerBook) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=chat(answers.log.prompts[0]), n=1)
    receipt: Any = client.post(
        "/feedback", body={"inference_id": raw.headers["x-mixllm-inference-id"], "value": True}, cast_to=object
    )

    assert raw.parse().model == raw.headers["x-mixllm-model"]
    assert receipt["inference_id"] == raw.headers["x-mixllm-inference-id"]


def test_responses_are_parsed_too(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model=MODEL, input="What is Rome?", text_format=Answer)

    assert parsed.output_parsed == Answer(city="What is Rome?", population=1)


async def test_several_choices_stream_side_by_side(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model=MODEL, messages=chat("hi"), n=3, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2}
    assert chunks[-1].usage is not None


def test_a_wrong_key_is_openai_s_error(endpoint: Gateway) -> None:
    with (
        openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model=MODEL, messages=chat("hi"))
