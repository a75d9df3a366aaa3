"""Chats of a log's ``messages`` column: the last user message is the prompt, the system messages are the system."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["prompt_and_system"]


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    def text(self) -> str:
        content = self.content
        if isinstance(content, str):
            return content
        return "\n".join(part.text for part in content or () if part.type == "text" and part.text is not None)


_decode = msgspec.json.Decoder(list[_Message]).decode


def prompt_and_system(messages: str | list[Any]) -> tuple[str, str | None]:
    """Return the text of the last user message that has one, and the system prompt or None.

    Parameters
    ----------
    messages
        A chat as OpenAI's API takes it: a JSON string, or a list of mappings.

    Raises
    ------
    ValueError
        Where it is no such chat, or holds no user message with text; the message says which.

    Examples
    --------
    >>> prompt_and_system('[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]')
    ('Why?', 'Be brief.')
    """
    chat = _decode(messages) if isinstance(messages, str) else msgspec.convert(messages, list[_Message])
    asks = [text for message in chat if message.role == "user" and (text := message.text())]
    if not asks:
        raise ValueError("no user message with text")
    system = [text for message in chat if message.role in ("system", "developer") and (text := message.text())]
    return asks[-1], "\n\n".join(system) or None
