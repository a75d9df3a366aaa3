"""A shadow that was logged beside the live policy, as a target: its own propensities, as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError, did_you_mean
from mixllm.evaluation.offpolicy.gathering import Gathered
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.evaluation.offpolicy.store_source import row_of, stored_decisions
from mixllm.interfaces import Store
from mixllm.types import Decision, ShadowChoice, Value

__all__ = ["LoggedShadow", "ShadowAgreement", "shadow_of_store"]


class ShadowAgreement(Value, frozen=True, kw_only=True):
    """How a shadow's choices compare with the live policy's, whatever came of them.

    Parameters
    ----------
    decisions
        Decisions that both made.
    without_shadow
        Decisions of the log that this shadow did not make.
    agreement
        Share in which both chose the same LLM.
    expected_agreement
        The same with the draws averaged out: the mean of Σ_l p_l π_l.
    cost_difference_usd, quality_difference
        Mean of Σ_l (π_l − p_l) · forecast: what the shadow was expected to cost and to be worth beyond the live policy.
    live_lambda, shadow_lambda
        Mean λ of both.
    choices
        How often the live policy chose one LLM and the shadow another: ``{"small -> large": 17}``; agreements left out.
    """

    decisions: int
    without_shadow: int
    agreement: float
    expected_agreement: float
    cost_difference_usd: float
    quality_difference: float
    live_lambda: float
    shadow_lambda: float
    choices: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedShadow:
    """The propensities that a shadow had for the n decisions of one log; a target of `what_if`.

    Parameters
    ----------
    name
        The shadow's.
    log
        The decisions that it made beside the live policy.
    probabilities
        Its probability of each LLM, shape (n, K).
    lambdas
        Its λ, shape (n,).
    agreement
        How its choices compare.
    """

    name: str
    log: LoggedDecisions
    probabilities: NDArray[np.float64]
    lambdas: NDArray[np.float64]
    agreement: ShadowAgreement

    @property
    def trade_off(self) -> float | None:
        """None: each decision has the λ that the shadow had."""
        return None

    @property
    def without(self) -> frozenset[str]:
        """No LLM is left out."""
        return frozenset()

    def trade_offs(self, log: LoggedDecisions) -> NDArray[np.float64]:
        """Return the shadow's λ of each decision, shape (n,)."""
        self._check(log)
        return self.lambdas

    def propensities(self, log: LoggedDecisions) -> NDArray[np.float64]:
        """Return the shadow's probability of each LLM, shape (n, K)."""
        self._check(log)
        return self.probabilities

    def _check(self, log: LoggedDecisions) -> None:
        if log is not self.log:
            raise InvalidValueError("log", "another log", "the one that the shadow was logged in")


def shadow_of_store(
    store: Store, shadow: str | int, *, name: str = "The store", on_progress: Callable[[int, int], None] | None = None
) -> LoggedShadow:
    """Read the decisions that a shadow made beside the live policy, with what came of the live one's.

    Parameters
    ----------
    store
        It stays open, and nothing is written.
    shadow
        The shadow's name, or its place among those of the newest decision that has any.
    name
        What the store is called in errors.
    on_progress
        As `decisions_of_store` takes it.

    Raises
    ------
    LogError
        Where no decision has that shadow, or none of those has an outcome.
    """
    gathered = Gathered()
    kept: list[tuple[Decision, ShadowChoice]] = []
    wanted = shadow if isinstance(shadow, str) else None
    names: set[str] = set()
    left_out = 0
    for stored in stored_decisions(store, on_progress=on_progress):
        choices = {choice.policy: choice for choice in stored.decision.shadow}
        names.update(choices)
        if isinstance(shadow, int) and wanted is None and 0 <= shadow < len(choices):
            wanted = list(choices)[shadow]
        choice = None if wanted is None else choices.get(wanted)
        if choice is None:
            left_out += 1
        elif gathered.add(row_of(stored)):
            kept.append((stored.decision, choice))
    if wanted not in names:
        raise LogError(_nobody(name, shadow, names))
    assert wanted is not None
    log = gathered.columns(newest_first=True, name=f"{name}, where the shadow {wanted!r} decided too,")
    kept.reverse()
    places = {llm: column for column, llm in enumerate(log.llms)}
    probabilities = np.zeros((len(log), len(log.llms)))
    for row, (decision, choice) in enumerate(kept):
        columns = [places[candidate.llm] for candidate in decision.candidates]
        probabilities[row, columns] = choice.propensities
    lambdas = np.array([choice.trade_off for _, choice in kept])
    chosen = [(decision.llm, choice.llm) for decision, choice in kept]
    return LoggedShadow(
        name=wanted,
        log=log,
        probabilities=probabilities,
        lambdas=lambdas,
        agreement=_agreement(log, probabilities, lambdas, chosen, left_out),
    )


def _agreement(
    log: LoggedDecisions,
    probabilities: NDArray[np.float64],
    lambdas: NDArray[np.float64],
    chosen: list[tuple[str, str]],
    left_out: int,
) -> ShadowAgreement:
    moved = probabilities - log.propensities
    differing = Counter(f"{live} -> {shadow}" for live, shadow in chosen if live != shadow)
    return ShadowAgreement(
        decisions=len(log),
        without_shadow=left_out,
        agreement=1.0 - sum(differing.values()) / len(log),
        expected_agreement=float((probabilities * log.propensities).sum(axis=1).mean()),
        cost_difference_usd=_mean(moved, log.cost_usd_mean, log),
        quality_difference=_mean(moved, log.quality_mean, log),
        live_lambda=float(log.trade_off.mean()),
        shadow_lambda=float(lambdas.mean()),
        choices=dict(differing.most_common()),
    )


def _mean(moved: NDArray[np.float64], forecast: NDArray[np.float64], log: LoggedDecisions) -> float:
    return float((moved * np.where(log.candidates, forecast, 0.0)).sum(axis=1).mean())


def _nobody(name: str, shadow: str | int, names: set[str]) -> str:
    if not names:
        return f"{name} holds no decision with a shadow. Set routing.shadow, and route some traffic."
    asked = repr(shadow) if isinstance(shadow, str) else f"at place {shadow}"
    hint = did_you_mean(shadow, names) if isinstance(shadow, str) else ""
    return f"{name} holds no decision of a shadow {asked}.{hint} It holds: {', '.join(sorted(names))}."
