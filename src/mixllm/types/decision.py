"""Which LLM takes a query, and why."""

from __future__ import annotations

from mixllm.types.forecast import Forecast
from mixllm.types.values import Value

__all__ = ["Candidate", "Decision", "DecisionRecord", "Ineligible", "ShadowChoice", "TagWeight"]


class TagWeight(Value, frozen=True, kw_only=True, gc=False):
    """A tag of the query and its probability."""

    tag: str
    probability: float


class Candidate(Value, frozen=True, kw_only=True, gc=False):
    """An LLM that could have taken the query: its forecast, its score and the probability of choosing it."""

    llm: str
    forecast: Forecast
    score: float
    propensity: float


class Ineligible(Value, frozen=True, kw_only=True, omit_defaults=True):
    """An LLM that a hard constraint ruled out, and why.

    Parameters
    ----------
    llm, reason
        Which, and why.
    failing
        Whether all that speaks against it is that it keeps failing: where every candidate has failed, it is asked too.
    """

    llm: str
    reason: str
    failing: bool = False


class ShadowChoice(Value, frozen=True, kw_only=True):
    """What a second policy would have done with the same query; it is logged and never acted on.

    Parameters
    ----------
    policy
        Its name.
    trade_off
        Its λ.
    llm
        What it would have chosen.
    propensities
        Its probability of each candidate, in the order of the decision's candidates; they sum to 1.
    """

    policy: str
    trade_off: float
    llm: str
    propensities: tuple[float, ...]


class Decision(Value, frozen=True, kw_only=True):
    """Which LLM takes the query, and everything needed to explain and to re-evaluate that choice.

    Parameters
    ----------
    decision_id
        Unique, sorts by time.
    created_at_s
        Unix time.
    llm
        The chosen LLM.
    reason
        One line on why.
    policy
        Name of the policy; "forced" where the caller named the LLM.
    trade_off
        The λ that was used.
    cost_scale_usd
        The c_ref that was used.
    model_version
        Version of the snapshot that made the forecasts.
    seed
        Seed of this decision's random draw.
    tokens_in
        Prompt tokens, counted or estimated.
    tags
        The query's most probable tags.
    candidates
        Every eligible LLM; propensities sum to 1.
    ineligible
        Every other LLM of the pool.
    out_of_domain
        How far the query lies outside of what was learned from, from 0 (inside) to 1 (nothing like it was seen).
    shadow
        What second policies would have done; usually empty.
    key_id
        Who asked (see `Query`).
    in_flight
        Calls to the chosen LLM that were under way when it was chosen.
    """

    decision_id: str
    created_at_s: float
    llm: str
    reason: str
    policy: str
    trade_off: float
    cost_scale_usd: float
    model_version: int
    seed: int
    tokens_in: int
    tags: tuple[TagWeight, ...]
    candidates: tuple[Candidate, ...]
    ineligible: tuple[Ineligible, ...] = ()
    out_of_domain: float = 0.0
    shadow: tuple[ShadowChoice, ...] = ()
    key_id: str = ""
    in_flight: int = 0

    @property
    def chosen(self) -> Candidate:
        """The candidate that was chosen."""
        return next(candidate for candidate in self.candidates if candidate.llm == self.llm)

    @property
    def propensity(self) -> float:
        """The probability with which the chosen LLM was chosen."""
        return self.chosen.propensity


class DecisionRecord(Value, frozen=True, kw_only=True):
    """A decision with what learning needs of the query, as the store keeps it.

    Parameters
    ----------
    encoding
        The encoder's output as little-endian float32 bytes.
    prompt
        The text that was encoded, only where storing prompts is configured.
    """

    decision: Decision
    encoding: bytes
    prompt: str | None = None
