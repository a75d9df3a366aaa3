"""Decisions into a report: a pass over them that keeps sums alone."""

from __future__ import annotations

from mixllm.dashboard.call_tally import CallTally
from mixllm.dashboard.figures import (
    Feedbacks,
    KeyFigures,
    LLMFigures,
    Report,
    ShadowFigures,
    Share,
    Spend,
    TagFigures,
)
from mixllm.dashboard.forecast_tally import ForecastTally
from mixllm.dashboard.groups import Groups
from mixllm.dashboard.means import StreamMean
from mixllm.dashboard.savings_tally import SavingsTally
from mixllm.dashboard.series_tally import SeriesTally
from mixllm.decision.maker import FORCED
from mixllm.learning.store_export import judged_quality
from mixllm.types import Decision, Outcome, OutcomeStatus, StoredDecision

__all__ = ["Tally", "answer_of"]


def answer_of(stored: StoredDecision) -> Outcome | None:
    """Return the call whose answer was given: the last that ended well; None where none did."""
    return next((one for one in reversed(stored.outcomes) if one.status is OutcomeStatus.OK), None)


class _LLM:
    __slots__ = ("calls", "decisions", "forecasts", "quality")

    def __init__(self) -> None:
        self.decisions = 0
        self.calls, self.forecasts, self.quality = CallTally(), ForecastTally(), StreamMean()


class _Group:
    """Decisions of a key, or with a tag."""

    __slots__ = ("cost_usd", "decisions", "judging_usd", "quality")

    def __init__(self) -> None:
        self.decisions = 0
        self.cost_usd = self.judging_usd = 0.0
        self.quality = StreamMean()


class _Shadow:
    __slots__ = ("agreed", "decisions")

    def __init__(self) -> None:
        self.agreed = self.decisions = 0


