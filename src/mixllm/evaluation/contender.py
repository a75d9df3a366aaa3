"""What a router must do to enter the benchmark, and all that it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import Encoder
from mixllm.logs import RoutingLog

__all__ = ["Contender", "Predictions", "SeesOutcomes", "Split", "TestData", "TrainingData"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestData:
    """What is known of m queries before any LLM has answered them: nothing else can be reached from here.

    Parameters
    ----------
    encodings
        Their vectors, float32, shape (m, d).
    texts
        What was encoded, length m.
    tokens_in
        Tokens of the whole prompt, shape (m,), all known: recorded, or estimated from the characters.
    """

    __test__: ClassVar[bool] = False  # its name begins as those of pytest's test classes do

    encodings: NDArray[np.float32]
    texts: tuple[str, ...]
    tokens_in: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: NDArray[np.intp]) -> TestData:
        """Return some of the queries, in the order of `rows`."""
        return TestData(
            encodings=self.encodings[rows],
            texts=tuple(self.texts[row] for row in rows.tolist()),
            tokens_in=self.tokens_in[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """Queries with all that their K LLMs did, to learn from.

    Parameters
    ----------
    log
        The training part of the log, n queries, every LLM asked.
    encodings, texts, tokens_in
        As in `TestData`, for these n queries.
    encoder
        What made the encodings.
    reference
        Name of the LLM whose quality and cost are 100 %.
    label
        Name of the log's label that may serve as tags, or None. Labels are known in training only.
    """

    log: RoutingLog
    encodings: NDArray[np.float32]
    texts: tuple[str, ...]
    tokens_in: NDArray[np.float64]
    encoder: Encoder
    reference: str
    label: str | None = None

    def __len__(self) -> int:
        return len(self.log)

    def select(self, rows: NDArray[np.intp]) -> TrainingData:
        """Return some of the queries, in the order of `rows`."""
        return TrainingData(
            log=self.log.select(rows),
            encodings=self.encodings[rows],
            texts=tuple(self.texts[row] for row in rows.tolist()),
            tokens_in=self.tokens_in[rows],
            encoder=self.encoder,
            reference=self.reference,
            label=self.label,
        )

    def queries(self) -> TestData:
        """Return the queries without what became of them."""
        return TestData(encodings=self.encodings, texts=self.texts, tokens_in=self.tokens_in)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A log in two parts: one to learn from, one to be judged by.

    Parameters
    ----------
    name
        What the split is called, e.g. ``0`` or ``task=gsm8k``.
    train, test
        The two parts; no query is in both.
    train_encodings, test_encodings
        Vectors of their queries, float32, shapes (n, d) and (m, d).
    train_texts, test_texts
        What was encoded.
    train_tokens_in, test_tokens_in
        Tokens of their prompts, shapes (n,) and (m,).
    encoder
        What made the encodings.
    seed
        Where contenders' randomness starts; the same for all of them.
    reference
        Name of the LLM whose quality and cost are 100 %.
    label
        Name of the label that may serve as tags, or None.
    """

    name: str
    train: RoutingLog
    test: RoutingLog
    train_encodings: NDArray[np.float32]
    test_encodings: NDArray[np.float32]
    train_texts: tuple[str, ...]
    test_texts: tuple[str, ...]
    train_tokens_in: NDArray[np.float64]
    test_tokens_in: NDArray[np.float64]
    encoder: Encoder
    seed: int
    reference: str
    label: str | None = None

    def training(self) -> TrainingData:
        """Return what contenders learn from."""
        return TrainingData(
            log=self.train,
            encodings=self.train_encodings,
            texts=self.train_texts,
            tokens_in=self.train_tokens_in,
            encoder=self.encoder,
            reference=self.reference,
            label=self.label,
        )

    def queries(self) -> TestData:
        """Return what contenders see of the test part: copies, so that no array leads back to the log."""
        return TestData(
            encodings=self.test_encodings.copy(), texts=self.test_texts, tokens_in=self.test_tokens_in.copy()
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a contender expects of m queries at K LLMs, in the order of the log's LLMs.

    Parameters
    ----------
    quality
        Expected quality, any finite scale that compares, shape (m, K).
    cost_usd
        Expected cost in dollars, finite, shape (m, K).

    Raises
    ------
    InvalidValueError
        Where the shapes differ or a value is not finite.
    """

    quality: NDArray[np.floating]
    cost_usd: NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.quality.ndim != 2 or self.quality.shape != self.cost_usd.shape:
            raise InvalidValueError(
                "cost_usd", f"shape {self.cost_usd.shape}", f"of quality's shape (m, K), {self.quality.shape}"
            )
        for name, array in (("quality", self.quality), ("cost_usd", self.cost_usd)):
            if not np.isfinite(array).all():
                raise InvalidValueError(name, float(array[~np.isfinite(array)][0]), "finite")

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Return the rows of all `parts`, one after the other."""
        return cls(
            quality=np.concatenate([part.quality for part in parts]),
            cost_usd=np.concatenate([part.cost_usd for part in parts]),
        )


@runtime_checkable
class Contender(Protocol):
    """A router in the benchmark.

    `fit` starts from nothing every time it is called; the benchmark calls it several times, on the training part and
    on folds of it.
    """

    @property
    def name(self) -> str:
        """What it is called in the results."""
        ...

    @property
    def folds(self) -> int:
        """Folds of the training part that choose the trade-off: 3, or 1 (one held-out third) to save time."""
        ...

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Learn from queries and outcomes; `rng` is the only source of randomness."""
        ...

    def predict(self, test: TestData) -> Predictions:
        """Return expected quality and cost of each LLM."""
        ...


@runtime_checkable
class SeesOutcomes(Protocol):
    """The oracle's own door: a contender that is shown the truth about the queries that it will be asked about."""

    def look(self, log: RoutingLog) -> None:
        """See the outcomes of the queries of the next `predict`."""
        ...
