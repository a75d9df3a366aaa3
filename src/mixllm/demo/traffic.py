"""The demo's traffic: chat requests and feedback through the official ``openai`` client, many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from mixllm.demo.tally import Tally
from mixllm.errors import MissingExtraError
from mixllm.playback import AnswerBook

try:
    from openai import AsyncOpenAI, OpenAIError
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
    on_answer
        Called after each answer.
    """

    def __init__(
        self, *, book: AnswerBook, tally: Tally, base_url: str, speed: float, on_answer: Callable[[], None]
    ) -> None:
        self.book = book
        self.tally = tally
        self.base_url = base_url
        self.speed = speed
        self.on_answer = on_answer

    async def send(self, rows: Sequence[int], *, concurrency: int) -> None:
        """Send the queries of `rows` in order, at most `concurrency` at the same time."""
        waiting = iter(rows)
        async with AsyncOpenAI(base_url=self.base_url, api_key="demo", max_retries=0, timeout=60.0) as client:
            await asyncio.gather(*(self._work(client, waiting) for _ in range(concurrency)))

    async def _work(self, client: AsyncOpenAI, waiting: Iterator[int]) -> None:
        for row in waiting:
            try:
                await self._ask(client, row)
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
        await client.post(
            "/feedback",
            body={"inference_id": raw.headers["x-mixllm-inference-id"], "metric_name": "quality", "value": quality},
            cast_to=object,
        )