class Tally:
    """Sums over decisions, in any order, in memory that does not grow with their number.

    Parameters
    ----------
    reference
        The LLM that savings are measured against.
    out_of_domain_threshold
        From which score on a query counts as unlike what was learned from, in [0, 1].
    span_s
        Length of the period; None where nobody knows.
    """

    def __init__(self, *, reference: str, out_of_domain_threshold: float, span_s: float | None = None) -> None:
        self.decisions = 0
        self._threshold = out_of_domain_threshold
        self._answered = self._failed = self._cancelled = self._silent = 0
        self._forced = self._fallbacks = self._explored = self._outside = 0
        self._quality = StreamMean()
        self._calls, self._forecasts = CallTally(), ForecastTally()
        self._judging_usd = 0.0
        self._judgements = self._judged_decisions = 0
        self._savings = SavingsTally(reference)
        self._series = SeriesTally(span_s)
        self._llms, self._keys, self._tags = Groups(_LLM), Groups(_Group), Groups(_Group)
        self._shadows = Groups(_Shadow)
        self._sources: Groups[StreamMean] = Groups(StreamMean)

    def add(self, stored: StoredDecision) -> None:
        """Count a decision with what came of it."""
        decision, answer = stored.decision, answer_of(stored)
        quality = judged_quality(stored.feedback)
        self.decisions += 1
        if quality is not None:
            self._quality.add(quality)
        failed = self._count_end(stored, answer)
        costs = [one.cost_usd for one in stored.outcomes if one.cost_usd is not None]
        cost_usd = sum(costs)
        judging_usd = self._count_feedback(stored)
        self._count_choice(decision)
        self._count_calls(stored, answer, quality)
        for name, groups in (
            (decision.key_id, self._keys),
            (decision.tags[0].tag if decision.tags else "", self._tags),
        ):
            group = groups[name]
            group.decisions += 1
            group.cost_usd += cost_usd
            group.judging_usd += judging_usd
            if quality is not None:
                group.quality.add(quality)
        compared = self._savings.add(decision, cost_usd if costs else None)
        self._series.add(decision.created_at_s, failed=failed, cost_usd=cost_usd, compared=compared, quality=quality)

    def _count_end(self, stored: StoredDecision, answer: Outcome | None) -> bool:
        """Count how the decision ended; return whether there was no answer where there should be one."""
        self._fallbacks += len(stored.outcomes) > 1
        if answer is not None:
            self._answered += 1
        elif not stored.outcomes:
            self._silent += 1
        elif stored.outcomes[-1].status is OutcomeStatus.CANCELLED:
            self._cancelled += 1
        else:
            self._failed += 1
            return True
        return False

    def _count_feedback(self, stored: StoredDecision) -> float:
        """Count the judgements; return what they have cost."""
        for judgement in stored.feedback:
            self._sources[judgement.source].add(judgement.value)
        self._judgements += len(stored.feedback)
        self._judged_decisions += bool(stored.feedback)
        judging_usd = sum(judgement.cost_usd for judgement in stored.feedback)
        self._judging_usd += judging_usd
        return judging_usd

    def _count_choice(self, decision: Decision) -> None:
        self._outside += decision.out_of_domain >= self._threshold
        if decision.policy == FORCED:
            self._forced += 1
            return
        scores = {one.llm: one.score for one in decision.candidates}
        self._explored += decision.llm in scores and scores[decision.llm] < max(scores.values())
        for shadow in decision.shadow:
            tally = self._shadows[shadow.policy]
            tally.decisions += 1
            tally.agreed += shadow.llm == decision.llm

    def _count_calls(self, stored: StoredDecision, answer: Outcome | None, quality: float | None) -> None:
        decision = stored.decision
        for outcome in stored.outcomes:
            self._calls.add(outcome)
            self._llms[outcome.llm or decision.llm].calls.add(outcome)
        name = decision.llm if answer is None else answer.llm or decision.llm
        llm = self._llms[name]
        llm.decisions += 1
        if quality is not None:
            llm.quality.add(quality)
        if answer is None:
            return
        self._calls.add_answer(answer)
        llm.calls.add_answer(answer)
        if name == decision.llm:  # What was forecast of an LLM that stood in was forecast for another time.
            forecast = next((one.forecast for one in decision.candidates if one.llm == name), None)
            if forecast is not None:
                self._forecasts.add(forecast, answer=answer, quality=quality)
                llm.forecasts.add(forecast, answer=answer, quality=quality)

    def report(self, *, from_s: float, to_s: float, complete: bool) -> Report:
        """Return the report on a period."""
        free = self.decisions - self._forced
        calls_usd = self._calls.cost_usd
        return Report(
            from_s=from_s,
            to_s=to_s,
            complete=complete,
            decisions=self.decisions,
            answered=self._answered,
            failed=self._failed,
            cancelled=self._cancelled,
            without_outcome=self._silent,
            forced=self._forced,
            fallbacks=self._fallbacks,
            llms={name: self._llm(one) for name, one in sorted(self._llms.items(), key=_by_decisions)},
            quality=self._quality.measured(),
            spend=Spend(calls_usd=calls_usd, judging_usd=self._judging_usd, total_usd=calls_usd + self._judging_usd),
            savings=self._savings.figures(judging_usd=self._judging_usd),
            latency_s=self._calls.latency_s(),
            ttft_s=self._calls.ttft_s(),
            calls=self._calls.calls(),
            keys={
                name: KeyFigures(decisions=one.decisions, cost_usd=one.cost_usd, judging_usd=one.judging_usd)
                for name, one in sorted(self._keys.items(), key=lambda item: -item[1].cost_usd)
            },
            tags={
                name: TagFigures(
                    decisions=one.decisions,
                    share=one.decisions / self.decisions,
                    quality=one.quality.measured(),
                    cost_usd=one.cost_usd,
                )
                for name, one in sorted(self._tags.items(), key=lambda item: -item[1].decisions)
            },
            exploration=_share(self._explored, free),
            out_of_domain=_share(self._outside, self.decisions),
            out_of_domain_threshold=self._threshold,
            shadows={
                name: ShadowFigures(decisions=one.decisions, agreement=one.agreed / one.decisions)
                for name, one in sorted(self._shadows.items())
            },
            feedback=Feedbacks(
                judgements=self._judgements,
                decisions=self._judged_decisions,
                by_source={name: one.count for name, one in sorted(self._sources.items())},
            ),
            forecasts=self._forecasts.figures(),
            series=self._series.figures(),
        )

    def _llm(self, one: _LLM) -> LLMFigures:
        return LLMFigures(
            decisions=one.decisions,
            share=one.decisions / self.decisions,
            quality=one.quality.measured(),
            cost_usd=one.calls.cost_usd,
            latency_s=one.calls.latency_s(),
            ttft_s=one.calls.ttft_s(),
            calls=one.calls.calls(),
            forecasts=one.forecasts.figures(),
        )


def _by_decisions(item: tuple[str, _LLM]) -> tuple[int, str]:
    return -item[1].decisions, item[0]


def _share(decisions: int, of: int) -> Share:
    return Share(decisions=decisions, share=decisions / of if of else None)
