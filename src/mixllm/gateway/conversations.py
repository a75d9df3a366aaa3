"""Conversations: whose turn a request is, what may be cached of it, and which LLM an agent is at work with."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

import msgspec

from mixllm.config import ConversationsConfig
from mixllm.gateway.requests import ChatRequest
from mixllm.interfaces import Clock
from mixllm.registry import Conversations, Turn
from mixllm.types import Capability, WarmPrefix

__all__ = ["SESSION_HEADER", "Conversation", "ConversationMemory"]

SESSION_HEADER = b"x-mixllm-session"

_KEY_BYTES = 16
_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_BEFORE_MESSAGES = ("tools", "instructions")
"""What providers read before the messages: where it changes, nothing after it is cached."""


class _Metadata(msgspec.Struct, frozen=True):
    session_id: str | None = None


class Conversation:
    """One request's place in its conversation.

    Parameters
    ----------
    memory
        Remembers its turns.
    chat
        The request.
    keys
        What it may be known by, most of it first; the first is what it will be known by.
    """

    __slots__ = ("_chat", "_key", "_memory", "turn")

    def __init__(self, *, memory: ConversationMemory, chat: ChatRequest, keys: list[bytes]) -> None:
        self._memory = memory
        self._chat = chat
        self._key = keys[0]
        self.turn: Turn | None = memory.turns.find(keys) if chat.sticky else None
        """The turn that it follows; None where nothing is known of it, or nothing is to count."""

    @property
    def warm(self) -> WarmPrefix | None:
        """What the LLM of the last turn may have in its cache."""
        turn, config = self.turn, self._memory.config
        if turn is None or turn.tokens < config.min_prefix_tokens:
            return None
        if self._memory.turns.clock.monotonic_s() - turn.at_s > config.cache_ttl_s:
            return None
        return WarmPrefix(llm=turn.llm, tokens=turn.tokens)

    @property
    def agent_s_llm(self) -> str | None:
        """The LLM that an agent is at work with; None where the request is a new wish."""
        return self.turn.llm if self.turn is not None and self._chat.ends_with_tool else None

    def answered(self, llm: str) -> None:
        """Note that `llm` has answered."""
        self._memory.turns.remember(self._key, llm=llm, tokens=self._chat.query.prompt_tokens)


class ConversationMemory:
    """Tells conversations apart, by keyed hashes alone.

    A conversation is known by the session that the request names (`SESSION_HEADER`, ``metadata.session_id``), or else
    by its messages so far: a request follows the turn whose messages are the longest beginning of its own. Askers and
    their ``user`` are kept apart.

    Parameters
    ----------
    config
        Settings.
    clock
        Time.
    """

    def __init__(self, *, config: ConversationsConfig, clock: Clock) -> None:
        self.config = config
        self.turns = Conversations(clock=clock, max_tracked=config.max_tracked)
        self._salt = secrets.token_bytes(_KEY_BYTES)

    def of(self, chat: ChatRequest, *, session: str | None = None, asker: str = "") -> Conversation | None:
        """Return the place of `chat` in its conversation; None where it is too short for that to matter."""
        session = session or _session_in(chat.fields)
        query = chat.query
        long = query.prompt_tokens >= self.config.min_prefix_tokens
        if session is None and not (long or chat.ends_with_tool or Capability.TOOLS in query.needs):
            return None
        start = hashlib.blake2b(key=self._salt, digest_size=_KEY_BYTES)
        for part in (asker.encode("utf-8", "surrogatepass"), bytes(chat.fields.get("user", b""))):
            _add(start, part)
        if session is not None:
            _add(start, session.encode("utf-8", "surrogatepass"))
            return Conversation(memory=self, chat=chat, keys=[start.digest()])
        return Conversation(memory=self, chat=chat, keys=_chain(start, chat.fields))


def _chain(start: hashlib.blake2b, fields: Mapping[str, msgspec.Raw]) -> list[bytes]:
    """Return the key of the messages, of all but the last of them, and so on."""
    for name in _BEFORE_MESSAGES:
        _add(start, bytes(fields.get(name, b"")))
    raw = fields.get("messages", fields.get("input", msgspec.Raw(b"[]")))
    try:
        messages = _MESSAGES.decode(raw)
    except msgspec.DecodeError:
        messages = [raw]  # a Responses input that is a text
    keys = []
    for message in messages:
        _add(start, bytes(message))
        keys.append(start.digest())
    return keys[::-1] or [start.digest()]


def _add(digest: hashlib.blake2b, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)


def _session_in(fields: Mapping[str, msgspec.Raw]) -> str | None:
    if "metadata" not in fields:
        return None
    try:
        return msgspec.json.decode(fields["metadata"], type=_Metadata).session_id
    except msgspec.DecodeError:
        return None  # the endpoint's word, not ours
