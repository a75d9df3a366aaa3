"""A client that plays a script: deterministic, in memory, for tests and for trying things out."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from mixllm.clients.bodies import check_event, check_reply
from mixllm.clients.one_by_one import OneByOne
from mixllm.clients.sse import DONE
from mixllm.errors import InvalidValueError, UpstreamError, UpstreamProtocolError, UpstreamTimeoutError, did_you_mean
from mixllm.interfaces import UpstreamReply, UpstreamStream
from mixllm.types import LLMSpec, Value
from mixllm.units import non_negative

__all__ = ["ScriptStep", "ScriptedCall", "ScriptedClient", "ScriptedReply", "ScriptedStream"]


class ScriptedReply(Value, frozen=True, kw_only=True):
    """A whole answer.

    Parameters
    ----------
    body
        The answer's body.
    content_type
        Its content type.
    delay_s
        Time until it arrives.
    """

    body: bytes
    content_type: str = "application/json"
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        non_negative("delay_s", self.delay_s)


class ScriptedStream(Value, frozen=True, kw_only=True):
    """A streamed answer; without ``[DONE]`` at its end it is a stream that breaks.

    Parameters
    ----------
    events
        Data of each event, in order.
    delay_s
        Time before each event.
    stays_open
        Whether the stream falls silent after its events, instead of breaking.
    """

    events: tuple[bytes, ...]
    delay_s: float = 0.0
    stays_open: bool = False

    def __post_init__(self) -> None:
        non_negative("delay_s", self.delay_s)


ScriptStep: TypeAlias = ScriptedReply | ScriptedStream | UpstreamError
"""What one call gets: an answer, a stream, or an error that is raised."""


class ScriptedCall(Value, frozen=True, kw_only=True):
    """A call as the client received it."""

    llm: str
    path: str
    body: bytes
    streamed: bool


class ScriptedClient:
    """An `LLMClient` without a network.

    What it is told to answer is checked as the answers of a real endpoint are: a body or an event that is no JSON
    object raises `UpstreamProtocolError`, and a delay beyond ``spec.timeout_s`` raises `UpstreamTimeoutError`.

    Parameters
    ----------
    script
        For each LLM the steps of its calls, in order; its last step answers every further call.

    Examples
    --------
    >>> import asyncio
    >>> client = ScriptedClient(script={"a": [ScriptedReply(body=b"{}")]})
    >>> reply = client.complete(LLMSpec(name="a"), path="/chat/completions", body=b'{"n": 1}')
    >>> asyncio.run(reply).body
    b'{}'
    >>> client.calls[0].body
    b'{"n": 1}'
    """

    def __init__(self, *, script: Mapping[str, Sequence[ScriptStep]]) -> None:
        for llm, steps in script.items():
            if not steps:
                raise InvalidValueError(f"script[{llm!r}]", steps, "one step or more")
        self.script = script
        self.calls: list[ScriptedCall] = []
        """Every call, in order."""
        self.cancelled: list[ScriptedCall] = []
        """The streams that were left before their end."""
        self.closed = False
        self._steps = {llm: deque(steps) for llm, steps in script.items()}

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        """Return the next scripted answer, or raise the next scripted error."""
        step = self._next(ScriptedCall(llm=spec.name, path=path, body=body, streamed=False))
        if isinstance(step, UpstreamError):
            raise step
        if isinstance(step, ScriptedStream):
            raise UpstreamProtocolError(
                spec.name, "the script has a stream here: call stream(), or script a ScriptedReply."
            )
        await _wait(spec, step.delay_s)
        check_reply(spec, step.body)
        return UpstreamReply(body=step.body, content_type=step.content_type)

    def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> AbstractAsyncContextManager[UpstreamStream]:
        """Open the next scripted stream, or raise the next scripted error on entering."""
        return self._open(spec, ScriptedCall(llm=spec.name, path=path, body=body, streamed=True))

    async def close(self) -> None:
        """Refuse further calls."""
        self.closed = True

    @asynccontextmanager
    async def _open(self, spec: LLMSpec, call: ScriptedCall) -> AsyncIterator[UpstreamStream]:
        step = self._next(call)
        if isinstance(step, UpstreamError):
            raise step
        if isinstance(step, ScriptedReply):
            await _wait(spec, step.delay_s)
            raise UpstreamProtocolError(
                spec.name, "the script has a whole answer here: call complete(), or script a ScriptedStream."
            )
        stream = _PlayedStream(spec, step)
        try:
            yield stream
        finally:
            if not stream.ended:
                self.cancelled.append(call)

    def _next(self, call: ScriptedCall) -> ScriptStep:
        if self.closed:
            raise UpstreamError(call.llm, "the client is closed. Make a new one.")
        self.calls.append(call)
        steps = self._steps.get(call.llm)
        if steps is None:
            hint = did_you_mean(call.llm, self._steps)
            raise UpstreamError(call.llm, f"the script does not know it.{hint} Add its steps to script.")
        return steps.popleft() if len(steps) > 1 else steps[0]


class _PlayedStream(OneByOne):
    """The events of a scripted stream."""

    def __init__(self, spec: LLMSpec, step: ScriptedStream) -> None:
        self._spec = spec
        self._step = step
        self.ended = False

    async def events(self) -> AsyncIterator[bytes]:
        for event in self._step.events:
            await _wait(self._spec, self._step.delay_s)
            self.ended = event == DONE
            if not self.ended:
                check_event(self._spec, event)
            yield event
            if self.ended:
                return
        self.ended = True
        if self._step.stays_open:
            await _wait(self._spec, math.inf)
        raise UpstreamProtocolError(
            self._spec.name, "the stream ended before [DONE]. Script one where that is not meant."
        )


async def _wait(spec: LLMSpec, delay_s: float) -> None:
    if delay_s:
        await asyncio.sleep(min(delay_s, spec.timeout_s))
        if delay_s > spec.timeout_s:
            raise UpstreamTimeoutError(spec.name, f"no answer within {spec.timeout_s:g} s. Raise its timeout_s.")
