"""What is true of the synthetic LLMs: how good they are at what, what they cost, and how fast they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, UnknownLLMError
from mixllm.logs import RoutingLog
from mixllm.playback.phrases import DOMAIN_PHRASES
from mixllm.types import Price

__all__ = [
    "DIFFICULTIES",
    "DIFFICULTY_SHARES",
    "SYNTHETIC_DOMAINS",
    "SYNTHETIC_LLMS",
    "SyntheticLLM",
    "SyntheticTruth",
    "synthetic_llms",
]

SYNTHETIC_DOMAINS = tuple(DOMAIN_PHRASES)
"""Names of the domains, in the order of every array of `SyntheticTruth`."""

DIFFICULTIES = ("easy", "medium", "hard")
DIFFICULTY_SHARES = (0.3, 0.4, 0.3)
"""The shares of easy and hard are equal, so that a shift up and down leaves a domain's mean where it is."""

_MARGIN = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticLLM:
    """One planted LLM.

    Parameters
    ----------
    name
        A name that no real LLM has.
    quality
        Probability of a good answer by domain, averaged over difficulties.
    fragility
        How much easy queries add to it and hard ones take away.
    price
        What it costs.
    verbosity
        Its answers' length, relative to what the domain asks for.
    ttft_s
        Median time to its first token.
    tokens_per_s
        How fast it writes.
    """

    name: str
    quality: tuple[float, ...]
    fragility: float
    price: Price
    verbosity: float
    ttft_s: float
    tokens_per_s: float


def _llm(
    name: str,
    quality: tuple[float, ...],
    *,
    fragility: float,
    usd: tuple[float, float],
    pace: tuple[float, float],
    verbosity: float,
) -> SyntheticLLM:
    price = Price(usd_per_million_tokens_in=usd[0], usd_per_million_tokens_out=usd[1])
    return SyntheticLLM(
        name=name,
        quality=quality,
        fragility=fragility,
        price=price,
        verbosity=verbosity,
        ttft_s=pace[0],
        tokens_per_s=pace[1],
    )


# The columns are SYNTHETIC_DOMAINS:
#    math, coding, medicine, law, trivia, chat, translation, writing
SYNTHETIC_LLMS = (
    _llm(
        "atlas-large",
        (0.93, 0.91, 0.90, 0.88, 0.92, 0.95, 0.94, 0.93),
        fragility=0.03,
        usd=(10.0, 30.0),
        pace=(0.9, 45.0),
        verbosity=1.0,
    ),
    _llm(
        "boreal-pro",
        (0.80, 0.82, 0.84, 0.86, 0.88, 0.92, 0.90, 0.90),
        fragility=0.06,
        usd=(3.0, 12.0),
        pace=(0.6, 70.0),
        verbosity=1.1,
    ),
    _llm(
        "cobalt-coder",
        (0.92, 0.92, 0.62, 0.55, 0.70, 0.80, 0.70, 0.66),
        fragility=0.06,
        usd=(0.9, 2.7),
        pace=(0.35, 110.0),
        verbosity=0.9,
    ),
    _llm(
        "dune-medic",
        (0.58, 0.45, 0.90, 0.74, 0.84, 0.86, 0.66, 0.72),
        fragility=0.08,
        usd=(1.0, 3.0),
        pace=(0.4, 100.0),
        verbosity=1.0,
    ),
    _llm(
        "ember-mini",
        (0.55, 0.50, 0.60, 0.48, 0.74, 0.94, 0.93, 0.90),
        fragility=0.06,
        usd=(0.25, 1.0),
        pace=(0.25, 160.0),
        verbosity=0.8,
    ),
    _llm(
        "fjord-tiny",
        (0.35, 0.32, 0.42, 0.36, 0.60, 0.82, 0.74, 0.74),
        fragility=0.15,
        usd=(0.1, 0.3),
        pace=(0.15, 220.0),
        verbosity=1.2,
    ),
)
"""One strong and expensive LLM, four that come near it somewhere, and one that is cheap and mediocre."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticTruth:
    """The probabilities that synthetic qualities are drawn from.

    Parameters
    ----------
    domains
        Names of the D domains.
    llms
        Names of the K LLMs.
    probability
        Expected quality, shape (D, K).
    by_difficulty
        The same for easy, medium and hard queries, shape (D, 3, K); averaged with `DIFFICULTY_SHARES` it is
        `probability`.

    Examples
    --------
    >>> truth = SyntheticTruth.of(["atlas-large", "ember-mini"])
    >>> truth.probability.shape, truth.best("chat", max_share_lost=0.02)
    ((8, 2), 'ember-mini')
    """

    domains: tuple[str, ...]
    llms: tuple[str, ...]
    probability: NDArray[np.float64]
    by_difficulty: NDArray[np.float64]

    @classmethod
    def of(cls, llms: Sequence[str] | None = None) -> SyntheticTruth:
        """Return the truth of these LLMs, of all where None; raises `UnknownLLMError`."""
        chosen = synthetic_llms(llms)
        probability = np.array([llm.quality for llm in chosen]).T
        fragility = np.array([llm.fragility for llm in chosen])
        # A shift that would leave [0, 1] is made smaller on both sides, so that the mean stays the planted one.
        shift = np.minimum(fragility, np.minimum(probability, 1 - probability) - _MARGIN)
        by_difficulty = np.stack([probability + shift, probability, probability - shift], axis=1)
        return cls(
            domains=SYNTHETIC_DOMAINS,
            llms=tuple(llm.name for llm in chosen),
            probability=probability,
            by_difficulty=by_difficulty,
        )

    def expected_quality(self, log: RoutingLog) -> NDArray[np.float64]:
        """Return the planted probability of each query and LLM of a synthetic log, shape (n, K)."""
        rows = [self._domain(domain) for domain in log.labels["domain"]]
        columns = [self.llms.index(llm) for llm in log.llms]
        expected: NDArray[np.float64] = self.probability[np.ix_(rows, columns)]
        return expected

    def best(self, domain: str, *, max_share_lost: float = 0.0) -> str:
        """Return the LLM with the lowest price for answers among those near the best one on `domain`.

        Parameters
        ----------
        domain
            Name of the domain.
        max_share_lost
            How much of the best LLM's probability may be lost.
        """
        qualities = self.probability[self._domain(domain)]
        enough = np.flatnonzero(qualities >= (1 - max_share_lost) * qualities.max())
        prices = {llm.name: llm.price.usd_per_million_tokens_out for llm in SYNTHETIC_LLMS}
        return min((self.llms[column] for column in enough), key=lambda name: prices[name])

    def _domain(self, domain: str) -> int:
        try:
            return self.domains.index(domain)
        except ValueError:
            raise InvalidValueError("domain", domain, f"one of {', '.join(self.domains)}") from None


def synthetic_llms(names: Sequence[str] | None = None) -> tuple[SyntheticLLM, ...]:
    """Return the planted LLMs of these names, of all where None; raises `UnknownLLMError`."""
    if names is None:
        return SYNTHETIC_LLMS
    if not names:
        raise InvalidValueError("llms", names, "one name or more")
    by_name = {llm.name: llm for llm in SYNTHETIC_LLMS}
    for name in names:
        if name not in by_name:
            raise UnknownLLMError(name, by_name)
    return tuple(by_name[name] for name in names)
