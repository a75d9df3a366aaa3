"""The meta decision maker."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.constraints import Refusal, asks_little, takes_much, too_busy, why_ineligible
from mixllm.decision.forecasts import Forecasts
from mixllm.decision.out_of_domain import OutOfDomainRule, Outside
from mixllm.decision.score import ScoreWeights, score
from mixllm.errors import NoEligibleLLMError, PoolBusyError, UnknownLLMError
from mixllm.interfaces import Policy
from mixllm.types import Candidate, Forecast, Hold, Ineligible, LLMSpec, Query, Value
from mixllm.units import positive

__all__ = ["FORCED", "Choice", "DecisionMaker", "pick"]

FORCED = "forced"
"""The policy's name where the request named the LLM."""

_ALL_FAIL = "; every LLM that could take it fails at present"
_FAR = "; unlike what was learned from, so the safe choice"


class Choice(Value, frozen=True, kw_only=True):
    """Which candidate was chosen, among which, by which policy at which λ (divided by `cost_weight`), and why."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    ineligible: tuple[Ineligible, ...]
    policy: str
    trade_off: float
    reason: str
    cost_weight: float = 1.0


class DecisionMaker:
    """Hard constraints, scores, policy, draw.

    Parameters
    ----------
    weights
        Weights of the score; a query's own λ and τ go before theirs.
    policy
        Turns scores into probabilities.
    out_of_domain
        What is done with queries unlike those learned from; None: nothing.
    max_wait_s
        An LLM where the expected wait is longer takes no further calls, > 0; infinite: no bound.
    """

    def __init__(
        self,
        *,
        weights: ScoreWeights,
        policy: Policy,
        out_of_domain: OutOfDomainRule | None = None,
        max_wait_s: float = math.inf,
    ) -> None:
        self.weights = weights
        self.policy = policy
        self.out_of_domain = out_of_domain
        self.max_wait_s = max_wait_s if max_wait_s == math.inf else positive("max_wait_s", max_wait_s)

    def choose(
        self,
        query: Query,
        *,
        specs: Sequence[LLMSpec],
        forecasts: Sequence[Forecast],
        cost_scale_usd: float,
        draw: float,
        forced: str | None = None,
        cost_weight: float = 1.0,
        outside: Outside | None = None,
        holds: Sequence[Hold | None] | None = None,
        unavailable: Mapping[str, str] | None = None,
    ) -> Choice:
        """Choose an LLM for `query`.

        Parameters
        ----------
        query
            What is asked, with its constraints.
        specs, forecasts
            The K LLMs of the pool and their forecasts.
        cost_scale_usd
            c_ref.
        draw
            A number in [0, 1) that picks from the policy's probabilities; the same draw picks the same.
        forced
            Name of the LLM to take whatever the scores and the query's constraints say; only that it takes no calls
            now stands against it.
        cost_weight
            How many times as much cost counts, >= 1: the 1+μ of a budget. λ is divided by it.
        outside
            How far outside of what was learned from the query lies; None: inside.
        holds
            Why each LLM would refuse any call now, None where it would not; None: none would.
        unavailable
            LLMs that should not be called now, and why; where no other could take `query`, they are chosen from.

        Raises
        ------
        NoEligibleLLMError
            Where hard constraints rule out every LLM; says why for each.
        PoolBusyError
            Where one could take it, but not now.
        UnknownLLMError
            Where there is no LLM named `forced`.
        """
        rule = self.out_of_domain
        if rule is not None and outside is not None:
            forecasts = rule.widened(Forecasts.of(forecasts), outside)
        if forced is not None:
            return self._force(forced, query, specs, forecasts, cost_scale_usd, cost_weight, holds)
        forecasts = Forecasts.of(forecasts)
        eligible, ineligible = self._sieve(query, specs, forecasts, holds, unavailable or {})
        weights = self.weights_for(query, forecasts, cost_weight)
        # Most queries rule out none: then the columns are taken as they are.
        kept = forecasts.take(eligible) if ineligible else forecasts
        far = rule is not None and outside is not None and rule.far(outside.score)
        judged = rule.safe(kept) if rule is not None and far else kept
        scores, stds = score(judged, weights=weights, cost_scale_usd=cost_scale_usd, streamed=query.streamed)
        propensities = self.policy.propensities(scores=scores, stds=stds, forecasts=judged)
        candidates = tuple(
            [
                Candidate(llm=specs[row].name, forecast=forecast, score=value, propensity=propensity)
                for row, forecast, value, propensity in zip(
                    eligible, kept.values(), scores.tolist(), propensities.tolist(), strict=True
                )
            ]
        )
        place = pick(propensities, draw)
        return Choice(
            chosen=candidates[place],
            candidates=candidates,
            ineligible=tuple(ineligible),
            policy=self.policy.name,
            trade_off=weights.trade_off,
            reason=_reason(place, candidates, self.policy.name)
            + (_FAR if far else "")
            + (_ALL_FAIL if unavailable and candidates[place].llm in unavailable else "")
            + _pacing(weights.trade_off, cost_weight),
            cost_weight=cost_weight,
        )

    def _force(
        self,
        name: str,
        query: Query,
        specs: Sequence[LLMSpec],
        forecasts: Sequence[Forecast],
        cost_scale_usd: float,
        cost_weight: float,
        holds: Sequence[Hold | None] | None,
    ) -> Choice:
        names = [spec.name for spec in specs]
        if name not in names:
            raise UnknownLLMError(name, names)
        row = names.index(name)
        forecast = forecasts[row]
        busy = too_busy(forecast, hold=holds[row] if holds else None, max_wait_s=self.max_wait_s)
        if busy is not None:
            raise _none_left({name: busy})
        weights = self.weights_for(query, forecasts, cost_weight)
        scores, _ = score([forecast], weights=weights, cost_scale_usd=cost_scale_usd, streamed=query.streamed)
        candidate = Candidate(llm=name, forecast=forecast, score=float(scores[0]), propensity=1.0)
        return Choice(
            chosen=candidate,
            candidates=(candidate,),
            ineligible=(),
            policy=FORCED,
            trade_off=weights.trade_off,
            reason="the request names this LLM",
            cost_weight=cost_weight,
        )

    def weights_for(self, query: Query, forecasts: Sequence[Forecast], cost_weight: float = 1.0) -> ScoreWeights:
        """Return the weights for `query`: its own λ and τ if it has any, and λ divided by `cost_weight`."""
        if query.trade_off is None and query.deadline_s is None and self.weights.caution == 0 and cost_weight == 1.0:
            return self.weights
        trade_off = query.trade_off
        if trade_off is None:
            # Python's sum, from left to right: the same λ whether the forecasts come with columns or without.
            trade_off = self.weights.cautious_trade_off(sum(Forecasts.of(forecasts).judgements.tolist()))
        deadline_s = self.weights.deadline_s if query.deadline_s is None else query.deadline_s
        return replace(self.weights, trade_off=trade_off / cost_weight, deadline_s=deadline_s)

    def _sieve(
        self,
        query: Query,
        specs: Sequence[LLMSpec],
        forecasts: Forecasts,
        holds: Sequence[Hold | None] | None,
        unavailable: Mapping[str, str],
    ) -> tuple[Sequence[int], list[Ineligible]]:
        idle = not unavailable and holds is None and max(forecasts.wait_s.tolist(), default=0.0) <= self.max_wait_s
        if idle and specs and asks_little(query) and all(takes_much(spec) for spec in specs):
            return range(len(specs)), []
        eligible: list[int] = []
        failing: list[int] = []
        refusals: dict[str, Refusal] = {}
        for row, (spec, forecast) in enumerate(zip(specs, forecasts, strict=True)):
            hold = None if holds is None else holds[row]
            refusal = why_ineligible(query, spec, forecast, hold=hold, max_wait_s=self.max_wait_s)
            if refusal is not None:
                refusals[spec.name] = refusal
            elif spec.name in unavailable:
                failing.append(row)
            else:
                eligible.append(row)
        ineligible = [Ineligible(llm=llm, reason=refusal.reason) for llm, refusal in refusals.items()]
        if eligible:
            names = [specs[row].name for row in failing]
            ineligible += [Ineligible(llm=name, reason=unavailable[name], failing=True) for name in names]
            return eligible, ineligible
        if not failing:
            raise _none_left(refusals)
        return failing, ineligible  # A call that may fail is better than none.


def pick(propensities: NDArray[np.float64], draw: float) -> int:
    """Return the place that `draw`, a number in [0, 1), picks from probabilities of shape (K,)."""
    shares = propensities.tolist()  # A pool is too small for array functions to pay.
    place = bisect_right(list(accumulate(shares)), draw * float(propensities.sum()))
    # Rounding may lead past the end, or onto a candidate of probability 0: the last possible one is meant.
    if place < len(shares) and shares[place] > 0:
        return place
    return max(row for row, share in enumerate(shares) if share > 0)


def _none_left(refusals: Mapping[str, Refusal]) -> NoEligibleLLMError:
    """Return the error that says why no LLM is left, and whether waiting helps."""
    reasons = {llm: refusal.reason for llm, refusal in refusals.items()}
    passing = [refusal.passes_in_s for refusal in refusals.values() if refusal.passes_in_s is not None]
    if not passing:
        return NoEligibleLLMError(reasons)
    return PoolBusyError(reasons, retry_after_s=min(passing))


def _pacing(trade_off: float, cost_weight: float) -> str:
    return (
        f"; a limit on cost paces λ from {trade_off * cost_weight:.3g} to {trade_off:.3g}" if cost_weight > 1.0 else ""
    )


def _reason(place: int, candidates: Sequence[Candidate], policy: str) -> str:
    if len(candidates) == 1:
        return "the only eligible LLM"
    scores, chosen = [one.score for one in candidates], candidates[place]
    best = max(scores)
    if place == scores.index(best):
        return f"best score {best:.3f} of {len(scores)} ({policy})"
    return f"explored ({policy}), score {chosen.score:.3f} of at best {best:.3f}, p={chosen.propensity:.3f}"
