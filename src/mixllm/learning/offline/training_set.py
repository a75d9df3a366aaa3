"""What offline training reads: a routing log with encodings, labels, tokens and prices filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.logs import RoutingLog, fit_price
from mixllm.tags.labelling import TagLabels
from mixllm.types import Price
from mixllm.units import tokens_from_chars

__all__ = ["TrainingSet"]

_FREE_USD = 1e-9
"""Scale of cost where nothing costs anything."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """n queries and what K LLMs did with them.

    Parameters
    ----------
    encodings
        Vectors of the base encoder, float32, shape (n, d).
    token_ids
        Tokens of each query, length n; None where the base encoder has none to show.
    labels
        Tags to learn from, for these n queries.
    llms, prices
        Names and prices of the K LLMs.
    quality, cost_usd, tokens_out, latency_s, ttft_s
        What happened, shape (n, K), NaN where nothing is known.
    tokens_in
        Tokens of the prompts, all known, shape (n,).
    reference
        The LLM whose mean cost is the scale of cost.

    Raises
    ------
    InvalidValueError
        Where a length or a shape does not fit, or the reference is none of the LLMs.
    """

    encodings: NDArray[np.float32]
    token_ids: tuple[Sequence[int], ...] | None
    labels: TagLabels
    llms: tuple[str, ...]
    prices: tuple[Price, ...]
    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    tokens_in: NDArray[np.float64]
    reference: str

    def __post_init__(self) -> None:
        n = len(self.encodings)
        shape = (n, len(self.llms))
        for name in ("quality", "cost_usd", "tokens_out", "latency_s", "ttft_s"):
            if n < 1 or getattr(self, name).shape != shape:
                raise InvalidValueError(name, getattr(self, name).shape, f"shape {shape}, one query or more")
        if self.tokens_in.shape != (n,) or np.isnan(self.tokens_in).any():
            raise InvalidValueError("tokens_in", self.tokens_in.shape, f"{n} known numbers")
        if self.token_ids is not None and len(self.token_ids) != n:
            raise InvalidValueError("token_ids", f"{len(self.token_ids)} lists", f"the tokens of {n} queries")
        if len(self.prices) != len(self.llms):
            raise InvalidValueError("prices", f"{len(self.prices)} prices", f"one for each of {len(self.llms)} LLMs")
        if self.labels.weights.shape[0] != n:
            raise InvalidValueError("labels", self.labels.weights.shape, f"labels of the same {n} queries")
        if self.reference not in self.llms:
            raise InvalidValueError("reference", self.reference, f"one of {', '.join(self.llms)}")

    def __len__(self) -> int:
        return len(self.encodings)

    @property
    def reference_cost_usd(self) -> float:
        """Mean cost of the reference LLM, > 0: where it is free, or never asked, that of all LLMs."""
        for costs in (self.cost_usd[:, self.llms.index(self.reference)], self.cost_usd):
            if (known_costs := costs[~np.isnan(costs)]).any():
                return float(known_costs.mean())
        return _FREE_USD

    @classmethod
    def from_log(
        cls,
        log: RoutingLog,
        *,
        encodings: NDArray[np.float32],
        token_ids: Sequence[Sequence[int]] | None,
        labels: TagLabels,
        reference: str | None = None,
        prices: Sequence[Price | None] | None = None,
    ) -> Self:
        """Fill in what `log` leaves open.

        Parameters
        ----------
        log
            The log.
        encodings, token_ids, labels
            As in the class.
        reference
            None takes the strongest.
        prices
            Known prices; None, or None for an LLM, fits them to the recorded costs and tokens.

        Notes
        -----
        Where the log has no token counts, prompts and answers count a token per four characters; where it has no
        answers either, an answer has the mean length that its cost suggests at the prompt's price. Real counts differ,
        and the billing factor learns by how much.
        """
        tokens_in = _prompt_tokens(log)
        tokens_out = _answer_tokens(log)
        given = prices if prices is not None else [None] * len(log.llms)
        if len(given) != len(log.llms):
            raise InvalidValueError("prices", f"{len(given)} prices", f"one, or None, for each of {len(log.llms)} LLMs")
        fitted = tuple(
            price
            if price is not None
            else fit_price(cost_usd=log.cost_usd[:, column], tokens_in=tokens_in, tokens_out=tokens_out[:, column])
            for column, price in enumerate(given)
        )
        return cls(
            encodings=encodings,
            token_ids=None if token_ids is None else tuple(token_ids),
            labels=labels,
            llms=log.llms,
            prices=fitted,
            quality=log.quality,
            cost_usd=log.cost_usd,
            tokens_out=tokens_out,
            latency_s=log.latency_s,
            ttft_s=log.ttft_s,
            tokens_in=tokens_in,
            reference=reference or log.strongest(),
        )

    def select(self, rows: NDArray[np.intp]) -> TrainingSet:
        """Return some of the queries, in the order of `rows`."""
        weights = self.labels.weights[rows]
        query_ids = tuple(self.labels.query_ids[row] for row in rows.tolist())
        return replace(
            self,
            encodings=self.encodings[rows],
            token_ids=None if self.token_ids is None else tuple(self.token_ids[row] for row in rows.tolist()),
            labels=TagLabels(vocabulary=self.labels.vocabulary, query_ids=query_ids, weights=weights),
            quality=self.quality[rows],
            cost_usd=self.cost_usd[rows],
            tokens_out=self.tokens_out[rows],
            latency_s=self.latency_s[rows],
            ttft_s=self.ttft_s[rows],
            tokens_in=self.tokens_in[rows],
        )


def _prompt_tokens(log: RoutingLog) -> NDArray[np.float64]:
    guess = np.array([tokens_from_chars(len(prompt)) for prompt in log.prompts], np.float64)
    known = ~np.isnan(log.tokens_in)
    counts = known.sum(axis=1)
    sums = np.where(known, log.tokens_in, 0.0).sum(axis=1)
    means = np.divide(sums, counts, out=guess.copy(), where=counts > 0)
    tokens: NDArray[np.float64] = np.maximum(means, 1.0)
    return tokens


def _answer_tokens(log: RoutingLog) -> NDArray[np.float64]:
    tokens = log.tokens_out.copy()
    if log.answers is not None:
        guess = np.array(
            [[np.nan if answer is None else tokens_from_chars(len(answer)) for answer in row] for row in log.answers]
        )
        tokens = np.where(np.isnan(tokens), guess, tokens)
    without = np.isnan(tokens).all(axis=0) & ~np.isnan(log.cost_usd).all(axis=0)
    # Nothing tells lengths: costs then follow the prompt, and one token stands for the answer.
    tokens[:, without] = np.where(np.isnan(log.cost_usd[:, without]), np.nan, 1.0)
    return tokens
