"""A routing log as a stream: queries one after the other, answers of the chosen LLM alone."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError, UnknownLLMError
from mixllm.evaluation.simulation.player import Arrival, Feedback, Truth
from mixllm.evaluation.simulation.reward import Exchange
from mixllm.evaluation.simulation.schedule import Schedule
from mixllm.evaluation.splits import Dataset
from mixllm.interfaces import FeatureMap
from mixllm.logs import fit_price
from mixllm.types import FeedbackKind, LLMSpec, Price, Value
from mixllm.units import non_negative, tokens_from_chars

__all__ = ["FeedbackMode", "Order", "Stream", "StreamSettings", "arrival_order"]

Order = Literal["random", "log", "by-label"]
FeedbackMode = Literal["refined", "binary", "none"]

_SATISFYING_QUALITY = 0.7
_SATISFYING_LATENCY_S = 15.0
_UNKNOWN_ANSWER_TOKENS = 100


class StreamSettings(Value, frozen=True, kw_only=True):
    """How a log becomes a stream.

    Parameters
    ----------
    queries
        How many of its queries take part; None takes all. A random order takes any, the log's order the first.
    order
        ``random``, as in the ``log``, or ``by-label``: the values of the label one after the other, in random order.
    feedback
        ``refined`` scores, ``binary`` thumbs (up where the quality is above 0.7 and the answer took less than 15 s, as
        in the paper), or ``none``.
    feedback_delay
        What came of a query is told after so many further decisions.
    schedule
        Changes of the pool.
    trade_off
        λ.
    """

    queries: int | None = None
    order: Order = "random"
    feedback: FeedbackMode = "refined"
    feedback_delay: int = 0
    schedule: Schedule = Schedule()
    trade_off: float = 1.4

    def __post_init__(self) -> None:
        if self.queries is not None and self.queries < 3:
            raise InvalidValueError("queries", self.queries, ">= 3")
        if self.feedback_delay < 0:
            raise InvalidValueError("feedback_delay", self.feedback_delay, ">= 0")
        non_negative("trade_off", self.trade_off)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Outcomes:
    """What happens on the stream, arrays of shape (n, K), with the schedule's changes made."""

    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    tokens_in: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]


class Stream:
    """One seed's stream.

    Players are handed `Arrival` and `Feedback` alone, which hold no reference to the stream.

    Parameters
    ----------
    dataset
        The log, made ready.
    features
        Encodings to the features that players are given.
    settings
        How the log becomes a stream.
    seed
        Of the order, and of which right answers a drop in quality spoils.

    Raises
    ------
    LogError
        Where the order is by label and the log has no label, or the reference LLM costs nothing.
    ConfigError
        Where the schedule does not fit the log.
    """

    def __init__(self, *, dataset: Dataset, features: FeatureMap, settings: StreamSettings, seed: int) -> None:
        log = dataset.log
        self.llms = log.llms
        self.settings = settings
        self.rows = arrival_order(dataset, settings, seed=seed)
        settings.schedule.check(llms=log.llms, queries=len(self.rows))
        self.exchange = Exchange(trade_off=settings.trade_off, cost_scale_usd=_cost_scale_usd(dataset))
        tokens_in, tokens_out = _filled_tokens(dataset)
        prices = [_price(log.cost_usd[:, k], tokens_in[:, k], tokens_out[:, k]) for k in range(len(log.llms))]
        self._prices = prices
        self._pools, self._pool_of, self.in_pool, price_factor, quality_factor = _changes(
            settings.schedule, llms=log.llms, prices=prices, queries=len(self.rows)
        )
        self._outcomes = _Outcomes(
            quality=_worsened(log.quality[self.rows], quality_factor, seed=seed),
            cost_usd=log.cost_usd[self.rows] * price_factor,
            tokens_in=tokens_in[self.rows],
            tokens_out=tokens_out[self.rows],
            latency_s=log.latency_s[self.rows],
            ttft_s=log.ttft_s[self.rows],
        )
        self._texts = tuple(dataset.texts[row] for row in self.rows.tolist())
        self._tokens_in = dataset.tokens_in[self.rows]
        self._features = np.stack([features.features(dataset.encodings[row]) for row in self.rows]).astype(np.float64)
        self._features.flags.writeable = False
        self.reward = self.exchange.rewards(self._outcomes.quality, self._outcomes.cost_usd)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def quality(self) -> NDArray[np.float64]:
        """Quality of each answer, shape (n, K)."""
        return self._outcomes.quality

    @property
    def cost_usd(self) -> NDArray[np.float64]:
        """Cost of each answer, shape (n, K)."""
        return self._outcomes.cost_usd

    def listed(self, llm: str) -> LLMSpec:
        """Return an LLM of the log at its recorded price; raises `UnknownLLMError`."""
        if llm not in self.llms:
            raise UnknownLLMError(llm, self.llms)
        return LLMSpec(name=llm, price=self._prices[self.llms.index(llm)])

    def truth(self) -> Truth:
        """Return what every choice is worth, for players that look back from the end."""
        return Truth(llms=self.llms, reward=self.reward, in_pool=self.in_pool)

    def best_reward(self) -> NDArray[np.float64]:
        """Return the reward of the best choice of each query, shape (n,)."""
        best: NDArray[np.float64] = np.where(self.in_pool, self.reward, -np.inf).max(axis=1)
        return best

    def arrival(self, number: int) -> Arrival:
        """Return what a player sees of a query before it chooses."""
        return Arrival(
            number=number,
            text=self._texts[number],
            features=self._features[number],
            tokens_in=round(float(self._tokens_in[number])),
            pool=self._pools[self._pool_of[number]],
        )

    def feedback(self, number: int, column: int) -> Feedback:
        """Return what the LLM of that column reveals about a query."""
        found = self._outcomes
        latency_s = _known(found.latency_s[number, column])
        quality = self._judgement(float(found.quality[number, column]), latency_s)
        cost_usd = float(found.cost_usd[number, column])
        return Feedback(
            number=number,
            llm=self.llms[column],
            kind=FeedbackKind.BINARY if self.settings.feedback == "binary" else FeedbackKind.REFINED,
            quality=quality,
            cost_usd=cost_usd,
            tokens_in=round(float(found.tokens_in[number, column])),
            tokens_out=round(float(found.tokens_out[number, column])),
            latency_s=latency_s,
            ttft_s=_known(found.ttft_s[number, column]),
            reward=None if quality is None else self.exchange.reward(quality, cost_usd),
        )

    def _judgement(self, quality: float, latency_s: float | None) -> float | None:
        if self.settings.feedback == "none":
            return None
        if self.settings.feedback == "refined":
            return quality
        in_time = latency_s is None or latency_s < _SATISFYING_LATENCY_S
        return float(quality > _SATISFYING_QUALITY and in_time)


