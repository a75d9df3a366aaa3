"""A router that is made in milliseconds: hashed words, three domains, three LLMs; and what tests do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixllm import Decision, Forecast, LLMSpec, Outcome, Price, Router
from mixllm.config import (
    Config,
    DomainConfig,
    EncoderConfig,
    LearningConfig,
    PolicyConfig,
    RoutingConfig,
    TagsConfig,
    parse_config,
)

ENCODER = EncoderConfig(kind="hashing")
TAGS = TagsConfig(
    domains=(
        DomainConfig(name="maths", description="sum product equation number solve"),
        DomainConfig(name="law", description="court contract judge plaintiff statute"),
        DomainConfig(name="code", description="python function bug program loop"),
    ),
    projection_dimension=8,
)
EXPLORING = RoutingConfig(policy=PolicyConfig(name="squarecb", gap_weight=5.0))
"""Every LLM is chosen now and then."""

WORDS = ("solve", "the", "equation", "court", "contract", "python", "loop", "sum", "judge", "bug", "number", "of")


def spec(name: str, usd: float, **more: Any) -> LLMSpec:
    """Return an LLM that costs `usd` per million tokens."""
    return LLMSpec(name=name, price=Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd), **more)


SPECS = (spec("small", 0.1), spec("middle", 1.0), spec("large", 10.0))


def small_router(**change: Any) -> Router:
    """Return a router over `SPECS`; `change` are parameters of `Router`."""
    given: dict[str, Any] = {
        "llms": SPECS,
        "encoder": ENCODER,
        "tags": TAGS,
        "routing": EXPLORING,
        "learning": LearningConfig(),
        "seed": 7,
        **change,
    }
    return Router(**given)


def question(number: int) -> str:
    """Return one of many different questions."""
    return " ".join(WORDS[(number * step + step) % len(WORDS)] for step in range(1, 7)) + f" {number % 17}"


FILE = """\
model_list:
- model_name: small
  litellm_params: {{model: openai/s, input_cost_per_token: 1e-7, output_cost_per_token: 1e-7}}
- model_name: large
  litellm_params: {{model: openai/l, api_key: sk-very-secret, input_cost_per_token: 1e-5, output_cost_per_token: 1e-5}}
routing: {{lambda: 3, reference_llm: small, policy: {{name: squarecb, gap_weight: 5}}}}
encoder: {{kind: hashing}}
tags:
  domains: [{{name: maths, description: sum product}}, {{name: law, description: court}}]
  projection_dimension: 8
learning: {{checkpoint_interval_s: 9}}
store: {{kind: sqlite, path: '{path}'}}
privacy: {{store_prompts: true}}
"""


def configured(path: Path) -> Config:
    """Return a configuration whose store is the file `path`."""
    return parse_config(FILE.format(path=path))


def called(router: Router, number: int = 0, **outcome: Any) -> Decision:
    """Route a question and record an ordinary call."""
    decision = router.route(question(number))
    router.record(decision.decision_id, Outcome(**{"tokens_in": 50, "tokens_out": 200, "latency_s": 2.0, **outcome}))
    return decision


def teach(router: Router, count: int = 60, *, first: int = 0) -> None:
    """Teach the same, however the background's learning falls between."""
    rng = np.random.default_rng(first)
    names = [one.name for one in router.llms]
    receipts = []
    for number in range(first, first + count):
        decision = router.route(question(number), llm=names[number % len(names)])
        tokens_out, latency_s = int(rng.integers(20, 800)), float(rng.uniform(1, 5))
        router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=tokens_out, latency_s=latency_s))
        receipts.append(router.submit_feedback(decision.decision_id, quality=float(rng.uniform())))
    assert not any(receipt.result().duplicate for receipt in receipts)
    router.learn()


def forecasts(router: Router, text: str = "solve the equation") -> dict[str, Forecast]:
    """Return what the router expects of each LLM."""
    decision = router.route(text, expect_outcome=False)
    return {candidate.llm: candidate.forecast for candidate in decision.candidates}


def expectations(router: Router) -> list[dict[str, Forecast]]:
    """Return what the router expects of some questions."""
    return [forecasts(router, question(number)) for number in range(8)]


def assert_alike(one: list[dict[str, Forecast]], other: list[dict[str, Forecast]]) -> None:
    """Compare expectations, to the rounding of a covariance that was computed afresh."""
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for name, forecast in mine.items():
            assert theirs[name].quality.mean == pytest.approx(forecast.quality.mean, abs=2e-6)
            # How far outside a query lies is measured on a sample that is frozen now and then, and anew at a restart.
            assert theirs[name].quality.std == pytest.approx(forecast.quality.std, rel=0.05)
            assert theirs[name].cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-5)
            assert theirs[name].latency_s.mean == pytest.approx(forecast.latency_s.mean, rel=1e-5)
            assert theirs[name].judgements == forecast.judgements
