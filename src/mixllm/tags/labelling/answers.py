"""Answers: for each query its tags, or the reason why there are none."""

from __future__ import annotations

import re
import unicodedata
from typing import TypeAlias

from mixllm.clients.loose_json import MAX_TEXT_CHARS, json_values, mended
from mixllm.errors import InvalidValueError
from mixllm.types import Value

__all__ = ["MAX_TAG_CHARS", "QueryTags", "clean_tag", "parse_answer"]

MAX_TAG_CHARS = 60
"""A longer string is a sentence, no tag."""

_MAX_DEPTH = 4
_NUMBER = re.compile(r"\s*(?:q|query|#)?\s*([0-9]{1,6})\s*", re.IGNORECASE)
_NAMES = ("tag", "name", "title", "label")

_Item: TypeAlias = tuple[int | None, object]
"""The id of a query, if it was given, and what stands for its tags."""


class QueryTags(Value, frozen=True, kw_only=True):
    """What an answer says about one query.

    Parameters
    ----------
    tags
        In lower case, in the answer's order, each once; empty where the LLM found no intention.
    reason
        Why the answer cannot be used for this query; None where it can.
    """

    tags: tuple[str, ...] = ()
    reason: str | None = None


def parse_answer(text: str, *, count: int, max_tags: int = 5) -> tuple[QueryTags, ...]:
    """Return what `text` says about each of `count` queries; whatever the text is, nothing is raised.

    Understood are the form that was asked for, fenced or within prose, cut off, with Python's quotes; lists of lists
    in the order of the queries; objects with the ids as keys; for a single query also InsTag's own bare list. A query
    that comes twice has what comes last. An answer without ids counts only where it has as many entries as there are
    queries: else nobody knows which entry belongs to which query.

    Parameters
    ----------
    text
        The answer.
    count
        Number of queries that were asked for, at least 1.
    max_tags
        Most tags of a query; further ones are dropped.

    Raises
    ------
    InvalidValueError
        Where `count` or `max_tags` is below 1.

    Examples
    --------
    >>> for query in parse_answer('{"results": [{"id": 2, "tags": [{"tag": "Math Problem"}]}]}', count=2):
    ...     print(query.tags, query.reason)
    () the answer leaves it out
    ('math problem',) None
    """
    for parameter, value in (("count", count), ("max_tags", max_tags)):
        if value < 1:
            raise InvalidValueError(parameter, value, ">= 1")
    if not text.strip():
        return _all(count, "the answer is empty")
    if len(text) > MAX_TEXT_CHARS:
        return _all(count, f"the answer is longer than {MAX_TEXT_CHARS} characters")
    items = _items(json_values(text), alone=count == 1) or _items(json_values(mended(text)), alone=count == 1)
    if not items:
        return _all(count, "the answer holds no JSON with tags")
    placed = _placed(items, count)
    if isinstance(placed, str):
        return _all(count, placed)
    return tuple(_query_tags(placed, number, max_tags) for number in range(1, count + 1))


def clean_tag(raw: object) -> str | None:
    r"""Return a tag in lower case, in one line, without control characters; None where `raw` is no tag.

    Examples
    --------
    >>> clean_tag({"tag": " Spelling\n Check "}), clean_tag("?!"), clean_tag(3)
    ('spelling check', None, None)
    """
    if isinstance(raw, dict):
        raw = next((raw[name] for name in _NAMES if name in raw), None)
    if not isinstance(raw, str) or len(raw) > 10 * MAX_TAG_CHARS:
        return None
    text = unicodedata.normalize("NFKC", raw).lower()
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= MAX_TAG_CHARS and any(map(str.isalnum, text)) else None


def _all(count: int, reason: str) -> tuple[QueryTags, ...]:
    return (QueryTags(reason=reason),) * count


def _items(values: list[object], *, alone: bool) -> list[_Item]:
    return [item for value in values for item in _items_of(value, alone=alone, depth=0)]


def _items_of(value: object, *, alone: bool, depth: int) -> list[_Item]:
    if depth > _MAX_DEPTH:
        return []
    if isinstance(value, list):
        if alone and all(clean_tag(element) is not None for element in value):
            return [(None, value)]
        if all(isinstance(element, list) for element in value):
            return [(None, element) for element in value]
        return [item for element in value for item in _items_of(element, alone=False, depth=depth + 1)]
    if not isinstance(value, dict):
        return []
    if "tags" in value:
        return [(_number(value.get("id")), value["tags"])]
    numbered = [(_number(key), tags) for key, tags in value.items() if isinstance(tags, list)]
    if numbered and all(number is not None for number, _ in numbered):
        return list(numbered)
    return [item for inner in value.values() for item in _items_of(inner, alone=alone, depth=depth + 1)]


def _number(raw: object) -> int | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int):
        return raw
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    match = _NUMBER.fullmatch(raw) if isinstance(raw, str) else None
    return None if match is None else int(match[1])


def _placed(items: list[_Item], count: int) -> dict[int, object] | str:
    """Return the tags by id, or why it is not known which belong to which."""
    numbered = {number: tags for number, tags in items if number is not None}
    if not numbered:
        if len(items) != count:
            return f"the answer has {len(items)} entries without ids for {count} queries"
        return {number: tags for number, (_, tags) in enumerate(items, start=1)}
    if 0 in numbered:
        if set(numbered) != set(range(count)):
            return "the answer numbers the queries otherwise"
        return {number + 1: tags for number, tags in numbered.items()}
    return numbered


def _query_tags(placed: dict[int, object], number: int, max_tags: int) -> QueryTags:
    if number not in placed:
        return QueryTags(reason="the answer leaves it out")
    raw = placed[number]
    if not isinstance(raw, list):
        return QueryTags(reason="its tags are no list")
    tags = tuple(dict.fromkeys(tag for element in raw if (tag := clean_tag(element)) is not None))
    if raw and not tags:
        return QueryTags(reason="none of its tags is usable")
    return QueryTags(tags=tags[:max_tags])
