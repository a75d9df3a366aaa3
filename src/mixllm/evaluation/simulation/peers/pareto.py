"""ParetoBandit, through the package ``paretobandit`` (imported as ``pareto_bandit``)."""

from __future__ import annotations

from typing import Any

from mixllm.evaluation.simulation.peers.extra import peers_extra
from mixllm.evaluation.simulation.player import Arrival, Feedback
from mixllm.types import LLMSpec
from mixllm.units import non_negative

__all__ = ["ParetoBandit"]

_LOWEST_REWARD = -1000.0
"""It cuts rewards to a range; the range is made so wide that it cuts none."""


class ParetoBandit:
    """ParetoBandit's router on features that it is given.

    Parameters
    ----------
    pool
        The LLMs to start with.
    dimension
        Length D of the features.
    seed
        Of its draws.
    alpha
        Its exploration; None takes the package's own.
    own_cost
        Whether it trades cost its own way: it learns from quality alone and its cost penalty is the package's. Without,
        it learns from the same reward as everyone, and the penalty is off, since the reward has the cost in it.

    Raises
    ------
    MissingExtraError
        Where ParetoBandit is not installed.
    """

    def __init__(
        self,
        *,
        pool: tuple[LLMSpec, ...],
        dimension: int,
        seed: int,
        alpha: float | None = None,
        own_cost: bool = False,
    ) -> None:
        with peers_extra("ParetoBandit as a peer"):
            from pareto_bandit import BanditRouter
            from pareto_bandit.feature_service import FeatureService
            from pareto_bandit.types import RouterConfig
        chosen: dict[str, Any] = {} if alpha is None else {"alpha": non_negative("alpha", alpha)}
        if not own_cost:
            chosen["cost_penalty"] = 0.0
        self._own_cost = own_cost
        self._bandit: Any = BanditRouter.create(
            model_registry={spec.name: _pricing(spec) for spec in pool},
            priors="none",
            feature_service=FeatureService.for_precomputed(dimension),
            bandit_seed=seed,
            config=RouterConfig(reward_min=_LOWEST_REWARD),
            **chosen,
        )
        self._pool = pool
        self._out: dict[str, Any] = {}
        self._asked: dict[int, str] = {}

    def choose(self, arrival: Arrival) -> str:
        """Return the LLM that it routes the query to."""
        if arrival.pool != self._pool:
            self._change_pool(arrival.pool)
        llm, log = self._bandit.route(arrival.features, input_tokens=arrival.tokens_in)
        self._asked[arrival.number] = str(log.request_id)
        return str(llm)

    def learn(self, feedback: Feedback) -> None:
        """Give it the reward, or the quality where it trades cost its own way."""
        request_id = self._asked.pop(feedback.number)
        told = feedback.quality if self._own_cost else feedback.reward
        if told is not None:
            self._bandit.process_feedback(request_id, reward=told)

    def close(self) -> None:
        """Hold nothing."""

    def _change_pool(self, pool: tuple[LLMSpec, ...]) -> None:
        # What is in its registry can be chosen; what it has learned of an LLM that left stays with its bandit.
        now = {spec.name: spec for spec in pool}
        for name in [name for name in self._bandit.registry if name not in now]:
            self._out[name] = self._bandit.registry.pop(name)
        for name, spec in now.items():
            if name in self._out:
                self._bandit.registry[name] = self._out.pop(name)
            if name in self._bandit.registry:
                self._bandit.update_model_pricing(name, **_pricing(spec))
            else:
                self._bandit.register_model(name, **_pricing(spec))
        self._pool = pool


def _pricing(spec: LLMSpec) -> dict[str, float]:
    assert spec.price is not None, "streams price every LLM"
    return {
        "input_cost_per_m": spec.price.usd_per_million_tokens_in,
        "output_cost_per_m": spec.price.usd_per_million_tokens_out,
    }
