from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from mixllm.clients import ScriptedCall, ScriptedClient, ScriptedReply, ScriptedStream, ScriptStep
from mixllm.conformance.client import (
    CLIENT_CHECKS,
    ClientCheck,
    PlannedAnswer,
    PlannedReply,
    PlannedSilence,
    PlannedStream,
    PlannedUnreachable,
    ReceivedRequest,
    check_client,
)
from mixllm.errors import (
    InvalidValueError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatusError,
    UpstreamTimeoutError,
)
from mixllm.interfaces import UpstreamReply
from mixllm.types import LLMSpec

SPEC = LLMSpec(name="llm")
PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Bench:
    client: ScriptedClient
    spec: LLMSpec

    @property
    def received(self) -> Sequence[ReceivedRequest]:
        return [ReceivedRequest(path=call.path, body=call.body) for call in self.client.calls]


@asynccontextmanager
async def make_bench(answers: Sequence[PlannedAnswer], *, timeout_s: float) -> AsyncIterator[Bench]:
    steps: list[ScriptStep] = []
    for answer in answers:
        match answer:
            case PlannedReply(body=body, status=200):
                steps.append(ScriptedReply(body=body))
            case PlannedReply(body=body, status=status, retry_after_s=wait_s):
                steps.append(UpstreamStatusError(SPEC.name, status, body, wait_s))
            case PlannedStream(events=events, stays_open=stays_open):
                steps.append(ScriptedStream(events=events, stays_open=stays_open))
            case PlannedSilence():
                steps.append(ScriptedReply(body=b"{}", delay_s=1e9))
            case PlannedUnreachable():
                steps.append(UpstreamError(SPEC.name, "no connection."))
    yield Bench(ScriptedClient(script={SPEC.name: steps}), LLMSpec(name=SPEC.name, timeout_s=timeout_s))


@pytest.mark.parametrize("check", CLIENT_CHECKS, ids=[check.__name__.strip("_") for check in CLIENT_CHECKS])
async def test_conforms(check: ClientCheck) -> None:
    await check(make_bench)  # asserts by itself


async def test_the_suite_runs_every_check() -> None:
    made: list[Sequence[PlannedAnswer]] = []

    def counted(answers: Sequence[PlannedAnswer], *, timeout_s: float) -> AbstractAsyncContextManager[Bench]:
        made.append(answers)
        return make_bench(answers, timeout_s=timeout_s)

    await check_client(counted)
    assert len(made) == len(CLIENT_CHECKS) > 5


async def test_a_client_that_changes_bodies_does_not_pass() -> None:
    class Careless(ScriptedClient):
        async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
            return await super().complete(spec, path=path, body=body.replace(b" ", b""))

    @asynccontextmanager
    async def careless(answers: Sequence[PlannedAnswer], *, timeout_s: float) -> AsyncIterator[Bench]:
        async with make_bench(answers, timeout_s=timeout_s) as bench:
            yield Bench(Careless(script=bench.client.script), bench.spec)

    with pytest.raises(AssertionError, match="the endpoint received"):
        await check_client(careless)


async def test_steps_in_order_and_the_last_one_again() -> None:
    client = ScriptedClient(script={"llm": [ScriptedReply(body=b'{"n":1}'), ScriptedReply(body=b'{"n":2}')]})
    bodies = [(await client.complete(SPEC, path=PATH, body=b"{}")).body for _ in range(4)]
    assert bodies == [b'{"n":1}', b'{"n":2}', b'{"n":2}', b'{"n":2}']


async def test_each_llm_has_its_own_script() -> None:
    client = ScriptedClient(script={"a": [ScriptedReply(body=b'{"n":1}')], "b": [UpstreamError("b", "down.")]})
    assert (await client.complete(LLMSpec(name="a"), path=PATH, body=b"{}")).body == b'{"n":1}'
    with pytest.raises(UpstreamError, match="down"):
        await client.complete(LLMSpec(name="b"), path=PATH, body=b"{}")
    with pytest.raises(UpstreamError, match=r"does not know it\. Did you mean 'ab'"):
        await ScriptedClient(script={"ab": [ScriptedReply(body=b"{}")]}).complete(
            LLMSpec(name="abc"), path=PATH, body=b"{}"
        )


async def test_records_calls_and_streams_left_early() -> None:
    client = ScriptedClient(script={"llm": [ScriptedStream(events=(b'{"a":1}', b"[DONE]"))]})
    for limit in (1, 2):
        async with client.stream(SPEC, path=PATH, body=b"x") as stream:
            events = stream.events()
            for _ in range(limit):
                await anext(events)
    call = ScriptedCall(llm="llm", path=PATH, body=b"x", streamed=True)
    assert client.calls == [call, call]
    assert client.cancelled == [call]


async def test_delays_beyond_the_limit_time_out() -> None:
    client = ScriptedClient(
        script={
            "llm": [
                ScriptedReply(body=b"{}", delay_s=0.001),
                ScriptedStream(events=(b'{"a":1}', b"[DONE]"), delay_s=9.0),
            ]
        }
    )
    spec = LLMSpec(name="llm", timeout_s=0.01)
    assert (await client.complete(spec, path=PATH, body=b"{}")).body == b"{}"
    async with client.stream(spec, path=PATH, body=b"{}") as stream:
        with pytest.raises(UpstreamTimeoutError, match=r"no answer within 0\.01 s"):
            await anext(stream.events())


async def test_events_that_are_not_the_protocol() -> None:
    client = ScriptedClient(script={"llm": [ScriptedStream(events=(b"hello", b"[DONE]"))]})
    async with client.stream(SPEC, path=PATH, body=b"{}") as stream:
        with pytest.raises(UpstreamProtocolError, match="not a JSON object"):
            await anext(stream.events())


async def test_the_kind_of_the_step_has_to_fit_the_call() -> None:
    client = ScriptedClient(script={"llm": [ScriptedStream(events=(b"[DONE]",)), ScriptedReply(body=b"{}")]})
    with pytest.raises(UpstreamProtocolError, match="has a stream here"):
        await client.complete(SPEC, path=PATH, body=b"{}")
    with pytest.raises(UpstreamProtocolError, match="has a whole answer here"):
        async with client.stream(SPEC, path=PATH, body=b"{}"):
            pass


@pytest.mark.parametrize("delay_s", [-1.0, float("nan"), float("inf")])
def test_refuses_bad_delays(delay_s: float) -> None:
    with pytest.raises(InvalidValueError, match="delay_s"):
        ScriptedReply(body=b"", delay_s=delay_s)
    with pytest.raises(InvalidValueError, match="delay_s"):
        ScriptedStream(events=(), delay_s=delay_s)


def test_refuses_an_empty_script() -> None:
    with pytest.raises(InvalidValueError, match="one step or more"):
        ScriptedClient(script={"llm": []})
