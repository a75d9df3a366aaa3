"""What each LLM of a routing log answered, found by the text of the question."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import UnknownLLMError
from mixllm.logs import RoutingLog, fit_price
from mixllm.types import Price, Value
from mixllm.units import tokens_from_chars

__all__ = ["AnswerBook", "RecordedAnswer"]

_UNKNOWN_ANSWER_TOKENS = 100
_DEFAULT_TTFT_S = 0.2
_DEFAULT_S_PER_TOKEN = 0.01
_FILLERS = (
    "It is made up.",
    "The same question always gets it.",
    "Its length depends on the question alone.",
    "No language model was asked.",
    "Ask a question of the log for a recorded one.",
)


class RecordedAnswer(Value, frozen=True, kw_only=True):
    """One LLM's answer to one question.

    Parameters
    ----------
    text
        The answer.
    tokens_in, tokens_out
        Tokens as recorded; estimated from the texts where the log has none.
    latency_s, ttft_s
        Time to the last and the first token as recorded; the LLM's usual pace where the log has none.
    quality
        As recorded; None for an answer that was made up.
    cost_usd
        As recorded; for an answer that was made up, its tokens at the LLM's fitted price.
    recorded
        Whether the log holds this question for this LLM.
    """

    text: str
    tokens_in: int
    tokens_out: int
    latency_s: float
    ttft_s: float
    quality: float | None
    cost_usd: float
    recorded: bool


class AnswerBook:
    """Finds recorded answers, and makes up one where there is none.

    A question is found by its exact text, with its system prompt where the log holds it with that one, without it
    otherwise. Of several equal questions the log's first one answers; `shadowed` lists the others.

    Parameters
    ----------
    log
        The routing log.

    Examples
    --------
    >>> from mixllm.playback import synthetic_log
    >>> log = synthetic_log(queries=8)
    >>> book = AnswerBook(log=log)
    >>> book.answer("atlas-large", log.prompts[3]).text == log.answers[3][0]
    True
    >>> book.answer("atlas-large", "Anything else?").recorded
    False
    """

    def __init__(self, *, log: RoutingLog) -> None:
        self.log = log
        self._columns = {llm: column for column, llm in enumerate(log.llms)}
        self._by_text: dict[str, int] = {}
        self._by_system: dict[tuple[str | None, str], int] = {}
        shadowed = []
        for row, key in enumerate(zip(log.systems, log.prompts, strict=True)):
            self._by_text.setdefault(key[1], row)
            if self._by_system.setdefault(key, row) != row:
                shadowed.append(log.query_ids[row])
        self.shadowed: tuple[str, ...] = tuple(shadowed)
        """Ids of the queries that an earlier query of the same text and system prompt hides."""
        tokens_in, tokens_out = _filled_tokens(log)
        self._prices = [_price(log, tokens_in, tokens_out, column) for column in range(len(log.llms))]
        self._paces = [_pace(log, tokens_out, column) for column in range(len(log.llms))]
        # Nested lists: reading one number of an array on the request path costs more than all the rest.
        self._tokens_in: list[list[float]] = tokens_in.tolist()
        self._tokens_out: list[list[float]] = tokens_out.tolist()
        self._quality: list[list[float]] = log.quality.tolist()
        self._cost_usd: list[list[float]] = log.cost_usd.tolist()
        self._latency_s: list[list[float]] = log.latency_s.tolist()
        self._ttft_s: list[list[float]] = log.ttft_s.tolist()

    @property
    def llms(self) -> tuple[str, ...]:
        """Names of the LLMs."""
        return self.log.llms

    def price(self, llm: str) -> Price:
        """Return the price that explains the LLM's recorded costs best; raises `UnknownLLMError`."""
        return self._prices[self._column(llm)]

    def row(self, text: str, system: str | None = None) -> int | None:
        """Return the position in the log of the question `text`; None where it is not there."""
        row = self._by_system.get((system, text))
        return self._by_text.get(text) if row is None else row

    def answer(self, llm: str, text: str, system: str | None = None) -> RecordedAnswer:
        """Return the answer of `llm` to `text`, recorded or made up; raises `UnknownLLMError`."""
        column = self._column(llm)
        row = self.row(text, system)
        if row is None or (quality := self._quality[row][column]) != quality:
            return self._made_up(column, text, system)
        answers = self.log.answers
        recorded = None if answers is None else answers[row][column]
        tokens_out = self._tokens_out[row][column]
        latency_s, ttft_s = self._latency_s[row][column], self._ttft_s[row][column]
        usual_ttft_s, s_per_token = self._paces[column]
        if latency_s != latency_s:
            latency_s = usual_ttft_s + tokens_out * s_per_token
        if ttft_s != ttft_s:
            ttft_s = usual_ttft_s
        return RecordedAnswer(
            text=_made_up_text(llm, text) if recorded is None else recorded,
            tokens_in=round(self._tokens_in[row][column]),
            tokens_out=round(tokens_out),
            latency_s=latency_s,
            ttft_s=min(ttft_s, latency_s),
            quality=quality,
            cost_usd=self._cost_usd[row][column],
            recorded=True,
        )

    def _column(self, llm: str) -> int:
        try:
            return self._columns[llm]
        except KeyError:
            raise UnknownLLMError(llm, self.llms) from None

    def _made_up(self, column: int, text: str, system: str | None) -> RecordedAnswer:
        answer = _made_up_text(self.llms[column], text)
        tokens_in, tokens_out = tokens_from_chars(len(text) + len(system or "")), tokens_from_chars(len(answer))
        ttft_s, s_per_token = self._paces[column]
        return RecordedAnswer(
            text=answer,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            latency_s=ttft_s + tokens_out * s_per_token,
            ttft_s=ttft_s,
            quality=None,
            cost_usd=self._prices[column].cost_usd(tokens_in=tokens_in, tokens_out=tokens_out),
            recorded=False,
        )


