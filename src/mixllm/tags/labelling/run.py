"""The run: batches of queries to an LLM, few at a time, with retries, a cap on money and a journal."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixllm.clock import SystemClock
from mixllm.errors import (
    InvalidValueError,
    MixLLMError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatusError,
    UpstreamTimeoutError,
)
from mixllm.interfaces import Clock, LLMClient
from mixllm.tags.labelling.answers import QueryTags, parse_answer
from mixllm.tags.labelling.backoff import Backoff, Sleep
from mixllm.tags.labelling.cost import CostEstimate, batches, estimate_cost, most_usd, price_of
from mixllm.tags.labelling.journal import Journal
from mixllm.tags.labelling.prompt import tag_request
from mixllm.tags.labelling.replies import read_reply
from mixllm.tags.labelling.settings import TaggingSettings
from mixllm.tags.labelling.spending import Spending
from mixllm.types import LLMSpec, Value

__all__ = ["LLMTagger", "TaggingProgress", "TaggingResult"]

_PATH = "/chat/completions"
_OVERLOADED = frozenset({408, 409, 425, 429})
_QUERY_REFUSED = frozenset({400, 413, 422})
_SERVER_ERROR = 500


class TaggingProgress(Value, frozen=True, kw_only=True):
    """How far a run is.

    Parameters
    ----------
    done, failed, total
        Queries with an answer (earlier runs included), given up, and all.
    calls
        Answers of this run, usable or not.
    spent_usd
        Of the whole job.
    """

    done: int
    failed: int
    total: int
    calls: int
    spent_usd: float


class TaggingResult(Value, frozen=True, kw_only=True):
    """What a run brought.

    Parameters
    ----------
    tags
        Tags of each query, in the order of the queries; None where it has no answer.
    failed
        Why a query was given up, by its id; a further run asks for it again.
    calls
        Answers of this run, usable or not.
    spent_usd
        Of the whole job, earlier runs included; calls whose end is not known count in full.
    capped
        Whether the run ended at its cap, with queries left.
    """

    tags: tuple[tuple[str, ...] | None, ...]
    failed: dict[str, str]
    calls: int
    spent_usd: float
    capped: bool


class LLMTagger:
    """Asks an OpenAI-compatible endpoint for the intention tags of queries, as InsTag does.

    Parameters
    ----------
    client
        Calls the endpoint.
    spec
        The LLM, with its price and its time limit.
    settings
        Sizes, limits and patience.
    clock, sleep
        Time, and how to wait in it.

    Raises
    ------
    UnknownPriceError
        Where `spec` has no price: without one nothing can be estimated or capped.
    """

    def __init__(
        self,
        *,
        client: LLMClient,
        spec: LLMSpec,
        settings: TaggingSettings | None = None,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.price = price_of(spec)
        self.client = client
        self.spec = spec
        self.settings = settings or TaggingSettings()
        self.clock: Clock = clock or SystemClock()
        self.sleep = sleep

    def estimate(self, queries: Sequence[str]) -> CostEstimate:
        """Return what tagging `queries` is expected to take; calls nothing."""
        return estimate_cost(queries, spec=self.spec, settings=self.settings)

    async def tag(
        self,
        *,
        query_ids: Sequence[str],
        queries: Sequence[str],
        journal: Journal | None = None,
        on_progress: Callable[[TaggingProgress], object] | None = None,
    ) -> TaggingResult:
        """Ask for the tags of every query that `journal` has no answer for.

        Parameters
        ----------
        query_ids, queries
            Identity, unique, and text of each query.
        journal
            Where answers are kept as they come; None keeps them in memory alone.
        on_progress
            Called at the start and after each answer.

        Raises
        ------
        UpstreamError
            Where the endpoint cannot be used, stays down after all retries, or does not understand the task. Calls
            that are under way end first; what is answered is in the journal.
        InvalidValueError
            Where lengths differ or an id comes twice.
        StateError
            Where the journal cannot be written.
        """
        if len(query_ids) != len(queries):
            raise InvalidValueError("query_ids", f"{len(query_ids)} ids", f"as long as queries ({len(queries)})")
        if len(set(query_ids)) != len(query_ids):
            raise InvalidValueError("query_ids", "a repeated id", "unique")
        return await _Run(self, query_ids=query_ids, queries=queries, journal=journal, on_progress=on_progress).all()


@dataclass(frozen=True, slots=True)
class _Batch:
    rows: tuple[int, ...]
    attempt: int = 0


class _Run:
    """One call of `LLMTagger.tag`."""

    def __init__(
        self,
        tagger: LLMTagger,
        *,
        query_ids: Sequence[str],
        queries: Sequence[str],
        journal: Journal | None,
        on_progress: Callable[[TaggingProgress], object] | None,
    ) -> None:
        self._tagger = tagger
        self._settings = settings = tagger.settings
        self._ids = query_ids
        self._queries = queries
        self._journal = journal
        self._on_progress = on_progress
        self._tags: dict[str, tuple[str, ...]] = {} if journal is None else dict(journal.tags)
        self._failed: dict[str, str] = {}
        self._spending = Spending(
            cap_usd=settings.max_cost_usd, spent_usd=0.0 if journal is None else journal.spent_usd
        )
        self._backoff = Backoff(
            first_s=settings.first_backoff_s,
            longest_s=settings.longest_backoff_s,
            clock=tagger.clock,
            sleep=tagger.sleep,
        )
        self._done = sum(query_id in self._tags for query_id in query_ids)
        self._calls = 0
        self._useless_in_a_row = 0
        self._capped = False
        self._error: MixLLMError | None = None

    async def all(self) -> TaggingResult:
        missing = [row for row, query_id in enumerate(self._ids) if query_id not in self._tags]
        waiting = deque(batches(missing, self._settings.batch_size))
        self._report()
        workers = min(self._settings.concurrency, len(waiting))
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(waiting))
        if self._error is not None:
            raise self._error
        return TaggingResult(
            tags=tuple(self._tags.get(query_id) for query_id in self._ids),
            failed=dict(self._failed),
            calls=self._calls,
            spent_usd=self._spending.spent_usd,
            capped=self._capped,
        )

    @property
    def _stopped(self) -> bool:
        return self._capped or self._error is not None

    async def _work(self, waiting: deque[tuple[int, ...]]) -> None:
        """Settle batch after batch; an error stops the other workers after the calls that they have under way."""
        try:
            while waiting and not self._stopped:
                rest = [_Batch(waiting.popleft())]
                while rest and not self._stopped:
                    batch = rest.pop()
                    answers = await self._ask(batch)
                    if answers is not None:
                        rest += self._left(batch, answers)
                        self._report()
        except MixLLMError as error:
            # The first error is the cause; later ones only follow from it.
            self._error = self._error or error

    async def _ask(self, batch: _Batch) -> tuple[QueryTags, ...] | None:
        """Return what the LLM says about each query of `batch`; None where the run has stopped."""
        failures = 0
        while True:
            await self._backoff.wait(unless=lambda: self._stopped)
            if self._stopped:
                return None
            try:
                return await self._call(batch)
            except UpstreamStatusError as error:
                if error.status in _QUERY_REFUSED:
                    refused = QueryTags(reason=f"the endpoint refused it with status {error.status}")
                    self._calls += 1
                    return (refused,) * len(batch.rows)
                if error.status not in _OVERLOADED and error.status < _SERVER_ERROR:
                    raise
                failures = self._wait_longer(error, failures + 1)
            except (UpstreamTimeoutError, UpstreamProtocolError) as error:
                failures = self._wait_longer(error, failures + 1)
            except UpstreamError as error:
                # No connection, no key: where nothing was answered yet, waiting helps nobody.
                if self._calls == 0:
                    raise
                failures = self._wait_longer(error, failures + 1)

    async def _call(self, batch: _Batch) -> tuple[QueryTags, ...] | None:
        """Make one call, count what it did cost, and keep what it brought."""
        tagger, settings = self._tagger, self._settings
        texts = [self._queries[row] for row in batch.rows]
        most = most_usd(texts, price=tagger.price, settings=settings)
        if not await self._spending.reserve(most):
            self._capped = True
            return None
        if self._stopped:
            self._spending.settle(most, spent_usd=0.0)
            return None
        spent, kept = most, dict[str, tuple[str, ...]]()
        body = tag_request(texts, model=tagger.spec.upstream_model, settings=settings, attempt=batch.attempt)
        try:
            reply = read_reply((await tagger.client.complete(tagger.spec, path=_PATH, body=body)).body)
            self._calls += 1
            if reply.tokens_in is not None and reply.tokens_out is not None:
                spent = tagger.price.cost_usd(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
            answers = parse_answer(reply.text, count=len(texts), max_tags=settings.max_tags)
            pairs = zip(batch.rows, answers, strict=True)
            kept = {self._ids[row]: answer.tags for row, answer in pairs if answer.reason is None}
        except (UpstreamTimeoutError, UpstreamProtocolError):
            raise  # It may have been billed, so it counts in full.
        except UpstreamError:
            spent = 0.0
            raise
        else:
            return answers
        finally:
            self._spending.settle(most, spent_usd=spent)
            self._tags |= kept
            self._done += len(kept)
            if self._journal is not None and (spent or kept):
                self._journal.append(kept, usd=spent)

    def _left(self, batch: _Batch, answers: tuple[QueryTags, ...]) -> list[_Batch]:
        """Return what is still to be asked of `batch`: what is missing, again or in halves."""
        missing = tuple(row for row, answer in zip(batch.rows, answers, strict=True) if answer.reason is not None)
        if len(missing) < len(batch.rows):
            self._useless_in_a_row = 0
            return [_Batch(missing)] if missing else []
        reason = answers[0].reason or ""
        self._useless_in_a_row += 1
        if self._useless_in_a_row >= self._settings.max_useless_calls:
            raise UpstreamProtocolError(
                self._tagger.spec.name,
                f"{self._useless_in_a_row} answers in a row held no tags ({reason}). Try another model; what is "
                "answered is kept.",
            )
        if batch.attempt + 1 < self._settings.max_attempts:
            return [_Batch(missing, batch.attempt + 1)]
        if len(missing) > 1:
            half = len(missing) // 2
            return [_Batch(missing[half:]), _Batch(missing[:half])]
        self._failed[self._ids[missing[0]]] = reason
        return []

    def _wait_longer(self, error: UpstreamError, failures: int) -> int:
        """Put the next call off, or raise `error` where patience is at its end."""
        asked_s = error.retry_after_s if isinstance(error, UpstreamStatusError) else None
        if failures > self._settings.max_retries or (asked_s or 0.0) > self._settings.longest_wait_s:
            raise error
        self._backoff.failed(failures=failures, asked_s=asked_s)
        return failures

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(
                TaggingProgress(
                    done=self._done,
                    failed=len(self._failed),
                    total=len(self._ids),
                    calls=self._calls,
                    spent_usd=self._spending.spent_usd,
                )
            )
