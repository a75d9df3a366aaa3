"""A routing log that is made up: queries from templates, outcomes from planted probabilities."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.logs import RoutingLog
from mixllm.playback.phrases import DOMAIN_PHRASES, OPENERS, DomainPhrases
from mixllm.playback.planted import (
    DIFFICULTIES,
    DIFFICULTY_SHARES,
    SYNTHETIC_DOMAINS,
    SyntheticLLM,
    SyntheticTruth,
    synthetic_llms,
)
from mixllm.units import tokens_from_chars

__all__ = ["synthetic_log"]

_TOKENS_OUT = dict(zip(SYNTHETIC_DOMAINS, (350, 400, 300, 350, 80, 120, 90, 450), strict=True))
_LENGTH_BY_DIFFICULTY = (0.8, 1.0, 1.3)
_SHARED_LUCK = 0.5  # correlation of the LLMs' luck on one query: what one misses, others tend to miss too
_GRADED_SPREAD = 8.0  # a + b of the beta distribution of graded qualities
_CHAT_FORMAT_TOKENS = 8
_SLOT = re.compile(r"\{(\w+)\}")


def synthetic_log(
    *,
    queries: int = 2000,
    seed: int = 0,
    llms: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    graded: bool = False,
) -> RoutingLog:
    """Make a routing log whose truth is known.

    Queries come from the templates of 8 domains, evenly; ``labels["domain"]`` names the domain, and each id begins
    with domain and difficulty. Qualities are drawn from `SyntheticTruth`; an LLM's outcomes do not depend on which
    other LLMs are in the log, so logs of one seed fit together.

    Parameters
    ----------
    queries
        Number of queries n.
    seed
        The same seed gives the same log.
    llms
        Names of planted LLMs; None takes all six.
    domains
        Names of domains; None takes all eight.
    graded
        Whether qualities are between 0 and 1 instead of 0 or 1; their means are the same.

    Raises
    ------
    InvalidValueError
        Where there is no query or a domain is not known.
    UnknownLLMError
        Where an LLM is not known.

    Examples
    --------
    >>> log = synthetic_log(queries=40, seed=1, llms=["atlas-large", "fjord-tiny"])
    >>> log.quality.shape, log.strongest(), len(set(log.labels["domain"]))
    ((40, 2), 'atlas-large', 8)
    """
    if queries < 1:
        raise InvalidValueError("queries", queries, ">= 1")
    chosen = synthetic_llms(llms)
    names = _domains(domains)
    rng = np.random.default_rng([seed, zlib.crc32(b"queries")])
    domain_of = rng.permutation(np.arange(queries) % len(names))
    difficulty_of = rng.choice(len(DIFFICULTIES), size=queries, p=DIFFICULTY_SHARES)
    prompts = _prompts(rng, [names[domain] for domain in domain_of], difficulty_of)
    luck = rng.standard_normal(queries)
    length = rng.lognormal(0.0, 0.35, queries)
    length *= np.array([_TOKENS_OUT[name] for name in names])[domain_of] * np.take(_LENGTH_BY_DIFFICULTY, difficulty_of)
    domain_rows = np.array([SYNTHETIC_DOMAINS.index(name) for name in names])[domain_of]
    tokens_in = np.array([_CHAT_FORMAT_TOKENS + tokens_from_chars(len(prompt)) for prompt in prompts], dtype=np.float64)
    columns = [
        _outcomes(llm, seed=seed, graded=graded, cells=(domain_rows, difficulty_of), luck=luck, length=length)
        for llm in chosen
    ]
    labels = tuple(names[domain] for domain in domain_of)
    return RoutingLog(
        name="synthetic",
        query_ids=tuple(
            f"{domain}-{DIFFICULTIES[difficulty]}-{row:06d}"
            for row, (domain, difficulty) in enumerate(zip(labels, difficulty_of, strict=True))
        ),
        prompts=prompts,
        systems=(None,) * queries,
        labels={"domain": labels},
        llms=tuple(llm.name for llm in chosen),
        quality=np.stack([quality for quality, *_ in columns], axis=1),
        tokens_in=np.repeat(tokens_in[:, None], len(chosen), axis=1),
        tokens_out=np.stack([tokens_out for _, tokens_out, *_ in columns], axis=1),
        cost_usd=np.stack(
            [_costs(llm, tokens_in, out) for llm, (_, out, *_) in zip(chosen, columns, strict=True)], axis=1
        ),
        latency_s=np.stack([latency_s for *_, latency_s in columns], axis=1),
        ttft_s=np.stack([ttft_s for *_, ttft_s, _ in columns], axis=1),
        answers=_answers(chosen, labels, seed),
    )


def _domains(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return SYNTHETIC_DOMAINS
    unknown = [name for name in names if name not in SYNTHETIC_DOMAINS]
    if unknown or not names or len(set(names)) != len(names):
        raise InvalidValueError("domains", names, f"different names of {', '.join(SYNTHETIC_DOMAINS)}")
    return tuple(names)


def _outcomes(
    llm: SyntheticLLM,
    *,
    seed: int,
    graded: bool,
    cells: tuple[NDArray[np.intp], NDArray[np.int64]],
    luck: NDArray[np.float64],
    length: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return quality, tokens_out, ttft_s and latency_s of one LLM, each of shape (n,)."""
    rng = np.random.default_rng([seed, zlib.crc32(llm.name.encode())])
    probability = SyntheticTruth.of([llm.name]).by_difficulty[..., 0]
    own_luck = rng.standard_normal(luck.size)
    if graded:
        good = probability[cells] * _GRADED_SPREAD
        quality = rng.beta(good, _GRADED_SPREAD - good)
    else:
        threshold = np.vectorize(NormalDist().inv_cdf)(probability)
        draw = np.sqrt(_SHARED_LUCK) * luck + np.sqrt(1 - _SHARED_LUCK) * own_luck
        quality = (draw < threshold[cells]).astype(np.float64)
    tokens_out = np.maximum(1.0, np.round(length * llm.verbosity * rng.lognormal(0.0, 0.2, luck.size)))
    ttft_s = llm.ttft_s * rng.lognormal(0.0, 0.25, luck.size)
    return quality, tokens_out, ttft_s, ttft_s + tokens_out / llm.tokens_per_s


