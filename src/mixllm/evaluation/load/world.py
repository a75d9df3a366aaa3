"""The world of one simulated stream: who asks when, and what every LLM would make of every query."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.contender import Split
from mixllm.evaluation.load.endpoint import EndpointSpec
from mixllm.evaluation.load.service import Speed, lengths_of

__all__ = ["World", "endpoints_for", "make_world", "mean_service_s", "pool_capacity_per_s"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A stream of n arrivals at K LLMs; players see texts and prompts' lengths alone.

    Parameters
    ----------
    llms
        Names of the LLMs.
    reference
        Column of the LLM whose quality and cost are 100 %.
    arrivals_s
        When each query arrives, rising, shape (n,).
    rows
        Which row of the split's test part it is, shape (n,).
    texts
        Texts of the test part, by row.
    prompt_tokens
        Tokens of each prompt as a router knows them, shape (n,).
    quality, cost_usd, tokens_in, tokens_out
        What was recorded, shape (n, K).
    first_token_s, work_s
        Time to the first and to the last token without waiting and at full speed, shape (n, K).
    """

    llms: tuple[str, ...]
    reference: int
    arrivals_s: NDArray[np.float64]
    rows: NDArray[np.intp]
    texts: tuple[str, ...]
    prompt_tokens: NDArray[np.intp]
    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    tokens_in: NDArray[np.intp]
    tokens_out: NDArray[np.intp]
    first_token_s: NDArray[np.float64]
    work_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.arrivals_s)

    @property
    def reference_quality(self) -> float:
        """Mean quality of the reference LLM on this stream."""
        return float(self.quality[:, self.reference].mean())

    @property
    def reference_cost_usd(self) -> float:
        """Mean cost of the reference LLM on this stream."""
        return float(self.cost_usd[:, self.reference].mean())


def make_world(
    split: Split, *, speeds: tuple[Speed, ...], arrivals_s: NDArray[np.float64], rng: np.random.Generator
) -> World:
    """Return a stream of the split's test part.

    Its queries come in random order, all of them before any comes again. How slow each call of each LLM would be is
    drawn beforehand, so that every router meets the same world.

    Parameters
    ----------
    split
        The log in two parts.
    speeds
        Of each LLM.
    arrivals_s
        Times of arrival, shape (n,), n >= 1.
    rng
        Draws the order and the scatter of the calls' times.
    """
    n, held_out = len(arrivals_s), len(split.test)
    if n < 1:
        raise InvalidValueError("arrivals_s", arrivals_s, "one arrival or more; take a higher load or a longer stream")
    rounds = -(-n // held_out)
    rows = np.concatenate([rng.permutation(held_out) for _ in range(rounds)])[:n]
    into, out = lengths_of(split.test)
    slowness = np.exp(rng.standard_normal((n, len(speeds))) * np.array([speed.scatter for speed in speeds]))
    into, out = into[rows], out[rows]
    first_s = np.stack([speed.first_token_s(into[:, k]) for k, speed in enumerate(speeds)], axis=1)
    work_s = np.stack([speed.median_s(into[:, k], out[:, k]) for k, speed in enumerate(speeds)], axis=1)
    return World(
        llms=split.test.llms,
        reference=split.test.column(split.reference),
        arrivals_s=arrivals_s,
        rows=rows,
        texts=split.test_texts,
        prompt_tokens=split.test_tokens_in[rows].round().astype(np.intp),
        quality=split.test.quality[rows],
        cost_usd=split.test.cost_usd[rows],
        tokens_in=into.round().astype(np.intp),
        tokens_out=out.round().astype(np.intp),
        first_token_s=first_s * slowness,
        work_s=work_s * slowness,
    )


def mean_service_s(split: Split, speeds: tuple[Speed, ...]) -> NDArray[np.float64]:
    """Return the mean time of a call of each LLM over the test part, without waiting, shape (K,)."""
    into, out = lengths_of(split.test)
    return np.array(
        [speed.median_s(into[:, k], out[:, k]).mean() * speed.mean_factor for k, speed in enumerate(speeds)]
    )


def pool_capacity_per_s(service_s: NDArray[np.float64], servers: NDArray[np.intp]) -> float:
    """Return the largest rate of arrivals that the pool can serve, Σ servers / mean service time.

    It is reached only where every LLM is always busy: near to it, a router has next to no choice left.
    """
    return float((servers / service_s).sum())


def endpoints_for(service_s: NDArray[np.float64], *, spec: EndpointSpec, deadline_s: float) -> tuple[EndpointSpec, ...]:
    """Return an endpoint like `spec` for each LLM; without a `max_queue`, as many wait as are served in a deadline."""
    if spec.servers is None or spec.max_queue is not None:
        return (spec,) * len(service_s)
    return tuple(
        msgspec.structs.replace(spec, max_queue=int(np.ceil(spec.servers * deadline_s / seconds)))
        for seconds in service_s.tolist()
    )
