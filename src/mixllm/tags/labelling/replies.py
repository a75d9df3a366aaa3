"""Replies of the endpoint: the text of the answer, and the tokens that are billed."""

from __future__ import annotations

import msgspec

from mixllm.types import MAX_COUNT, Value

__all__ = ["Reply", "read_reply"]


class Reply(Value, frozen=True, kw_only=True):
    """What is read of a chat completion.

    Parameters
    ----------
    text
        The answer; empty where there is none.
    tokens_in, tokens_out
        As the endpoint counted them; None where it did not say.
    """

    text: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None


class _Envelope(msgspec.Struct):
    choices: object = None
    usage: object = None


_decode = msgspec.json.Decoder(_Envelope).decode


def read_reply(body: bytes) -> Reply:
    """Return what is read of `body`; whatever it is, nothing is raised.

    Examples
    --------
    >>> read_reply(b'{"choices": [{"message": {"content": "[]"}}], "usage": {"prompt_tokens": 7}}')
    Reply(text='[]', tokens_in=7, tokens_out=None)
    >>> read_reply(b'{"choices": null}')
    Reply(text='', tokens_in=None, tokens_out=None)
    """
    try:
        envelope = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Reply()
    usage = envelope.usage if isinstance(envelope.usage, dict) else {}
    return Reply(
        text=_text(envelope.choices),
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
    )


def _text(choices: object) -> str:
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_COUNT else None