def _costs(llm: SyntheticLLM, tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64]) -> NDArray[np.float64]:
    price = llm.price
    usd_per_million = tokens_in * price.usd_per_million_tokens_in + tokens_out * price.usd_per_million_tokens_out
    return usd_per_million / 1e6


def _prompts(rng: np.random.Generator, domains: Sequence[str], difficulties: NDArray[np.int64]) -> tuple[str, ...]:
    made: dict[str, None] = {}
    for domain, difficulty in zip(domains, difficulties, strict=True):
        phrases = DOMAIN_PHRASES[domain]
        prompt = _prompt(rng, phrases, int(difficulty))
        while prompt in made:
            prompt += " " + _fill(rng, _pick(rng, phrases.details), phrases)
        made[prompt] = None
    return tuple(made)


def _prompt(rng: np.random.Generator, phrases: DomainPhrases, details: int) -> str:
    parts = [_pick(rng, phrases.templates)]
    parts += [phrases.details[index] for index in rng.permutation(len(phrases.details))[:details]]
    return _pick(rng, OPENERS) + " ".join(_fill(rng, part, phrases) for part in parts)


def _answers(llms: Sequence[SyntheticLLM], domains: Sequence[str], seed: int) -> tuple[tuple[str, ...], ...]:
    columns = []
    for llm in llms:
        rng = np.random.default_rng([seed, zlib.crc32(llm.name.encode()), zlib.crc32(b"answers")])
        columns.append([_answer(rng, DOMAIN_PHRASES[domain]) for domain in domains])
    return tuple(zip(*columns, strict=True))


def _answer(rng: np.random.Generator, phrases: DomainPhrases) -> str:
    return "\n".join(_fill(rng, _pick(rng, phrases.answers), phrases) for _ in range(2))


def _fill(rng: np.random.Generator, text: str, phrases: DomainPhrases) -> str:
    def word(slot: re.Match[str]) -> str:
        name = slot[1]
        return str(rng.integers(2, 99)) if name == "n" else _pick(rng, phrases.slots[name])

    return _SLOT.sub(word, text)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
