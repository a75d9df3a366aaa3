"""The calls of one request: the chosen LLM, and whatever it takes until one delivers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from mixllm.decision.maker import FORCED
from mixllm.errors import UpstreamError
from mixllm.gateway.calling.attempt import Attempt
from mixllm.gateway.calling.faults import Fault
from mixllm.gateway.calling.lineup import Lineup, Turn
from mixllm.gateway.calling.outgoing import Outgoing
from mixllm.gateway.elsewhere import kept_while_away
from mixllm.gateway.state import GatewayState
from mixllm.gateway.watching import WatchedCall
from mixllm.types import Decision, LLMSpec, OutcomeStatus

__all__ = ["Calls"]

_REASON_CHARS = 1000


class Calls:
    """The calls of one request, from the decision to the record of each.

    Parameters
    ----------
    state
        What the handlers share.
    request, decision, spec
        The request, what was decided on it, and the chosen LLM as it was then.
    started_s
        When the request came, on the clock of `time.perf_counter`.
    watched
        Is told of failures; None: nobody wants to know.
    going_on
        Whether the decision let an agent's LLM go on and so looked at no other: where it fails, the others are looked
        at for a fallback.
    """

    def __init__(
        self,
        *,
        state: GatewayState,
        request: Outgoing,
        decision: Decision,
        spec: LLMSpec,
        started_s: float,
        watched: WatchedCall | None = None,
        going_on: bool = False,
    ) -> None:
        self.state = state
        self.request = request
        self.decision = decision
        self.started_s = started_s
        self.watched = watched
        self.attempts: list[Attempt] = []
        self.hedged: Attempt | None = None
        """The call that was late, and lost or won against the one that was started beside it."""
        self._spec = spec
        self._narrow = going_on
        self._made_lineup: Lineup | None = None
        self._story: list[str] = []
        self._hedges = 0
        self._fault: Fault | None = None
        self._untold: tuple[Attempt, UpstreamError] | None = None
        limit_s, wanted_s = state.calls.max_total_s, request.query.max_latency_s
        self._deadline_s = started_s + (limit_s if wanted_s is None else min(limit_s, wanted_s))

    async def reach(self) -> Attempt:
        """Return the attempt that delivered; those that did not are recorded.

        Raises
        ------
        UpstreamError
            That of the last attempt, where none delivered. It is recorded too.
        """
        try:
            attempt = await self._reach()
            # Whoever has the answer can judge it, at any gateway.
            await kept_while_away(self.state.router.store)
        except BaseException:
            # Whatever is open by now, such as a stream that won its race just before the client left, is left.
            for attempt in self.attempts:
                await attempt.close()
            raise
        else:
            return attempt

    def end(self, status: OutcomeStatus, *, error: str | None = None) -> None:
        """Record those attempts that are under way as ended so: the client left, or the gateway itself failed."""
        for attempt in self.attempts:
            attempt.record(status, error=error)

    def tell(self, attempt: Attempt, error: UpstreamError) -> None:
        """Tell who watches that an attempt failed."""
        # A judgement of a decision without an answer counts for the LLM that it chose; it must not pay for another.
        if self.watched is not None and attempt.spec.name == self.decision.llm:
            self.watched.failed(error)

    @property
    def cost_usd(self) -> float | None:
        """What all attempts have cost as far as it is known; None where nothing is."""
        if len(self.attempts) == 1:
            outcome = self.attempts[0].outcome
            return None if outcome is None else outcome.cost_usd
        costs = [one.outcome.cost_usd for one in self.attempts if one.outcome is not None]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known else None

    @property
    def reason(self) -> str:
        """Why the decision chose as it did, and what became of it."""
        return "; ".join([self.decision.reason, *self._story])[:_REASON_CHARS] if self._story else self.decision.reason

    def headers(self, attempt: Attempt | None = None) -> dict[str, str]:
        """Return the headers that tell of the decision and its calls, and count the time spent here.

        Parameters
        ----------
        attempt
            The one that delivered; None: none did, and the last one counts.
        """
        now_s = time.perf_counter()
        last = attempt or self.attempts[-1]
        delivered_s = now_s if last.delivered_s is None else last.delivered_s
        overhead_s = now_s - self.started_s - (delivered_s - self.attempts[0].called_s)
        self.state.metrics.observe_overhead(overhead_s)
        headers = {
            "x-mixllm-inference-id": self.decision.decision_id,
            "x-mixllm-model": _header_safe(last.spec.name),
            "x-mixllm-overhead-ms": f"{overhead_s * 1000:.3f}",
            "x-mixllm-reason": _header_safe(self.reason),
            "x-mixllm-out-of-domain": f"{self.decision.out_of_domain:.3f}",
            "x-mixllm-attempts": str(len(self.attempts)),
        }
        if self.hedged is not None:
            headers["x-mixllm-hedged"] = _header_safe(self.hedged.spec.name)
        return headers

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _begin(self, turn: Turn) -> Attempt:
        number = len(self.attempts)
        if number or turn.spec.name != self.decision.llm:
            self.state.router.begin_attempt(self.decision, turn.spec.name, number)
        attempt = Attempt(state=self.state, request=self.request, decision=self.decision, turn=turn, number=number)
        self.attempts.append(attempt)
        return attempt

    async def _reach(self) -> Attempt:
        attempt = self._begin(await self._first())
        hedges = self.state.calls.hedge.enabled
        if hedges:
            self.state.hedges.request()
        while True:
            delay_s = self._hedge_after_s(attempt) if hedges else None
            try:
                if delay_s is None:
                    await attempt.deliver(left_s=self._left_s())
                else:
                    attempt = await self._race(attempt, delay_s)
            except UpstreamError as error:
                if delay_s is None:
                    self._note(attempt, error)
                turn = await self._after()
                if turn is None or not turn.again:
                    self._tell_last()
                if turn is None:
                    raise
            else:
                return attempt
            if turn.wait_s:
                await asyncio.sleep(turn.wait_s)
            attempt = self._begin(turn)

    def _left_s(self) -> float:
        return self._deadline_s - time.perf_counter()

    @property
    def _lineup(self) -> Lineup:
        # Most requests need one call, and nobody's turn after it.
        if self._made_lineup is None:
            query, router = self.request.query, self.state.router
            self._made_lineup = Lineup(
                router=router,
                decision=self.decision,
                # A name is taken whatever the configured limits on time say.
                query=query if self.decision.policy == FORCED else router.within_time(query),
                spec=self._spec,
                config=self.state.calls,
            )
        return self._made_lineup

    async def _first(self) -> Turn:
        """Return the chosen LLM's turn; where others fail less at the moment, that of the next best."""
        began_s = self.state.router.breakers.begin(self._spec.name)
        if began_s is not None:
            return Turn(self._spec, began_s)
        await self._widen()
        return self._lineup.instead()

    async def _widen(self) -> None:
        """Look for fallbacks among the whole pool, once, where the decision did not."""
        if not self._narrow:
            return
        self._narrow = False
        router = self.state.router
        if router.encoder.blocking:
            self.decision = await asyncio.to_thread(router.reconsider, self.decision, self.request.query)
        else:
            self.decision = router.reconsider(self.decision, self.request.query)
        self._lineup.widen(self.decision)

    def _note(self, attempt: Attempt, error: UpstreamError) -> None:
        """Record an attempt that failed."""
        self._fault = fault = attempt.failed(error)
        self._lineup.failed(attempt.spec, fault, now_s=time.perf_counter())
        self._story.append(f"{attempt.spec.name} failed ({fault.word})")
        self.state.call_metrics.observe_failure(attempt.spec.name, fault.word)
        self._untold = (attempt, error)

    def _tell_last(self) -> None:
        """Tell who watches of the last failure; not where the same LLM gets another try, and may make up for it."""
        if self._untold is not None:
            self.tell(*self._untold)
            self._untold = None

    async def _after(self) -> Turn | None:
        """Return whose turn it is after the last failure; None where nobody's."""
        now_s = time.perf_counter()
        left_s = self._deadline_s - now_s
        if self._fault is None or left_s <= 0 or len(self.attempts) - self._hedges >= self.state.calls.max_attempts:
            return None
        await self._widen()
        turn = self._lineup.after(self._fault, elapsed_s=now_s - self.started_s, now_s=now_s, left_s=left_s)
        if turn is not None:
            self.state.call_metrics.observe_further(turn.spec.name, again=turn.again)
        return turn

    def _hedge_after_s(self, attempt: Attempt) -> float | None:
        """Return after which time another LLM is started beside this one; None: none is."""
        hedge = self.state.calls.hedge
        if not hedge.enabled or self._hedges:
            return None
        candidate = self._lineup.forecast_of(attempt.spec.name)
        if candidate is None or len(self.decision.candidates) < 2:
            return None
        forecast = candidate.forecast
        tail_s = forecast.ttft_tail_s if self.request.stream else forecast.latency_tail_s
        return max(hedge.min_delay_s, hedge.factor * tail_s) if tail_s > 0 else None

    async def _race(self, late: Attempt, delay_s: float) -> Attempt:
        """Return what delivers first: the attempt, or, where it has not after a time, another beside it."""
        running = {asyncio.create_task(late.deliver(left_s=self._left_s())): late}
        winner: Attempt | None = None
        try:
            done, _ = await asyncio.wait(running, timeout=delay_s)
            if not done and (rival := self._rival()) is not None:
                self._story.append(f"{rival.spec.name} was started beside {late.spec.name} after {delay_s:.2f} s")
                self.hedged = late
                running[asyncio.create_task(rival.deliver(left_s=self._left_s()))] = rival
            while winner is None:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in done and winner is None]:
                    attempt = running.pop(task)
                    try:
                        task.result()
                    except UpstreamError as error:
                        self._note(attempt, error)
                        if not running:
                            raise
                        self._tell_last()
                    else:
                        winner = attempt
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if winner is not None and self.hedged is not None:
                await self._settle(winner, late, running.values())
        return winner

    def _rival(self) -> Attempt | None:
        """Begin a call beside one that is late, where there is an LLM for it and hedges are not used up."""
        elapsed_s = time.perf_counter() - self.started_s
        if not self.state.hedges.take():
            return None
        turn = self._lineup.beside(elapsed_s=elapsed_s)
        if turn is None:
            self.state.hedges.give_back()
            return None
        self._hedges += 1
        return self._begin(turn)

    async def _settle(self, winner: Attempt, late: Attempt, losers: Iterable[Attempt]) -> None:
        """Give up those that lost, and count what the hedge came to."""
        cost_usd = 0.0
        for loser in losers:
            await loser.lose()
            if loser.outcome is not None and loser.outcome.cost_usd is not None:
                cost_usd += loser.outcome.cost_usd
        self.state.call_metrics.observe_hedge(late.spec.name, won=winner is not late, lost_usd=cost_usd)


def _header_safe(text: str) -> str:
    return text if text.isascii() else text.encode("ascii", "replace").decode("ascii")
