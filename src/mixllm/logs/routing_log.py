"""The routing log in memory: n queries, K LLMs, and arrays of what each LLM did with each query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixllm.errors import InvalidValueError, LogError, UnknownLLMError

__all__ = ["RoutingLog"]

_ARRAYS = ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s", "ttft_s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingLog:
    """What K LLMs did with n queries.

    All arrays but `encodings` are float64 of shape (n, K), read-only, with NaN where nothing is known.

    Parameters
    ----------
    name
        What the log is called.
    query_ids
        Identity of each query, unique, length n.
    prompts
        Text of each query's last user message, length n.
    systems
        System prompt of each query, or None, length n.
    labels
        Further columns of the queries by name, each of length n; they can serve as tags.
    llms
        Names of the K LLMs, unique.
    quality
        Quality in [0, 1]; NaN where the LLM was not asked, or (only with `propensities`) where nobody judged.
    cost_usd
        Cost of the call. Known exactly where the quality is; with `propensities`, wherever the quality is and also
        where nobody judged.
    tokens_in, tokens_out
        Tokens of the prompt and of the answer.
    latency_s, ttft_s
        Time to the last and to the first token.
    answers
        For each query the answer of each LLM, or None; None where the log keeps no answers.
    questions
        The text to encode of each query, where it is not the prompt (of a prompt with examples: its question).
    encodings, encoder
        What an encoder made of each query, float32 of shape (n, d), and the encoder's fingerprint: both or neither.
        An export of a store has them, since it seldom has prompts.
    propensities
        Probability in (0, 1] with which the LLM was chosen; NaN where it was not asked, and where it stood in for a
        failed one. None in a log that asked every LLM whatever the query; one that has them holds what a router chose.
    left_out
        Rows of its files that were broken and left out.

    Raises
    ------
    InvalidValueError
        Where a length, a shape or a value does not fit.

    Examples
    --------
    >>> nothing = np.full((2, 2), np.nan)
    >>> log = RoutingLog(
    ...     name="tiny", query_ids=("1", "2"), prompts=("2 + 2?", "Why?"), systems=(None, None), labels={},
    ...     llms=("small", "large"), quality=np.array([[1.0, 1.0], [0.0, 1.0]]),
    ...     cost_usd=np.array([[0.1, 0.9], [0.2, 1.1]]), tokens_in=nothing, tokens_out=nothing,
    ...     latency_s=nothing, ttft_s=nothing,
    ... )
    >>> log.strongest(), log.mean_cost_usd().round(2)
    ('large', array([0.15, 1.  ]))
    >>> len(log.select([1]))
    1
    """

    name: str
    query_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    systems: tuple[str | None, ...]
    labels: Mapping[str, tuple[str, ...]]
    llms: tuple[str, ...]
    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    tokens_in: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    answers: tuple[tuple[str | None, ...], ...] | None = field(default=None, repr=False)
    questions: tuple[str, ...] | None = field(default=None, repr=False)
    encodings: NDArray[np.float32] | None = field(default=None, repr=False)
    encoder: str | None = None
    propensities: NDArray[np.float64] | None = field(default=None, repr=False)
    left_out: int = 0

    def __post_init__(self) -> None:
        self._check_names()
        self._check_arrays()
        self._check_encodings()
        if self.left_out < 0:
            raise InvalidValueError("left_out", self.left_out, ">= 0")
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))
        for array_name in (*_ARRAYS, "propensities", "encodings"):
            if (array := getattr(self, array_name)) is not None:
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, array_name, view)

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which LLM was asked which query, shape (n, K): where the cost is known."""
        return ~np.isnan(self.cost_usd)

    @property
    def texts(self) -> tuple[str, ...]:
        """The text to encode of each query: its question where that is known apart, else its prompt."""
        return self.prompts if self.questions is None else self.questions

    def column(self, llm: str) -> int:
        """Return the position of `llm` in `llms`; raises `UnknownLLMError`."""
        try:
            return self.llms.index(llm)
        except ValueError:
            raise UnknownLLMError(llm, self.llms) from None

    def mean_quality(self) -> NDArray[np.float64]:
        """Return each LLM's mean quality over the queries it was judged on, shape (K,); NaN for one never judged."""
        return _column_means(self.quality)

    def mean_cost_usd(self) -> NDArray[np.float64]:
        """Return each LLM's mean cost over the queries it was asked, shape (K,); NaN for an LLM never asked."""
        return _column_means(self.cost_usd)

    def strongest(self) -> str:
        """Return the LLM of the highest mean quality; of equals the one of the higher mean cost, then the first.

        It is the reference, whose quality and cost are 100 %: of two equals the costlier one is the one that people
        send everything to. Where LLMs were asked different queries, their means are over different queries.

        Raises
        ------
        LogError
            Where no LLM was asked anything, or nobody judged an answer.
        """
        if not self.asked.any():
            raise LogError(f"Log {self.name!r}: no LLM was asked anything, so none is the strongest. Use another log.")
        if np.isnan(self.quality).all():
            raise LogError(f"Log {self.name!r}: no answer was judged, so none is the strongest. Give some feedback.")
        quality = np.nan_to_num(self.mean_quality(), nan=-np.inf)
        cost_usd = self.mean_cost_usd()
        best = max(range(len(self.llms)), key=lambda column: (quality[column], cost_usd[column], -column))
        return self.llms[best]

    def select(self, indices: Sequence[int] | Sequence[bool] | NDArray[np.integer] | NDArray[np.bool_]) -> RoutingLog:
        """Return the log of some queries, in the order of `indices`.

        Parameters
        ----------
        indices
            Positions of the queries, each at most once, or a mask of length n.

        Raises
        ------
        InvalidValueError
            Where a position is out of range or comes twice, or a mask has another length.
        """
        rows = _positions(indices, len(self))
        picked = rows.tolist()
        return replace(
            self,
            query_ids=tuple(self.query_ids[row] for row in picked),
            prompts=tuple(self.prompts[row] for row in picked),
            systems=tuple(self.systems[row] for row in picked),
            labels={name: tuple(values[row] for row in picked) for name, values in self.labels.items()},
            answers=None if self.answers is None else tuple(self.answers[row] for row in picked),
            questions=None if self.questions is None else tuple(self.questions[row] for row in picked),
            encodings=None if self.encodings is None else self.encodings[rows],
            propensities=None if self.propensities is None else self.propensities[rows],
            **{array_name: getattr(self, array_name)[rows] for array_name in _ARRAYS},
        )

    def select_llms(self, llms: Sequence[str]) -> RoutingLog:
        """Return the log of some LLMs, in the order of `llms`; raises `UnknownLLMError`."""
        columns = [self.column(llm) for llm in llms]
        answers = self.answers
        return replace(
            self,
            llms=tuple(llms),
            answers=None if answers is None else tuple(tuple(row[column] for column in columns) for row in answers),
            propensities=None if self.propensities is None else self.propensities[:, columns],
            **{array_name: getattr(self, array_name)[:, columns] for array_name in _ARRAYS},
        )

    def _check_names(self) -> None:
        queries = len(self.query_ids)
        _no_twins("query_ids", self.query_ids)
        _no_twins("llms", self.llms)
        if not self.llms:
            raise InvalidValueError("llms", self.llms, "one name or more")
        columns: dict[str, Sequence[str | None]] = {"prompts": self.prompts, "systems": self.systems}
        columns |= {} if self.questions is None else {"questions": self.questions}
        columns |= {f"labels[{name!r}]": values for name, values in self.labels.items()}
        for parameter, values in columns.items():
            if len(values) != queries:
                raise InvalidValueError(parameter, f"{len(values)} values", f"as long as query_ids ({queries})")
        if self.answers is not None:
            if len(self.answers) != queries:
                raise InvalidValueError("answers", f"{len(self.answers)} rows", f"as long as query_ids ({queries})")
            for row in self.answers:
                if len(row) != len(self.llms):
                    raise InvalidValueError("answers", f"a row of {len(row)}", f"rows of {len(self.llms)}, as llms is")

    def _check_arrays(self) -> None:
        shape = (len(self.query_ids), len(self.llms))
        for array_name in (*_ARRAYS, *(() if self.propensities is None else ("propensities",))):
            array = getattr(self, array_name)
            if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.shape != shape:
                found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else array
                raise InvalidValueError(array_name, found, f"an array of float64 of shape {shape}")
            bad = np.isinf(array) | (array < 0)
            if bad.any():
                raise InvalidValueError(array_name, float(array[bad][0]), "finite and >= 0, or NaN")
        if (self.quality > 1).any():
            raise InvalidValueError("quality", float(np.nanmax(self.quality)), "between 0 and 1, or NaN")
        no_cost, no_quality = np.isnan(self.cost_usd), np.isnan(self.quality)
        if self.propensities is None:
            if (no_cost != no_quality).any():
                raise InvalidValueError("cost_usd", "other gaps", "known exactly where quality is")
            return
        if (no_cost & ~no_quality).any():
            raise InvalidValueError("cost_usd", "a gap where quality is known", "known wherever quality is")
        known = ~np.isnan(self.propensities)
        if (known & no_cost).any():
            raise InvalidValueError("propensities", "one of an LLM that was not asked", "NaN where cost_usd is")
        if (self.propensities[known] == 0).any() or (self.propensities[known] > 1).any():
            raise InvalidValueError("propensities", "0, or above 1", "above 0 and at most 1, or NaN")

    def _check_encodings(self) -> None:
        if (self.encodings is None) != (self.encoder is None):
            raise InvalidValueError("encoder", self.encoder, "given exactly where encodings are")
        if self.encodings is None:
            return
        array, queries = self.encodings, len(self.query_ids)
        if array.dtype != np.float32 or array.ndim != 2 or len(array) != queries:
            found = f"{array.dtype} of shape {array.shape}"
            raise InvalidValueError("encodings", found, f"an array of float32 of shape ({queries}, d)")
        if not np.isfinite(array).all():
            raise InvalidValueError("encodings", "a number that is not", "finite")


def _column_means(array: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(array)
    counts = known.sum(axis=0)
    sums = np.where(known, array, 0.0).sum(axis=0)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(array.shape[1], np.nan), where=counts > 0)
    return means


def _positions(indices: ArrayLike, queries: int) -> NDArray[np.intp]:
    given = np.asarray(indices)
    if given.ndim != 1:
        raise InvalidValueError("indices", given, "one-dimensional")
    if given.dtype == np.bool_ and given.size:
        if given.size != queries:
            raise InvalidValueError("indices", f"a mask of {given.size}", f"a mask of length {queries}")
        return np.flatnonzero(given)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise InvalidValueError("indices", given, "integers or booleans")
    rows = given.astype(np.intp)
    outside = rows[(rows < 0) | (rows >= queries)]
    if outside.size:
        raise InvalidValueError("indices", int(outside[0]), f"between 0 and {queries - 1}")
    if np.unique(rows).size != rows.size:
        raise InvalidValueError("indices", given, "positions that come once each")
    return rows


def _no_twins(parameter: str, names: tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        twin = next(name for name, count in Counter(names).items() if count > 1)
        raise InvalidValueError(parameter, twin, "unique")
