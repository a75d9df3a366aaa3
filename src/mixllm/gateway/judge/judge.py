"""The judge at work: a bounded queue, a few calls at a time, in the background of the gateway's event loop."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from mixllm.config import JudgeConfig
from mixllm.errors import ConfigError, StoreError, UnknownPriceError, UpstreamError, UpstreamStatusError
from mixllm.gateway.judge.prompt import Sample, judge_request
from mixllm.gateway.judge.verdict import MAX_VERDICT_CHARS, read_verdict
from mixllm.gateway.said import Said
from mixllm.gateway.usage import Usage, read_answer
from mixllm.interfaces import LLMClient
from mixllm.registry import priced
from mixllm.router import RouterCore
from mixllm.types import JUDGE_SOURCE, LLMSpec
from mixllm.units import tokens_from_chars

__all__ = ["UNUSABLE_METRIC", "Judge", "JudgeCounts"]

UNUSABLE_METRIC = "judge_usable"
"""What a verdict that cannot be used is kept under: it teaches no quality, and its cost is not lost."""

_LOG = logging.getLogger(__name__)
_PATH = "/chat/completions"
_LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class JudgeCounts:
    """What became of the sampled answers.

    Parameters
    ----------
    judged
        A score was kept.
    unusable
        The judge answered, but no score can be read.
    failed
        The judge's endpoint failed, or the score could not be kept.
    dropped
        Too many were waiting, or the gateway stopped.
    cost_usd
        What the judge's answers cost.
    """

    judged: int = 0
    unusable: int = 0
    failed: int = 0
    dropped: int = 0
    cost_usd: float = 0.0


class Judge:
    """Asks an LLM for scores of sampled answers, while the context is open; for one event loop.

    It never delays and never fails a request: `submit` puts a sample into a queue or drops it. Leaving the context
    waits for what is queued, at most ``config.drain_s``, and drops the rest.

    Parameters
    ----------
    router
        Takes the scores.
    client
        Calls the judge; it is not closed.
    config
        Share, rubric, bounds.
    rng
        Draws which answers are judged.

    Raises
    ------
    ConfigError
        Where the judge has no price: what it costs has to be counted.
    """

    def __init__(self, *, router: RouterCore, client: LLMClient, config: JudgeConfig, rng: np.random.Generator) -> None:
        self.router = router
        self.client = client
        self.config = config
        self.spec = _priced(config)
        self.counts = JudgeCounts()
        self._rng = rng
        self._queue: asyncio.Queue[Sample] = asyncio.Queue(maxsize=config.max_queue)
        self._tasks: list[asyncio.Task[None]] = []
        self._failing = False

    @property
    def waiting(self) -> int:
        """How many answers wait to be judged."""
        return self._queue.qsize()

    def draws(self) -> bool:
        """Draw whether the next answer is judged."""
        return bool(self._rng.random() < self.config.share)

    def submit(self, sample: Sample) -> None:
        """Have an answer judged some time; drops it where too many wait, or nobody is at work."""
        if self._tasks and not self._queue.full():
            self._queue.put_nowait(
                sample.bounded(
                    max_question_chars=self.config.max_question_chars, max_answer_chars=self.config.max_answer_chars
                )
            )
        else:
            self.counts.dropped += 1

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.config.max_in_flight)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(self.config.drain_s):
                await self._queue.join()
        except TimeoutError:
            pass
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.counts.dropped += self._queue.qsize()
        while not self._queue.empty():
            self._queue.get_nowait()

    async def _work(self) -> None:
        while True:
            sample = await self._queue.get()
            try:
                await self._judge(sample)
            except asyncio.CancelledError:
                self.counts.dropped += 1
                raise
            except Exception as error:  # noqa: BLE001 -- one sample must not end the work on all others
                # Its words are not logged: they could hold anything.
                self._failed(f"failed with {type(error).__name__}")
            finally:
                self._queue.task_done()

    async def _judge(self, sample: Sample) -> None:
        body = judge_request(sample, model=self.spec.upstream_model, config=self.config)
        try:
            reply = await self.client.complete(self.spec, path=_PATH, body=body)
        except UpstreamError as error:
            self._failed(str(error))
            if isinstance(error, UpstreamStatusError) and error.retry_after_s is not None:
                await asyncio.sleep(min(error.retry_after_s, _LONGEST_PAUSE_S))
            return
        self._failing = False
        said = Said(max_chars=MAX_VERDICT_CHARS + 1)  # of what is longer, no part is taken for the verdict
        said.read_body(reply.body)
        text = said.text()
        cost_usd = self._cost_usd(read_answer(reply.body).usage, sent=body, text=text)
        self.counts.cost_usd += cost_usd
        await self._keep(sample, read_verdict(text), cost_usd)

    async def _keep(self, sample: Sample, score: float | None, cost_usd: float) -> None:
        try:
            if score is None:
                kept = self.router.submit_feedback(
                    sample.decision_id,
                    thumbs=False,
                    metric=UNUSABLE_METRIC,
                    source=JUDGE_SOURCE,
                    key_id=sample.key_id,
                    cost_usd=cost_usd,
                )
            else:
                kept = self.router.submit_feedback(
                    sample.decision_id, quality=score, source=JUDGE_SOURCE, key_id=sample.key_id, cost_usd=cost_usd
                )
            # Shielded: what the store has taken is kept, whether or not somebody still waits for it.
            await asyncio.shield(asyncio.wrap_future(kept))
        except StoreError as error:
            self._failed(f"could not be kept: {type(error).__name__}")
            return
        if score is None:
            self.counts.unusable += 1
        else:
            self.counts.judged += 1

    def _cost_usd(self, usage: Usage | None, *, sent: bytes, text: str) -> float:
        """Return what a call cost: as billed, else its tokens at the judge's price, estimated where nobody counted."""
        if usage is not None and usage.cost_usd is not None:
            return usage.cost_usd
        price = self.spec.price
        assert price is not None
        tokens_in = None if usage is None else usage.prompt_tokens
        tokens_out = None if usage is None else usage.completion_tokens
        return price.cost_usd(
            tokens_in=tokens_from_chars(len(sent)) if tokens_in is None else tokens_in,
            tokens_out=tokens_from_chars(len(text)) if tokens_out is None else tokens_out,
            cached_tokens_in=0 if usage is None else usage.cached_tokens_in,
            reasoning_tokens=0 if usage is None else usage.reasoning_tokens,
        )

    def _failed(self, problem: str) -> None:
        self.counts.failed += 1
        if not self._failing:
            # Once, until it works again: a judge that is down fails with every sample.
            _LOG.warning("judge: %s", problem)
        self._failing = True


def _priced(config: JudgeConfig) -> LLMSpec:
    spec = config.spec()
    try:
        return priced(spec)
    except UnknownPriceError as error:
        raise ConfigError(
            f"judge: no price is known for its model {spec.upstream_model!r}. Set judge.input_cost_per_token and "
            "judge.output_cost_per_token; 0 is allowed where it really is free."
        ) from error
