"""What Anthropic's client does beyond `tests/gateway/messages`: its key, routing and structured tools, all at once."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from tests.gateway.running import Gateway

from mixllm.playback import TOOL_CALL_MARKER, AnswerBook

CITY: Any = {
    "name": "city",
    "description": "A city.",
    "input_schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
}


def test_the_sync_client_is_routed_with_its_own_key(endpoint: Gateway, answers: AnswerBook) -> None:
    with anthropic.Anthropic(base_url=endpoint.url, api_key="sk-test", max_retries=0) as client:
        raw = client.messages.with_raw_response.create(
            model="mixllm/auto", max_tokens=4000, messages=[{"role": "user", "content": answers.log.prompts[0]}]
        )
        message = raw.parse()

    assert message.model in answers.llms
    assert message.model == raw.headers["x-mixllm-model"]
    assert raw.headers["x-mixllm-reason"]


async def test_the_async_client_calls_a_tool_it_is_forced_to(endpoint: Gateway) -> None:
    async with anthropic.AsyncAnthropic(base_url=endpoint.url, api_key="sk-test", max_retries=0) as client:
        message = await client.messages.create(
            model="mixllm/auto",
            max_tokens=50,
            messages=[{"role": "user", "content": "Which city?"}],
            tools=[CITY],
            tool_choice={"type": "tool", "name": "city"},
        )
        async with client.messages.stream(
            model="mixllm/auto:cost",
            max_tokens=50,
            messages=[{"role": "user", "content": f"Which city? {TOOL_CALL_MARKER}"}],
            tools=[CITY],
        ) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()

    assert message.stop_reason == streamed.stop_reason == "tool_use"
    assert [block.name for block in message.content if block.type == "tool_use"] == ["city"]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


async def test_a_wrong_key_is_anthropic_s_error(endpoint: Gateway) -> None:
    async with anthropic.AsyncAnthropic(base_url=endpoint.url, api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(
                model="mixllm/auto", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )
