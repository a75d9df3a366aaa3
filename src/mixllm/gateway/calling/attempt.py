"""One call to one LLM: made, timed, reported to its breaker, and recorded once, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from mixllm.errors import UpstreamError, UpstreamTimeoutError
from mixllm.gateway.calling.faults import Blame, Fault, RequestTimeoutError, fault_of
from mixllm.gateway.calling.lineup import Turn
from mixllm.gateway.calling.outgoing import Outgoing
from mixllm.gateway.dialect import EMBEDDINGS
from mixllm.gateway.refusals import tell_refusal
from mixllm.gateway.state import GatewayState
from mixllm.gateway.usage import Usage
from mixllm.interfaces import UpstreamReply, UpstreamStream
from mixllm.types import Decision, Outcome, OutcomeStatus

__all__ = ["Attempt"]


class Attempt:
    """One call to one LLM.

    Parameters
    ----------
    state
        What the handlers share.
    request, decision
        The request, and what was decided on it.
    turn
        The LLM, as it is now.
    number
        0 for the first call of the decision, and so on.
    """

    __slots__ = (
        "_began_s",
        "_open",
        "batches",
        "called_s",
        "decision",
        "delivered_s",
        "first",
        "number",
        "outcome",
        "reply",
        "request",
        "spec",
        "state",
    )

    def __init__(self, *, state: GatewayState, request: Outgoing, decision: Decision, turn: Turn, number: int) -> None:
        self.state = state
        self.request = request
        self.decision = decision
        self.spec = turn.spec
        self.number = number
        self.called_s = time.perf_counter()
        """When it was called, on the clock of `time.perf_counter`."""
        self.delivered_s: float | None = None
        """When the whole answer, or the first event of the stream, was there."""
        self.reply: UpstreamReply | None = None
        """The whole answer."""
        self.first: Sequence[bytes] = ()
        """The first events of the stream, and"""
        self.batches: AsyncIterator[Sequence[bytes]] | None = None
        """those that follow."""
        self.outcome: Outcome | None = None
        """How it ended, as recorded; None while it is under way."""
        self._began_s = turn.began_s
        self._open: AbstractAsyncContextManager[UpstreamStream] | None = None

    async def deliver(self, *, left_s: float) -> None:
        """Make the call; return with the whole answer, or with the stream's first event.

        Only with the first event in hand is it known that there is an answer.

        Parameters
        ----------
        left_s
            How long the request may take from now on.

        Raises
        ------
        RequestTimeoutError
            After `left_s`.
        UpstreamError
            As `LLMClient` raises it, and `UpstreamTimeoutError` also where the first event does not come in time.
        """
        body = self.request.body_for(self.spec)
        self.called_s = time.perf_counter()
        limit_s, own = self._limit_s(left_s)
        if limit_s is None:
            self.reply = await self.state.client.complete(self.spec, path=self.request.dialect.path, body=body)
        else:
            try:
                async with asyncio.timeout(limit_s):
                    await self._call(body)
            except TimeoutError as error:
                raise self._too_late(limit_s, own=own) from error
        self.delivered_s = time.perf_counter()
        self.state.router.breakers.succeeded(self.spec.name, began_s=self._began_s)

    def failed(self, error: UpstreamError) -> Fault:
        """Record that it failed before it delivered, tell its breaker, and return what that says."""
        fault = fault_of(error)
        late = isinstance(error, UpstreamTimeoutError)
        self._blame(fault)
        self.record(OutcomeStatus.TIMEOUT if late else OutcomeStatus.ERROR, error=f"{type(error).__name__}: {error}")
        tell_refusal(self.state.router, error)
        return fault

    def broke(self, error: UpstreamError, *, usage: Usage | None = None) -> None:
        """Record that its stream broke after it had begun, and tell its breaker."""
        self._blame(fault_of(error))
        self.record(OutcomeStatus.BROKEN_STREAM, usage=usage, error=f"{type(error).__name__}: {error}")

    async def lose(self) -> None:
        """Give it up for another that was quicker: cancel it, and record what it cost, or what it will have cost."""
        await self.close()
        if self.outcome is None:
            # An answer that is there is billed as it says; of any other the prompt at least has been read.
            usage = None if self.reply is None else self.request.dialect.read_answer(self.reply.body).usage
            price = self.spec.price
            estimate_usd = None
            if price is not None and (usage is None or usage.prompt_tokens is None):
                estimate_usd = price.cost_usd(tokens_in=self.decision.tokens_in, tokens_out=0)
            self.record(OutcomeStatus.CANCELLED, usage=usage, estimated_usd=estimate_usd)

    async def close(self) -> None:
        """Leave the stream, which cancels the LLM's work where it still goes on."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.__aexit__(None, None, None)

    def record(
        self,
        status: OutcomeStatus,
        *,
        usage: Usage | None = None,
        chunks: int | None = None,
        ended_s: float | None = None,
        error: str | None = None,
        estimated_usd: float | None = None,
    ) -> None:
        """Keep how the call ended, once: a second time nothing happens.

        Parameters
        ----------
        status
            How it ended.
        usage
            What its answer says of its own length and cost.
        chunks
            Chunks of the stream; where an endpoint does not count, a chunk is close to a token.
        ended_s
            When; None: now.
        error
            What went wrong, without prompts and secrets.
        estimated_usd
            What it is taken to have cost, where nobody will ever tell.
        """
        if self.outcome is not None:
            return
        streamed, first_s = self.request.stream, self.delivered_s
        tokens_out = usage.completion_tokens if usage is not None else chunks
        tokens_in = usage.prompt_tokens if usage is not None else (self.decision.tokens_in if chunks else None)
        self.outcome = self.state.router.record(
            self.decision.decision_id,
            Outcome(
                llm=self.spec.name,
                status=status,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cached_tokens_in=usage.cached_tokens_in if usage else 0,
                reasoning_tokens=usage.reasoning_tokens if usage else 0,
                cost_usd=self._cost_usd(usage) if usage else estimated_usd,
                cost_estimated=estimated_usd is not None,
                latency_s=(ended_s or time.perf_counter()) - self.called_s,
                ttft_s=first_s - self.called_s if streamed and first_s is not None else None,
                streamed=streamed,
                choices=self.request.query.choices,
                attempt=self.number,
                error=error,
            ),
        )
        if first_s is None:
            # What delivered has said what it had to say of its LLM; no more follows of what failed.
            self.state.router.breakers.ended(self.spec.name, began_s=self._began_s)
        self.state.metrics.observe(self.outcome)

    def _cost_usd(self, usage: Usage) -> float | None:
        """Return the billed cost; None where the tokens have to tell it, which an embedding's prompt alone does."""
        price = self.spec.price
        if usage.cost_usd is None and self.request.dialect is EMBEDDINGS and price is not None and usage.prompt_tokens:
            return price.cost_usd(tokens_in=usage.prompt_tokens, tokens_out=0)
        return usage.cost_usd

    async def _call(self, body: bytes) -> None:
        client, path = self.state.client, self.request.dialect.path
        if not self.request.stream:
            self.reply = await client.complete(self.spec, path=path, body=body)
            return
        opening = client.stream(self.spec, path=path, body=body)
        upstream = await opening.__aenter__()
        self._open = opening  # Left by `close`, long after this has returned.
        try:
            self.batches = upstream.batches()
            self.first = await anext(self.batches, ())
        except BaseException:
            await self.close()
            raise

    def _limit_s(self, left_s: float) -> tuple[float | None, bool]:
        """Return how long the call may take until it delivers, and whether that is the LLM's own limit."""
        if not self.request.stream:
            # The client keeps the LLM's own.
            return (None, True) if left_s >= self.spec.timeout_s else (max(0.0, left_s), False)
        own_s = self.spec.first_token_timeout_s
        if own_s is None:
            own_s = self.state.calls.first_token_timeout_s
        return (own_s, True) if own_s is not None and own_s <= left_s else (max(0.0, left_s), False)

    def _too_late(self, limit_s: float, *, own: bool) -> UpstreamTimeoutError:
        if own:
            return UpstreamTimeoutError(
                self.spec.name,
                f"its stream did not begin within {limit_s:g} s. Raise first_token_timeout_s, or call it less.",
            )
        return RequestTimeoutError(
            self.spec.name,
            "no answer in the time that the request may take. Raise its max_latency_s, or calls.max_total_s.",
        )

    def _blame(self, fault: Fault) -> None:
        if fault.blame is Blame.LLM and self.outcome is None:
            self.state.router.breakers.failed(self.spec.name, began_s=self._began_s)
