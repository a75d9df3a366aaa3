"""A log in two parts, again and again, the same for every contender."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError, did_you_mean
from mixllm.evaluation.contender import Split
from mixllm.interfaces import Encoder
from mixllm.logs import RoutingLog, default_label
from mixllm.units import tokens_from_chars

__all__ = ["Dataset", "domain_splits", "fold_rows", "prepare", "random_splits"]

_TEST_SHARE = 0.2
_FEWEST_QUERIES = 10
_FEWEST_OF_A_DOMAIN = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A log made ready: every LLM was asked every query, the texts are encoded.

    Parameters
    ----------
    log
        The queries that every LLM was asked.
    left_out
        How many others the log has.
    encodings, texts, tokens_in
        As in `TestData`, for all of them.
    encoder
        What made the encodings.
    reference
        Name of the LLM whose quality and cost are 100 %.
    label
        Name of the label that may serve as tags, or None.
    """

    log: RoutingLog
    left_out: int
    encodings: NDArray[np.float32]
    texts: tuple[str, ...]
    tokens_in: NDArray[np.float64]
    encoder: Encoder
    reference: str
    label: str | None

    def split(self, train: NDArray[np.intp], test: NDArray[np.intp], *, name: str, seed: int) -> Split:
        """Return the split with these rows."""
        return Split(
            name=name,
            train=self.log.select(train),
            test=self.log.select(test),
            train_encodings=self.encodings[train],
            test_encodings=self.encodings[test],
            train_texts=tuple(self.texts[row] for row in train.tolist()),
            test_texts=tuple(self.texts[row] for row in test.tolist()),
            train_tokens_in=self.tokens_in[train],
            test_tokens_in=self.tokens_in[test],
            encoder=self.encoder,
            seed=seed,
            reference=self.reference,
            label=self.label,
        )


def prepare(log: RoutingLog, *, encoder: Encoder, label: str | None = None, reference: str | None = None) -> Dataset:
    """Make a log ready for the benchmark.

    Queries that some LLM was not asked are left out: a router that chose that LLM there could not be judged. Prompts
    whose tokens are not recorded are taken to have a token per four characters.

    Parameters
    ----------
    log
        Any log.
    encoder
        Encodes the texts: the log's questions where it tells them from what stands around them, else its prompts.
    label
        Name of a label to serve as tags; None takes that of `default_label`.
    reference
        Name of the LLM whose quality and cost are 100 %; None takes the strongest over the queries that stay.

    Raises
    ------
    UnknownLLMError
        Where the log has no LLM named `reference`.
    LogError
        Where the log has no such label, or fewer than ten queries that every LLM was asked.
    """
    if label is not None and label not in log.labels:
        known = ", ".join(log.labels) or "none"
        raise LogError(f"Log {log.name!r} has no label {label!r}.{did_you_mean(label, log.labels)} It has: {known}.")
    judged = ~(np.isnan(log.quality) | np.isnan(log.cost_usd))
    rows = np.flatnonzero(judged.all(axis=1))
    if rows.size < _FEWEST_QUERIES:
        raise LogError(
            f"Log {log.name!r}: only {rows.size} queries were asked of every LLM, and the benchmark needs "
            f"{_FEWEST_QUERIES}. Use a larger log, or leave out LLMs that were asked little."
        )
    kept = log.select(rows)
    return Dataset(
        log=kept,
        left_out=len(log) - len(kept),
        encodings=np.ascontiguousarray(encoder.encode_batch(kept.texts), dtype=np.float32),
        texts=kept.texts,
        tokens_in=_tokens_in(kept),
        encoder=encoder,
        reference=kept.strongest() if reference is None else log.llms[log.column(reference)],
        label=label or default_label(kept),
    )


def random_splits(dataset: Dataset, *, splits: int, seed: int) -> Iterator[Split]:
    """Yield `splits` random splits, four fifths to learn from; the same seed gives the same.

    Raises
    ------
    InvalidValueError
        Where there is less than one split.
    """
    if splits < 1:
        raise InvalidValueError("splits", splits, ">= 1")
    queries = len(dataset.log)
    held_out = max(1, round(queries * _TEST_SHARE))
    for number in range(splits):
        # Drawn for each split on its own, so that asking for more splits leaves the first ones as they are.
        order = np.random.default_rng([seed, number, queries]).permutation(queries)
        yield dataset.split(np.sort(order[held_out:]), np.sort(order[:held_out]), name=str(number), seed=seed + number)


def domain_splits(dataset: Dataset, *, seed: int) -> Iterator[Split]:
    """Yield a split for each value of the label that has 20 queries: it is the test part, all others train.

    Raises
    ------
    LogError
        Where no label is known, or fewer than two of its values have enough queries.
    """
    log = dataset.log
    if dataset.label is None:
        raise LogError(f"Log {log.name!r} has no label that names domains. Choose one: --label COLUMN.")
    values = np.array(log.labels[dataset.label])
    names, counts = np.unique(values, return_counts=True)
    large = names[counts >= _FEWEST_OF_A_DOMAIN].tolist()
    if len(large) < 2:
        raise LogError(
            f"Log {log.name!r}: fewer than two values of label {dataset.label!r} have {_FEWEST_OF_A_DOMAIN} queries. "
            "Choose another label: --label COLUMN."
        )
    for value in large:
        inside = values == value
        yield dataset.split(
            np.flatnonzero(~inside),
            np.flatnonzero(inside),
            name=f"{dataset.label}={value}",
            seed=seed + zlib.crc32(value.encode()) % 1_000_003,
        )


def fold_rows(queries: int, *, folds: int, rng: np.random.Generator) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return rows to learn from and rows held out, for each fold; a single fold holds out a third.

    Raises
    ------
    InvalidValueError
        Where there is less than one fold, or fewer than three queries.
    """
    if folds < 1:
        raise InvalidValueError("folds", folds, ">= 1")
    if queries < max(3, folds):
        raise InvalidValueError("queries", queries, f">= {max(3, folds)}")
    order = rng.permutation(queries)
    parts = np.array_split(order, 3 if folds == 1 else folds)[:folds]
    held_out = [np.sort(part) for part in parts]
    return [(np.setdiff1d(np.arange(queries), part), part) for part in held_out]


def _tokens_in(log: RoutingLog) -> NDArray[np.float64]:
    """Return tokens of each prompt: the middle of the LLMs' counts, whose tokenizers differ, or an estimate."""
    known = ~np.isnan(log.tokens_in).all(axis=1)
    tokens = np.array(
        [
            tokens_from_chars(len(prompt) + len(system or ""))
            for prompt, system in zip(log.prompts, log.systems, strict=True)
        ],
        dtype=np.float64,
    )
    tokens[known] = np.nanmedian(log.tokens_in[known], axis=1)
    return tokens
