"""Values and names that all the others rest on."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from mixllm.errors import InvalidValueError

__all__ = [
    "IMPLICIT_SOURCES",
    "JUDGE_SOURCE",
    "MAX_COUNT",
    "MAX_ID_CHARS",
    "MAX_NAME_CHARS",
    "Capability",
    "Endpoint",
    "Secret",
    "Value",
    "check_key_id",
    "count_in_range",
]

MAX_NAME_CHARS = 200
MAX_ID_CHARS = 200
IMPLICIT_SOURCES = "implicit:"
"""What the source of feedback begins with that nobody gave: it was read off the traffic."""
JUDGE_SOURCE = "judge"
"""The source of feedback that an LLM gave."""
MAX_COUNT = 2**53
"""No count of tokens or characters is larger: up to here floats are exact."""


class Capability(StrEnum):
    """What an LLM can do beyond plain text."""

    TOOLS = "tools"
    VISION = "vision"
    JSON = "json"
    AUDIO = "audio"


class Endpoint(StrEnum):
    """What an LLM can be called for: the paths of OpenAI's API that its server has."""

    CHAT = "chat"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


class Secret:
    """A string that never shows in a repr, a log, an error or an encoding.

    Examples
    --------
    >>> Secret("sk-1234")
    Secret('***')
    >>> Secret("sk-1234").reveal()
    'sk-1234'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself; call it only where it goes on the wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the value objects: frozen, slotted, keyword-only, compared by content."""


def count_in_range(field: str, count: int | None, least: int) -> None:
    """Raise `InvalidValueError` where `count` is neither None nor a count of `least` or more."""
    if count is not None and not least <= count <= MAX_COUNT:
        raise InvalidValueError(field, count, f"between {least} and {MAX_COUNT}")


def check_key_id(key_id: str) -> None:
    """Raise `InvalidValueError` where `key_id` is too long to be a name."""
    if len(key_id) > MAX_ID_CHARS:
        raise InvalidValueError("key_id", f"{len(key_id)} characters", f"at most {MAX_ID_CHARS} characters")
