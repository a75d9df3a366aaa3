"""Verdicts: the score in what a judge wrote, or none where it is not plain which one is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mixllm.clients.loose_json import json_values, mended

__all__ = ["MAX_VERDICT_CHARS", "read_verdict"]

MAX_VERDICT_CHARS = 20_000
"""A longer text is no verdict."""

_SCORE = "score"
_MAX_DEPTH = 3
_NUMBER = re.compile(r"\s*([01](?:\.[0-9]{1,20})?|\.[0-9]{1,20})\s*", re.ASCII)


def read_verdict(text: str) -> float | None:
    r"""Return the score in [0, 1] that `text` gives; None where it gives none, or several; never raises.

    Understood are the JSON that was asked for, fenced or within prose, with Python's quotes or within another object,
    and a bare number. A score beyond 1 is not guessed to be one of 5, 10 or 100. Where several objects have different
    scores, one may be quoted from the answer that was judged: that is no verdict.

    Parameters
    ----------
    text
        What the judge wrote.

    Examples
    --------
    >>> read_verdict('```json\n{"reason": "Right.", "score": 0.9}\n```'), read_verdict("0.5")
    (0.9, 0.5)
    >>> read_verdict("8/10"), read_verdict('{"score": 8}'), read_verdict("Good.")
    (None, None, None)
    """
    if len(text) > MAX_VERDICT_CHARS:
        return None
    bare = _NUMBER.fullmatch(text)
    if bare is not None:
        return _in_range(float(bare[1]))
    found = set(_scores(json_values(text), 0)) or set(_scores(json_values(mended(text)), 0))
    return found.pop() if len(found) == 1 else None


def _scores(value: object, depth: int) -> Iterator[float | None]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, dict):
        if _SCORE in value:
            yield _score(value[_SCORE])
            return
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _scores(inner, depth + 1)


def _score(value: object) -> float | None:
    if isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        return None if number is None else _in_range(float(number[1]))
    return None if isinstance(value, bool) or not isinstance(value, int | float) else _in_range(value)


def _in_range(score: float) -> float | None:
    return float(score) if 0 <= score <= 1 else None
