"""What an answer said: whether anything, why it ended, and, where it is to be judged, the text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mixllm.encoders import head_and_tail, well_formed

__all__ = ["Said"]

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TEXT = "text"


class _Words(msgspec.Struct, frozen=True):
    """A whole message, or the delta of a chunk; other parts than text tell only by being there."""

    content: object = None
    refusal: object = None
    tool_calls: object = None
    function_call: object = None
    audio: object = None
    images: object = None


class _Choice(msgspec.Struct, frozen=True):
    index: int | None = 0
    message: _Words | None = None
    delta: _Words | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None


_CHOICE = msgspec.json.Decoder(_Choice, float_hook=float)
_BODY = msgspec.json.Decoder(_Body, float_hook=float)


class Said:
    """Reads an answer, whole or chunk by chunk.

    Parameters
    ----------
    max_chars
        Most characters of the first choice's text that are kept, head and tail; 0 keeps none.

    Examples
    --------
    >>> said = Said(max_chars=100)
    >>> said.read_body(b'{"choices":[{"message":{"content":"Paris."},"finish_reason":"stop"}]}')
    >>> said.text(), said.empty, said.finish_reasons
    ('Paris.', False, {'stop'})
    """

    def __init__(self, *, max_chars: int = 0) -> None:
        self.max_chars = max_chars
        self.finish_reasons: set[str] = set()
        self.shortened = False
        """Whether the middle of the text was left out."""
        self.calls_tools = False
        """Whether any choice calls a tool."""
        self._anything = False
        self._unreadable = False
        self._pieces: list[str] = []
        self._chars = 0

    @property
    def empty(self) -> bool:
        """Whether no choice says anything; never where a part could not be read."""
        return not (self._anything or self._unreadable)

    def read_body(self, body: bytes) -> None:
        """Read a whole answer."""
        try:
            choices = _BODY.decode(body).choices
        except _UNREADABLE:
            self._unreadable = True
            return
        for choice in choices or ():
            self._read(choice)

    def read_choices(self, choices: Sequence[msgspec.Raw]) -> None:
        """Read the choices of a chunk."""
        for raw in choices:
            try:
                self._read(_CHOICE.decode(raw))
            except _UNREADABLE:
                self._unreadable = True

    def text(self) -> str:
        """Return the first choice's text, its middle left out where it is longer than `max_chars`."""
        text = "".join(self._pieces)
        return well_formed(self._fitted(text)) if text else ""

    def _read(self, choice: _Choice) -> None:
        if choice.finish_reason is not None:
            self.finish_reasons.add(choice.finish_reason)
        words = choice.message or choice.delta
        if words is None:
            return
        text = _text(words.content)
        self.calls_tools |= bool(words.tool_calls or words.function_call)
        self._anything |= (
            bool(text.strip() or words.refusal or words.audio or words.images or self.calls_tools)
            or (not text and bool(words.content))  # parts of a kind that is not known here
        )
        if self.max_chars and text and not choice.index:
            self._keep(text)

    def _keep(self, text: str) -> None:
        self._pieces.append(text)
        self._chars += len(text)
        if self._chars > 2 * self.max_chars:
            # Shortening what was shortened gives what shortening at the end would have.
            self._pieces = [self._fitted("".join(self._pieces))]
            self._chars = len(self._pieces[0])

    def _fitted(self, text: str) -> str:
        self.shortened |= len(text) > self.max_chars
        return head_and_tail(text, max_chars=self.max_chars)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == _TEXT]
    return "".join(text for part in parts if isinstance(text := part.get("text"), str))
