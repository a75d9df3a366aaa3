"""The content of one chat message: its text, how long it is, and what an LLM must be able to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mixllm.errors import InvalidValueError
from mixllm.types import Capability, Value

__all__ = ["Content", "json_kind", "json_text_chars", "read_content"]

_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_FILE_PARTS = frozenset({"file", "input_file"})
_MEDIA_PARTS = {
    "image_url": Capability.VISION,
    "input_image": Capability.VISION,
    "image": Capability.VISION,
    "video_url": Capability.VISION,
    "input_video": Capability.VISION,
    "video": Capability.VISION,
    "input_audio": Capability.AUDIO,
    "audio_url": Capability.AUDIO,
    "audio": Capability.AUDIO,
}
_MEDIA_TYPES = (
    ("image/", Capability.VISION),
    ("video/", Capability.VISION),
    ("application/pdf", Capability.VISION),
    ("audio/", Capability.AUDIO),
)
_MEDIA_SUFFIXES = (
    ((".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".mov", ".webm"), Capability.VISION),
    ((".mp3", ".wav", ".flac", ".ogg", ".m4a", ".aac"), Capability.AUDIO),
)
_DATA_URL = "data:"
_LONGEST_MEDIA_TYPE = 64
_NO_NEEDS: frozenset[Capability] = frozenset()
_OBJECT = (dict, Mapping)  # the abstract class alone would be slow to ask, and almost every object is a dict


class Content(Value, frozen=True, kw_only=True):
    """What one message's content says.

    Parameters
    ----------
    text
        Its text parts, one a line; results of tools and refusals are not among them.
    chars
        Characters of all its text, results of tools and refusals included; no characters of encoded media.
    needs
        What an LLM must be able to read: images, audio.
    """

    text: str = ""
    chars: int = 0
    needs: frozenset[Capability] = _NO_NEEDS


_EMPTY = Content()


def read_content(content: object, where: str) -> Content:
    """Read a message's ``content``: a string, null, or an array of parts.

    Parameters
    ----------
    content
        Any JSON value.
    where
        Its place in the request, for errors, e.g. ``messages[3].content``.

    Raises
    ------
    InvalidValueError
        Where it has none of these forms; the parameter is the exact place, the value the JSON type found there.

    Notes
    -----
    A part of a type that is not known here gives its ``text`` where it has one and is ignored otherwise, so that new
    kinds of parts pass through. A file calls for vision where it is an image, a video or a PDF and for audio where it
    is a recording, as far as its media type or its name tells.

    Examples
    --------
    >>> read_content([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}], "content")
    Content(text='What is this?', chars=13, needs=frozenset({<Capability.VISION: 'vision'>}))
    """
    if isinstance(content, str):
        return Content(text=content, chars=len(content))
    if content is None:
        return _EMPTY
    if not isinstance(content, list | tuple):
        raise InvalidValueError(where, json_kind(content), "a string, null or an array of content parts")
    return _read_parts(content, where, _tool_result)


def json_kind(value: object) -> str:
    """Return what JSON calls the type of `value`; errors show it in place of the value, which may be private."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, Sequence):
        return "array"
    return type(value).__name__


def json_text_chars(value: object, *, without: frozenset[str] = frozenset()) -> int:
    """Return the characters of all strings in a JSON value, keys aside.

    Parameters
    ----------
    value
        Any JSON value; how deep it is nested does not matter.
    without
        Keys whose values do not count.

    Examples
    --------
    >>> json_text_chars([{"id": "call_1", "function": {"name": "add", "arguments": "{}"}}], without=frozenset({"id"}))
    5
    """
    chars = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            chars += len(item)
        elif isinstance(item, _OBJECT):
            pending += [inner for key, inner in item.items() if key not in without]
        elif isinstance(item, list | tuple):
            pending += item
    return chars


_PartReader = Callable[[Mapping[str, object], str], Content]


def _read_parts(parts: Sequence[object], where: str, tool_result: _PartReader) -> Content:
    texts: list[str] = []
    chars = 0
    needs = _NO_NEEDS
    for index, part in enumerate(parts):
        content = _read_part(part, f"{where}[{index}]", tool_result)
        if content.text:
            texts.append(content.text)
        chars += content.chars
        needs |= content.needs
    return Content(text="\n".join(texts), chars=chars, needs=needs)


def _read_part(part: object, where: str, tool_result: _PartReader) -> Content:
    if not isinstance(part, _OBJECT):
        raise InvalidValueError(where, json_kind(part), "an object with a type, e.g. {'type': 'text', 'text': '...'}")
    kind = part.get("type")
    if not isinstance(kind, str):
        raise InvalidValueError(f"{where}.type", json_kind(kind), "a string, e.g. 'text'")
    if kind in _TEXT_PARTS:
        text = _string(part, "text", where)
        return Content(text=text, chars=len(text))
    if kind in _MEDIA_PARTS:
        return Content(needs=frozenset({_MEDIA_PARTS[kind]}))
    if kind in _FILE_PARTS:
        return Content(needs=_file_needs(part))
    if kind == "refusal":
        return Content(chars=len(_string(part, "refusal", where)))
    if kind == "tool_result":
        return tool_result(part, where)
    return _unknown(part, where)


def _unknown(part: Mapping[str, object], where: str) -> Content:  # noqa: ARG001 - one signature for all readers
    text = part.get("text")
    return Content(text=text, chars=len(text)) if isinstance(text, str) else _EMPTY


def _tool_result(part: Mapping[str, object], where: str) -> Content:
    """Read what a tool gave back: it is paid for and may need vision, but it is nobody's wish."""
    content = part.get("content")
    if isinstance(content, list | tuple):
        # A result inside a result is read as an unknown part: nesting never recurses.
        inner = _read_parts(content, f"{where}.content", _unknown)
    else:
        inner = read_content(content, f"{where}.content")
    return Content(chars=inner.chars, needs=inner.needs)


def _string(part: Mapping[str, object], key: str, where: str) -> str:
    value = part.get(key)
    if not isinstance(value, str):
        raise InvalidValueError(f"{where}.{key}", json_kind(value), "a string")
    return value


def _file_needs(part: Mapping[str, object]) -> frozenset[Capability]:
    described = part.get("file")
    file = described if isinstance(described, Mapping) else part
    data = file.get("file_data")
    if isinstance(data, str) and data.startswith(_DATA_URL):
        media_type = data[len(_DATA_URL) : len(_DATA_URL) + _LONGEST_MEDIA_TYPE].lower()
        return frozenset(need for prefix, need in _MEDIA_TYPES if media_type.startswith(prefix))
    name = file.get("filename")
    if isinstance(name, str):
        return frozenset(need for suffixes, need in _MEDIA_SUFFIXES if name.lower().endswith(suffixes))
    return frozenset()
