"""JSON as LLMs write it in answers that hold it: fenced, in prose, cut off, with single quotes or a comma too many."""

from __future__ import annotations

import json
import re

__all__ = ["MAX_TEXT_CHARS", "json_values", "mended"]

MAX_TEXT_CHARS = 400_000
"""A longer text is no answer to a request for a little JSON."""

_MAX_FAILURES = 200
_OPENING = re.compile(r"[\[{]")
_decode_at = json.JSONDecoder(strict=False).raw_decode

# What may have to be mended: quotes (an apostrophe within a word is none), commas before a bracket, Python's words.
_ODDITY = re.compile(r"""["“”]|(?<![^\s\[{,:(])'|,(?=\s{0,20}[\]}])|\b(?:None|True|False)\b""")
_REST_OF_STRING = {
    '"': re.compile(r'((?:[^"\\]|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"""(.*?)(?<!\\)'(?=\s{0,20}[,:\]}])""", re.DOTALL),
    "“": re.compile(r"([^“”]*+)[“”]"),
}
_WORDS = {"None": "null", "True": "true", "False": "false", ",": ""}


def json_values(text: str) -> list[object]:
    r"""Return the JSON arrays and objects in `text`, in order; never raises.

    What stands around them is skipped. Of one that is cut off, the whole arrays and objects in it are returned.

    Examples
    --------
    >>> json_values('Sure!\n```json\n{"a": [1]}\n```\nAnything else?')
    [{'a': [1]}]
    >>> json_values('[{"a": 1}, {"b": 2}, {"c"')
    [{'a': 1}, {'b': 2}]
    """
    values: list[object] = []
    position = failures = 0
    while failures < _MAX_FAILURES and (opening := _OPENING.search(text, position)) is not None:
        try:
            value, position = _decode_at(text, opening.start())
            values.append(value)
        except (ValueError, RecursionError):
            # ValueError also for integers of thousands of digits.
            failures += 1
            position = opening.end()
    return values


def mended(text: str) -> str:
    r"""Return `text` with Python's and typography's quotes, words and trailing commas written as JSON wants them.

    Examples
    --------
    >>> mended("{'a': ['it\\'s', None,]}")
    '{"a": ["it\'s", null]}'
    """
    pieces: list[str] = []
    position = 0
    # Quotes that nothing closes any more; without that a text full of them would take quadratic time.
    unclosed: set[str] = set()
    while (match := _ODDITY.search(text, position)) is not None:
        pieces.append(text[position : match.start()])
        position = match.end()
        found = match[0].replace("”", "“")
        rest = None
        if found in _REST_OF_STRING and found not in unclosed:
            rest = _REST_OF_STRING[found].match(text, position)
        if rest is not None:
            position = rest.end()
            pieces.append(f'"{rest[1]}"' if found == '"' else _quoted(rest[1]))
        else:
            unclosed.add(found)
            pieces.append(_WORDS.get(found, match[0]))
    return "".join([*pieces, text[position:]])


def _quoted(content: str) -> str:
    return json.dumps(content.replace("\\'", "'").replace('\\"', '"'), ensure_ascii=False)
