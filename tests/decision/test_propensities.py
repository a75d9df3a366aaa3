"""Propensities are probabilities, and choices are drawn from them: all that off-policy evaluation rests on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decision.forecasts import forecast

from mixllm.decision import (
    DecisionMaker,
    ExplorationBounds,
    GreedyPolicy,
    ScoreWeights,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.interfaces import Policy
from mixllm.types import LLMSpec, Query

POLICIES: tuple[Policy, ...] = (
    GreedyPolicy(),
    UCBPolicy(exploration=0.3),
    SquareCBPolicy(gap_weight=20.0),
    SquareCBPolicy(gap_weight=20.0, bounds=ExplorationBounds(max_cost_ratio=3.0, min_quality=0.2)),
    ThompsonPolicy(),
    WarmUpPolicy(policy=ThompsonPolicy(scale=0.5), judgements=5, share=0.3, bounds=ExplorationBounds()),
)
DRAWS = 2_000


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from(POLICIES))
def test_they_sum_to_one_and_choices_come_as_often_as_they_say(seed: int, llms: int, policy: Policy) -> None:
    rng = np.random.default_rng(seed)
    specs = [LLMSpec(name=f"llm-{row}") for row in range(llms)]
    forecasts = [
        forecast(
            quality=float(rng.random()),
            std=float(rng.uniform(0, 0.2)),
            cost_usd=float(rng.uniform(1e-4, 1e-2)),
        )
        for _ in specs
    ]
    maker = DecisionMaker(weights=ScoreWeights(), policy=policy)

    def choose(draw: float) -> str:
        choice = maker.choose(Query(text="q"), specs=specs, forecasts=forecasts, cost_scale_usd=5e-3, draw=draw)
        return choice.chosen.llm

    whole = maker.choose(Query(text="q"), specs=specs, forecasts=forecasts, cost_scale_usd=5e-3, draw=0.5)
    propensities = {candidate.llm: candidate.propensity for candidate in whole.candidates}
    assert sum(propensities.values()) == pytest.approx(1.0, abs=1e-9)
    assert all(0.0 <= propensity <= 1.0 for propensity in propensities.values())
    # Draws at equal distances: each LLM's share is its propensity to a draw, so no chance is left in the test.
    counts = Counter(choose((number + 0.5) / DRAWS) for number in range(DRAWS))
    for llm, propensity in propensities.items():
        assert abs(counts[llm] / DRAWS - propensity) <= 1.5 / DRAWS
        assert propensity > 0 or counts[llm] == 0, "what has no probability is never chosen"