def arrival_order(dataset: Dataset, settings: StreamSettings, *, seed: int) -> NDArray[np.intp]:
    """Return the rows of the log in the order in which they arrive, shape (n,).

    Raises
    ------
    LogError
        Where the order is by label and the log has no label.
    """
    total = len(dataset.log)
    queries = total if settings.queries is None else min(settings.queries, total)
    if settings.order == "log":
        return np.arange(queries, dtype=np.intp)
    rng = np.random.default_rng([seed, zlib.crc32(b"order")])
    rows = rng.permutation(total)[:queries].astype(np.intp)
    if settings.order == "random":
        return rows
    if dataset.label is None:
        raise LogError(f"Log {dataset.log.name!r} has no label to order by. Choose one: --label COLUMN.")
    values = np.array(dataset.log.labels[dataset.label])
    names = np.unique(values)
    place = rng.permutation(len(names))[np.searchsorted(names, values[rows])]
    return rows[np.argsort(place, kind="stable")]


def _cost_scale_usd(dataset: Dataset) -> float:
    scale_usd = float(dataset.log.mean_cost_usd()[dataset.log.column(dataset.reference)])
    if not scale_usd > 0:
        raise LogError(
            f"Log {dataset.log.name!r}: its reference LLM {dataset.reference!r} costs nothing, so it is no scale of "
            "cost. Choose another: --reference LLM."
        )
    return scale_usd


def _filled_tokens(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tokens in and out, shape (n, K), estimated where the log has none."""
    log = dataset.log
    tokens_in = np.where(np.isnan(log.tokens_in), dataset.tokens_in[:, None], log.tokens_in)
    tokens_out = log.tokens_out.copy()
    for row, column in np.argwhere(np.isnan(tokens_out)).tolist():
        answer = None if log.answers is None else log.answers[row][column]
        tokens_out[row, column] = _UNKNOWN_ANSWER_TOKENS if answer is None else tokens_from_chars(len(answer))
    return tokens_in, tokens_out


def _price(cost_usd: NDArray[np.float64], tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64]) -> Price:
    return fit_price(cost_usd=cost_usd, tokens_in=tokens_in, tokens_out=tokens_out)


def _changes(
    schedule: Schedule, *, llms: tuple[str, ...], prices: list[Price], queries: int
) -> tuple[list[tuple[LLMSpec, ...]], NDArray[np.intp], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return the pools, which of them each query meets (n,), and as (n, K): in pool, factors of price and quality."""
    shape = (queries, len(llms))
    in_pool, factors = np.zeros(shape, np.bool_), {"price": np.ones(shape), "quality": np.ones(shape)}
    for llm in schedule.at_start(llms):
        in_pool[:, llms.index(llm)] = True
    starts = [0]
    for change in schedule.in_order():
        column = llms.index(change.llm)
        if change.change in factors:
            factors[change.change][change.at :, column] = change.factor
        else:
            in_pool[change.at :, column] = change.change == "add"
        starts += [change.at] if change.at > starts[-1] else []
    pools = [
        tuple(
            LLMSpec(name=llm, price=_scaled(prices[column], factors["price"][start, column]))
            for column, llm in enumerate(llms)
            if in_pool[start, column]
        )
        for start in starts
    ]
    pool_of = (np.searchsorted(starts, np.arange(queries), side="right") - 1).astype(np.intp)
    return pools, pool_of, in_pool, factors["price"], factors["quality"]


def _scaled(price: Price, factor: float) -> Price:
    return Price(
        usd_per_million_tokens_in=price.usd_per_million_tokens_in * float(factor),
        usd_per_million_tokens_out=price.usd_per_million_tokens_out * float(factor),
    )


def _worsened(quality: NDArray[np.float64], factor: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    """Return qualities after the drops: of 0/1 qualities a share stays right, graded ones are multiplied."""
    if (factor == 1).all():
        return quality
    if np.isin(quality, (0.0, 1.0)).all():
        draws = np.random.default_rng([seed, zlib.crc32(b"quality")]).random(quality.shape)
        return np.where(draws < factor, quality, 0.0)
    return quality * factor


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
