"""A small simulated world whose service times are planted, and players that need no router."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.load.endpoint import Refusal
from mixllm.evaluation.load.engine import End
from mixllm.evaluation.load.world import World


def make_world(work_s: NDArray[np.float64], arrivals_s: NDArray[np.float64]) -> World:
    """Return a stream of calls that take `work_s`, shape (n, K); LLM k has quality 1 − k/10 and costs K − k."""
    n, llms = work_s.shape
    return World(
        llms=tuple("abcdefgh"[:llms]),
        reference=0,
        arrivals_s=arrivals_s,
        rows=np.arange(n),
        texts=tuple(f"query {number}" for number in range(n)),
        prompt_tokens=np.full(n, 10),
        quality=np.tile(1.0 - np.arange(llms) / 10.0, (n, 1)),
        cost_usd=np.tile(float(llms) - np.arange(llms), (n, 1)),
        tokens_in=np.full((n, llms), 10),
        tokens_out=np.full((n, llms), 20),
        first_token_s=work_s / 2.0,
        work_s=work_s,
    )


class Always:
    """Takes the same LLMs in the same order for every query, and remembers what it was told."""

    def __init__(self, *order: int | None) -> None:
        self.order = order
        self.attempts = len(order)
        self.told: list[tuple[int, int, End]] = []
        self.times: list[float] = []

    def choose(self, number: int, *, now_s: float, refused: Sequence[int]) -> int | None:
        """Return the next LLM."""
        self.times.append(now_s)
        return self.order[len(refused)]

    def ended(self, number: int, llm: int, end: End, *, now_s: float, wait_s: float, refusal: Refusal | None) -> None:
        """Remember it."""
        self.told.append((number, llm, end))
        self.times.append(now_s)
