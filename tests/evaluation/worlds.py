"""Routing logs whose truth is known, and the least that makes a split of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders import HashingEncoder
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.logs import RoutingLog

ENCODER = HashingEncoder(dimension=32)
_WORDS = {"sums": "add numbers plus", "verse": "poem rhyme verse", "law": "court statute judge"}


def make_log(
    quality: NDArray[np.float64],
    cost_usd: NDArray[np.float64],
    *,
    prompts: tuple[str, ...] | None = None,
    labels: dict[str, tuple[str, ...]] | None = None,
    tokens_in: NDArray[np.float64] | None = None,
    name: str = "world",
) -> RoutingLog:
    """Return a log of these outcomes, LLMs named a, b, …."""
    queries, llms = quality.shape
    unknown = np.full(quality.shape, np.nan)
    return RoutingLog(
        name=name,
        query_ids=tuple(f"q{row}" for row in range(queries)),
        prompts=prompts or tuple(f"prompt {row}" for row in range(queries)),
        systems=(None,) * queries,
        labels=labels or {},
        llms=tuple("abcdefgh"[:llms]),
        quality=quality,
        cost_usd=cost_usd,
        tokens_in=unknown if tokens_in is None else tokens_in,
        tokens_out=unknown,
        latency_s=unknown,
        ttft_s=unknown,
    )


def domain_log(queries: int = 240, *, seed: int = 0, name: str = "world") -> RoutingLog:
    """Return a log in which the text tells which of two cheap LLMs is right; the dear one always is.

    LLM a is right on sums alone, b on verse alone, c on everything at ten times the cost. A router that reads gets
    everything but law for a tenth of the cost; one that does not has to pay.
    """
    rng = np.random.default_rng(seed)
    domains = rng.choice(list(_WORDS), size=queries)
    prompts = tuple(
        f"{' '.join(rng.permutation(_WORDS[domain].split()))} {row % 7}" for row, domain in enumerate(domains)
    )
    quality = np.stack([domains == "sums", domains == "verse", np.ones(queries, dtype=bool)], axis=1).astype(float)
    cost = np.tile([0.1, 0.1, 1.0], (queries, 1)) * rng.uniform(0.9, 1.1, (queries, 1))
    return make_log(quality, cost, prompts=prompts, labels={"domain": tuple(domains.tolist())}, name=name)


def domain_data(queries: int = 240, *, seed: int = 0, **changed: Any) -> Dataset:
    """Return `domain_log` made ready."""
    return prepare(domain_log(queries, seed=seed), encoder=ENCODER, **changed)
