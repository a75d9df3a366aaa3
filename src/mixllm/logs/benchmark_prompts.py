"""Prompts as RouterBench writes them, and the question in them."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

from mixllm.logs.chats import prompt_and_system

__all__ = ["last_block", "prompt_texts"]

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_MAX_LITERAL_CHARS = 4_000_000
_LIST_BEGINNINGS = ("['", '["', "[{")
_PART_GAP = "\n\n"


def last_block(prompt: str) -> str:
    r"""Return what follows the last blank line of `prompt`: of a prompt with examples, the question.

    Parameters
    ----------
    prompt
        The whole prompt. White space around it does not count.

    Examples
    --------
    >>> last_block("Q: 1 + 1?\nA: 2\n\nQ: 2 + 2?\nA:")
    'Q: 2 + 2?\nA:'
    >>> last_block("Why?")
    'Why?'
    """
    text = prompt.strip()
    *_, last = _BLANK_LINE.split(text)
    return last.lstrip()


def prompt_texts(values: Sequence[Any]) -> list[str | None]:
    r"""Return the text of each prompt; None where it is missing or no prompt.

    Parameters
    ----------
    values
        Each a text, a list of texts (its parts, joined by a blank line), a list of messages (the last user message
        counts), or such a list written as Python writes it.

    Examples
    --------
    >>> prompt_texts(["Why?", "['Q: 1?\\n\\nQ: 2?']", [{"role": "user", "content": "Hi"}], None, "[not a list"])
    ['Why?', 'Q: 1?\n\nQ: 2?', 'Hi', None, '[not a list']
    """
    with warnings.catch_warnings():
        # A text that only looks like a list may hold escapes that Python warns of.
        warnings.simplefilter("ignore")
        return [_prompt_text(value) for value in values]


def _prompt_text(value: Any) -> str | None:
    if isinstance(value, str):
        return _written_list(value)
    return _joined(value) if isinstance(value, list) else None


def _written_list(text: str) -> str:
    if not text.startswith(_LIST_BEGINNINGS) or not text.rstrip().endswith("]") or len(text) > _MAX_LITERAL_CHARS:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    joined = _joined(value) if isinstance(value, list) else None
    return text if joined is None else joined


def _joined(parts: list[Any]) -> str | None:
    if not parts:
        return None
    if all(isinstance(part, str) for part in parts):
        return _PART_GAP.join(parts)
    if all(isinstance(part, dict) for part in parts):
        try:
            return prompt_and_system(parts)[0]
        except (ValueError, RecursionError):
            return None
    return None
