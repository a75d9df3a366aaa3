"""Clients behind a load balancer: what one gateway leaves unanswered is sent to another, with the same ids."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from benchmarks.reliability.troubles import can_answer

__all__ = ["Clients", "Seen"]

_PATIENCE_S = 60.0
"""How long a request is sent again where nobody listens; and a feedback, until it is acknowledged."""
_CALL_S = 30.0
_PAUSE_S = 0.1
_UNKNOWN_TRIES = 5
_REPEATED_SHARE = 0.1
_LOST = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass
class Seen:
    """What clients have seen.

    Parameters
    ----------
    answers
        How requests ended.
    answered
        Inference id of each good answer.
    acknowledged
        Inference id by the id of each feedback that was acknowledged.
    feedback
        How feedback ended.
    killed_in_the_middle
        Requests, counted as often as their connection was lost while they were under way.
    statuses
        Every error, but of requests that no LLM can answer.
    """

    answers: Counter[str] = field(default_factory=Counter)
    answered: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    feedback: Counter[str] = field(default_factory=Counter)
    killed_in_the_middle: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


class _BrokenStreamError(Exception):
    """An LLM broke its stream, of which the client has a part; no gateway could mend that."""


class Clients:
    """Requests on a fixed schedule, whatever becomes of those before.

    Parameters
    ----------
    urls
        The gateways.
    llms, share
        The pool, and how many of the calls fail: tells which requests can be answered.
    judged
        Share of the answers that get a feedback.
    """

    def __init__(self, *, urls: tuple[str, ...], llms: tuple[str, ...], share: float, judged: float = 0.5) -> None:
        self.urls = urls
        self.llms = llms
        self.share = share
        self.judged = judged
        self.seen = Seen()
        self._rng = random.Random(0)
        self._turns = itertools.count()

    async def drive(self, *, rate: float, seconds: float) -> None:
        """Send requests for `seconds`, and return when all of them and their feedback have ended."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            started_s = time.monotonic()
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, started_s + number / rate - time.monotonic()))
                tasks.create_task(self._one(session, number))

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        possible = can_answer(number, self.llms, share=self.share)
        started_s = time.monotonic()
        inference_id, end = await self._ask(session, number, possible=possible)
        self.seen.slowest_s = max(self.seen.slowest_s, time.monotonic() - started_s)
        self.seen.answers[end if possible else f"no LLM can answer: {end}"] += 1
        if inference_id is None:
            return
        self.seen.answered.append(inference_id)
        if self._rng.random() < self.judged:
            await self._judge(session, inference_id, number)

    async def _ask(self, session: aiohttp.ClientSession, number: int, *, possible: bool) -> tuple[str | None, str]:
        """Return the inference id of the answer, and how the request ended."""
        text = f"Please answer request-{number}. What is the capital of country number {number % 97}?"
        body = {"messages": [{"role": "user", "content": text}], "model": "mixllm/auto", "stream": number % 2 > 0}
        deadline_s = time.monotonic() + _PATIENCE_S
        lost = 0
        while time.monotonic() < deadline_s:
            try:
                inference_id = await self._call(session, body, possible=possible)
            except _BrokenStreamError:
                return None, "stream broken by its LLM after its first byte"
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(_PAUSE_S)  # Nobody listens there: the load balancer asks the next one.
                continue
            except _LOST:
                self.seen.killed_in_the_middle += 1
                lost += 1
                continue
            if inference_id is None:
                return None, "refused"
            return inference_id, f"answered after {lost} kills" if lost else "answered"
        return None, "nobody answered"

    async def _call(self, session: aiohttp.ClientSession, body: dict[str, object], *, possible: bool) -> str | None:
        async with session.post(f"{self._next()}/v1/chat/completions", json=body) as answer:
            content = await answer.read()
            if answer.status != 200:
                if possible:
                    reason = answer.headers.get("x-mixllm-reason", "")
                    self.seen.statuses[f"{answer.status} {content[:120].decode(errors='replace')} {reason}"] += 1
                return None
            if body["stream"] and not content.endswith(b"data: [DONE]\n\n"):
                if b'"error"' in content:
                    raise _BrokenStreamError
                raise ConnectionResetError
            return answer.headers["x-mixllm-inference-id"]

    async def _judge(self, session: aiohttp.ClientSession, inference_id: str, number: int) -> None:
        """Send a feedback until it is acknowledged; some of them once more, as a careless client would."""
        feedback_id = f"feedback-{number}"
        body = {"inference_id": inference_id, "value": round(self._rng.random(), 3)}
        end = await self._send(session, feedback_id, body)
        if self._rng.random() < _REPEATED_SHARE:
            end = await self._send(session, feedback_id, body)
        self.seen.feedback[end] += 1
        if end in ("acknowledged", "acknowledged as a duplicate"):
            self.seen.acknowledged[feedback_id] = inference_id

    async def _send(self, session: aiohttp.ClientSession, feedback_id: str, body: dict[str, object]) -> str:
        deadline_s = time.monotonic() + _PATIENCE_S
        unknown = 0
        while time.monotonic() < deadline_s and unknown < _UNKNOWN_TRIES:
            headers = {"Idempotency-Key": feedback_id}
            try:
                async with session.post(f"{self._next()}/v1/feedback", json=body, headers=headers) as answer:
                    content = await answer.json()
                    if answer.status == 200:
                        return "acknowledged as a duplicate" if content["duplicate"] else "acknowledged"
                    self.seen.statuses[f"feedback {answer.status} {content['error']['message'][:120]}"] += 1
                    unknown += answer.status == 404
            except _LOST:
                pass
            await asyncio.sleep(_PAUSE_S)
        return "of an unknown decision" if unknown else "not acknowledged"

    def _next(self) -> str:
        return self.urls[next(self._turns) % len(self.urls)]