def _made_up_text(llm: str, text: str) -> str:
    sentences = zlib.crc32(f"{llm}\n{text}".encode(errors="replace")) % (len(_FILLERS) + 1)
    return " ".join((f"This is the answer of {llm} to a question that its log does not answer.", *_FILLERS[:sentences]))


def _filled_tokens(log: RoutingLog) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tokens_in and tokens_out, shape (n, K), estimated from the texts where the log has none."""
    tokens_in, tokens_out = log.tokens_in.copy(), log.tokens_out.copy()
    for row in np.flatnonzero(np.isnan(tokens_in).any(axis=1)).tolist():
        estimate = tokens_from_chars(len(log.prompts[row]) + len(log.systems[row] or ""))
        np.nan_to_num(tokens_in[row], copy=False, nan=estimate)
    for row, column in np.argwhere(np.isnan(tokens_out)).tolist():
        answer = None if log.answers is None else log.answers[row][column]
        tokens_out[row, column] = _UNKNOWN_ANSWER_TOKENS if answer is None else tokens_from_chars(len(answer))
    return tokens_in, tokens_out


def _price(log: RoutingLog, tokens_in: NDArray[np.float64], tokens_out: NDArray[np.float64], column: int) -> Price:
    asked = log.asked[:, column]
    if not asked.any():
        return Price(usd_per_million_tokens_in=0.0, usd_per_million_tokens_out=0.0)
    return fit_price(
        cost_usd=log.cost_usd[asked, column],
        tokens_in=tokens_in[asked, column],
        tokens_out=tokens_out[asked, column],
    )


def _pace(log: RoutingLog, tokens_out: NDArray[np.float64], column: int) -> tuple[float, float]:
    """Return the LLM's median time to the first token and median time per further token."""
    latency_s, ttft_s = log.latency_s[:, column], log.ttft_s[:, column]
    timed = ~np.isnan(latency_s)
    if not timed.any():
        return _DEFAULT_TTFT_S, _DEFAULT_S_PER_TOKEN
    # Without a recorded first token, assume that it came after a quarter of the time.
    first_s = np.where(np.isnan(ttft_s), latency_s / 4, np.minimum(ttft_s, latency_s))[timed]
    rest_s = (latency_s[timed] - first_s) / np.maximum(tokens_out[timed, column], 1.0)
    return float(np.median(first_s)), float(np.median(rest_s))
