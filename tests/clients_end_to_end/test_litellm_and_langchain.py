"""LiteLLM and LangChain's ChatOpenAI, pointed at the gateway; both load slowly, so they share one module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, SecretStr
from tests.gateway.running import Gateway

from mixllm.clients.litellm_library import load_litellm
from mixllm.playback import TOOL_CALL_MARKER, AnswerBook

MODEL = "mixllm/auto"


class Answer(BaseModel):
    """An answer."""

    city: str


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def litellm() -> Any:
    return load_litellm("The test")


@pytest.fixture
def options(endpoint: Gateway) -> Iterator[dict[str, Any]]:
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="sk-test", max_retries=0) as client:
        yield {"model": f"openai/{MODEL}", "client": client}


def test_litellm_completes_and_streams(litellm: Any, options: dict[str, Any], answers: AnswerBook) -> None:
    text = answers.log.prompts[1]

    answer = litellm.completion(messages=chat(text), **options)
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in litellm.completion(messages=chat(text), stream=True, **{**options, "model": "openai/atlas-large"})
    ]

    assert answer.choices[0].message.content == answers.answer(answer.model, text).text
    assert "".join(pieces) == answers.answer("atlas-large", text).text


async def test_litellm_calls_tools(litellm: Any, endpoint: Gateway) -> None:
    tool = {"type": "function", "function": {"name": "city", "parameters": Answer.model_json_schema()}}

    # A client of the test's own, which it can close: LiteLLM keeps those that it makes, open, for ever.
    async with openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="sk-test", max_retries=0) as client:
        answer = await litellm.acompletion(
            model=f"openai/{MODEL}",
            messages=chat(f"Which city? {TOOL_CALL_MARKER}"),
            tools=[tool],
            api_base=f"{endpoint.url}/v1",
            api_key="sk-test",
            client=client,
        )

    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["city"]


@pytest.fixture
async def langchain(endpoint: Gateway) -> AsyncIterator[Any]:
    from langchain_openai import ChatOpenAI

    with httpx.Client() as client:
        async with httpx.AsyncClient() as async_client:
            yield ChatOpenAI(
                model=MODEL,
                base_url=f"{endpoint.url}/v1",
                api_key=SecretStr("sk-test"),
                max_retries=0,
                http_client=client,
                http_async_client=async_client,
            )


def test_langchain_invokes_and_streams(langchain: Any, answers: AnswerBook) -> None:
    text = answers.log.prompts[2]

    answer = langchain.invoke(text)
    chunks = list(langchain.stream(text))

    assert answer.content == answers.answer(answer.response_metadata["model_name"], text).text
    assert answer.usage_metadata["output_tokens"] > 0
    assert len([chunk for chunk in chunks if chunk.content]) > 1


async def test_langchain_streams_without_waiting(langchain: Any) -> None:
    pieces = [chunk.content async for chunk in langchain.astream("hi")]

    assert "".join(pieces)


def test_langchain_binds_tools_and_structures_output(langchain: Any) -> None:
    called = langchain.bind_tools([Answer]).invoke(f"Which city? {TOOL_CALL_MARKER}")
    structured = langchain.with_structured_output(Answer).invoke("Which city?")
    by_function = langchain.with_structured_output(Answer, method="function_calling").invoke("Which city?")

    assert [call["name"] for call in called.tool_calls] == ["Answer"]
    assert structured == Answer(city="Which city?")
    assert isinstance(by_function, Answer)
