"""The demo's traffic: chat requests and feedback through the official ``openai`` client, many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.demo.forecast_check import ForecastCheck
from mixllm.demo.tally import Tally
from mixllm.errors import MissingExtraError
from mixllm.playback import AnswerBook

try:
    from openai import AsyncOpenAI, OpenAIError, RateLimitError
except ImportError as error:  # pragma: no cover - covered in a process of its own
    raise MissingExtraError("The demo", "demo") from error

__all__ = ["Traffic"]


class Traffic:
    """Sends the queries of a log to a gateway and judges the answers as the log does.

    Parameters
    ----------
    book
        Knows the queries, and the quality of each answer.
    tally
        Counts.
    base_url
        Of the gateway, ``/v1`` included.
    speed
        How many times faster than recorded the pool answers.
    deadline_s
        Until when an answer has to be there, at recorded speed, to be worth anything; None: it may take any time.
    on_answer
        Called after each answer.
    """

    def __init__(
        self,
        *,
        book: AnswerBook,
        tally: Tally,
        base_url: str,
        speed: float,
        on_answer: Callable[[], None],
        deadline_s: float | None = None,
    ) -> None:
        self.book = book
        self.tally = tally
        self.base_url = base_url
        self.speed = speed
        self.deadline_s = deadline_s
        self.on_answer = on_answer
        self.forecasts = ForecastCheck()

    async def send(self, rows: Sequence[int], *, concurrency: int) -> None:
        """Send the queries of `rows` in order, at most `concurrency` at the same time."""
        waiting = iter(rows)
        async with self._client() as client:
            await asyncio.gather(*(self._work(client, waiting) for _ in range(concurrency)))

    async def send_at(self, rows: Sequence[int], times_s: NDArray[np.float64]) -> None:
        """Send each query of `rows` at its time, in seconds from now, whatever the answers do."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with self._client() as client, asyncio.TaskGroup() as tasks:
            for row, time_s in zip(rows, times_s.tolist(), strict=True):
                await asyncio.sleep(max(0.0, started_s + time_s - loop.time()))
                tasks.create_task(self._ask_or_fail(client, row))
        async with self._client() as client:
            await self.forecasts.look_up(client)

    def _client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.base_url, api_key="demo", max_retries=0, timeout=60.0)

    async def _work(self, client: AsyncOpenAI, waiting: Iterator[int]) -> None:
        for row in waiting:
            await self._ask_or_fail(client, row)

    async def _ask_or_fail(self, client: AsyncOpenAI, row: int) -> None:
        try:
            await self._ask(client, row)
        except RateLimitError:
            self.tally.shed += 1
        except OpenAIError:
            self.tally.failed += 1
        self.on_answer()

    async def _ask(self, client: AsyncOpenAI, row: int) -> None:
        log = self.book.log
        prompt, system = log.prompts[row], log.systems[row]
        messages = [{"role": "user", "content": prompt}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        started_s = time.perf_counter()
        raw = await client.chat.completions.with_raw_response.create(model="mixllm/auto", messages=messages)  # type: ignore[arg-type]  # the same shape as openai's typed dicts
        latency_s = (time.perf_counter() - started_s) * self.speed
        llm = raw.parse().model
        # The answer is the one that the log's first query of this text got, so its quality is too.
        recorded = self.book.row(prompt, system)
        assert recorded is not None
        quality = float(log.quality[recorded, log.column(llm)])
        self.tally.add(
            row=recorded, llm=llm, latency_s=latency_s, overhead_ms=float(raw.headers["x-mixllm-overhead-ms"])
        )
        if self.deadline_s is not None:
            self.tally.late += latency_s > self.deadline_s
            self.forecasts.answered(raw.headers["x-mixllm-inference-id"], llm, latency_s / self.speed)
        await client.post(
            "/feedback",
            body={"inference_id": raw.headers["x-mixllm-inference-id"], "metric_name": "quality", "value": quality},
            cast_to=object,
        )
