"""Second policies that decide beside the live one: logged, compared, never acted on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from mixllm.decision import Choice, DecisionMaker, Forecasts, Outside, pick, score
from mixllm.decision.maker import FORCED
from mixllm.errors import InvalidValueError
from mixllm.router.budget import CHEAPEST
from mixllm.types import Query, ShadowChoice, Value

__all__ = ["Shadow", "ShadowCounts", "Shadows"]

_LOG = logging.getLogger(__name__)
_NO_POLICY = frozenset({FORCED, CHEAPEST})


class ShadowCounts(Value, frozen=True, kw_only=True):
    """What one shadow did since the start.

    Parameters
    ----------
    decisions
        Decisions that it made beside the live policy.
    agreed
        How many of them named the LLM that the live policy chose.
    failed
        How many it could not make.
    cost_difference_usd, quality_difference
        Sum over its decisions of what it was expected to cost and to be worth, less the live policy's; from forecasts,
        weighted with the probabilities of both.
    """

    decisions: int = 0
    agreed: int = 0
    failed: int = 0
    cost_difference_usd: float = 0.0
    quality_difference: float = 0.0


class Shadow:
    """One policy that decides beside the live one.

    Parameters
    ----------
    name
        What its choices are logged under.
    maker
        Its weights and policy.
    """

    def __init__(self, *, name: str, maker: DecisionMaker) -> None:
        if not name.strip():
            raise InvalidValueError("name", name, "more than blanks")
        self.name = name
        self.maker = maker
        self.counts = ShadowCounts()

    def choose(
        self,
        query: Query,
        choice: Choice,
        *,
        candidates: Forecasts,
        forecasts: Forecasts,
        cost_scale_usd: float,
        draw: float,
        cost_weight: float,
        outside: Outside | None,
    ) -> ShadowChoice:
        """Return what it would have done among the candidates of `choice`, with the same draw.

        Parameters
        ----------
        query, choice
            What was asked, and what the live policy chose.
        candidates, forecasts
            Forecasts of the candidates, and of the whole pool.
        cost_scale_usd, draw, cost_weight, outside
            As the live policy had them.
        """
        rule = self.maker.out_of_domain
        if rule is not None and outside is not None and rule.far(outside.score):
            candidates = rule.safe(candidates)
        weights = self.maker.weights_for(query, forecasts, cost_weight)
        scores, stds = score(candidates, weights=weights, cost_scale_usd=cost_scale_usd)
        propensities = self.maker.policy.propensities(scores=scores, stds=stds, forecasts=candidates)
        return ShadowChoice(
            policy=self.name,
            trade_off=weights.trade_off,
            llm=choice.candidates[pick(propensities, draw)].llm,
            propensities=tuple(propensities.tolist()),
        )

    def count(self, choice: Choice, made: ShadowChoice | None) -> None:
        """Count a choice beside the live one; None: it failed."""
        before = self.counts
        if made is None:
            self.counts = _plus(before, failed=1)
            return
        cost_usd = quality = 0.0
        for candidate, propensity in zip(choice.candidates, made.propensities, strict=True):
            moved = propensity - candidate.propensity
            cost_usd += moved * candidate.forecast.cost_usd.mean
            quality += moved * candidate.forecast.quality.mean
        agreed = int(made.llm == choice.chosen.llm)
        self.counts = _plus(
            before, decisions=1, agreed=agreed, cost_difference_usd=cost_usd, quality_difference=quality
        )


class Shadows:
    """All the shadows of a router; thread-safe. Nothing that goes wrong in them reaches a request.

    Parameters
    ----------
    shadows
        With names of their own.
    """

    def __init__(self, shadows: Sequence[Shadow]) -> None:
        names = [shadow.name for shadow in shadows]
        if len(set(names)) < len(names):
            raise InvalidValueError("shadows", names, "without two of the same name")
        self.shadows = tuple(shadows)
        self._lock = threading.Lock()
        self._complained = False

    def choices(
        self,
        query: Query,
        choice: Choice,
        *,
        forecasts: Forecasts,
        cost_scale_usd: float,
        draw: float,
        outside: Outside | None = None,
    ) -> tuple[ShadowChoice, ...]:
        """Return what each shadow would have done; nothing where no policy chose, and none for one that fails.

        Parameters
        ----------
        query, choice
            What was asked, and what the live policy chose.
        forecasts
            Forecasts of the whole pool.
        cost_scale_usd, draw, outside
            As the live policy had them.
        """
        if choice.policy in _NO_POLICY:
            return ()
        candidates = forecasts
        if len(choice.candidates) < len(forecasts) or outside is not None:
            # Those that the live policy had: some ruled out, or less sure of a query from elsewhere.
            candidates = Forecasts.of([candidate.forecast for candidate in choice.candidates])
        made: list[ShadowChoice | None] = []
        for shadow in self.shadows:
            try:
                made.append(
                    shadow.choose(
                        query,
                        choice,
                        candidates=candidates,
                        forecasts=forecasts,
                        cost_scale_usd=cost_scale_usd,
                        draw=draw,
                        cost_weight=choice.cost_weight,
                        outside=outside,
                    )
                )
            except Exception as error:  # noqa: BLE001 -- a shadow is never a reason to fail a request
                made.append(None)
                self._complain(shadow.name, error)
        with self._lock:
            for shadow, one in zip(self.shadows, made, strict=True):
                shadow.count(choice, one)
        return tuple(one for one in made if one is not None)

    def counts(self) -> dict[str, ShadowCounts]:
        """Return what each shadow did since the start, by name."""
        with self._lock:
            return {shadow.name: shadow.counts for shadow in self.shadows}

    def _complain(self, name: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            _LOG.error(
                "the shadow %r cannot decide (%s: %s); later failures are only counted",
                name,
                type(error).__name__,
                error,
            )


def _plus(counts: ShadowCounts, **more: float) -> ShadowCounts:
    return ShadowCounts(**{name: getattr(counts, name) + more.get(name, 0) for name in counts.__struct_fields__})
