"""A chat to a query: the last real human ask, the length of the whole prompt, and the capabilities that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mixllm.encoders.bounds import well_formed
from mixllm.encoders.content import Content, json_kind, json_text_chars, read_content
from mixllm.errors import InvalidValueError
from mixllm.types import Capability, Query

__all__ = ["is_tool_result", "last_human_ask", "query_from_messages"]

_HUMAN = "user"
_PROMPT_ROLES = frozenset({"system", "developer"})
_TOOL_ROLES = frozenset({"tool", "function"})
_TOOL_RESULT = "tool_result"
_ROLES = ("assistant", "developer", "function", "system", "tool", "user")
_BESIDE_CONTENT = ("refusal", "tool_calls", "function_call")
_UNPAID_KEYS = frozenset({"id", "type", "index"})


@dataclass(frozen=True, slots=True)
class _Conversation:
    ask: str
    chars: int
    needs: frozenset[Capability]


def last_human_ask(messages: Sequence[Mapping[str, object]]) -> str:
    r"""Return the text of the last real human turn of a chat.

    Parameters
    ----------
    messages
        The chat in OpenAI's form, as a JSON decoder gives it.

    Returns
    -------
    str
        The text of the last user turn that has any; several text parts are joined by line feeds. Answers, results of
        tools (turns of the roles ``tool`` and ``function``, and ``tool_result`` parts of user turns), and system or
        developer prompts are not the human's wish. Where no user turn has text (an image alone, a prompt alone), the
        last system or developer prompt that has text; else an empty string. Always valid Unicode (see `well_formed`).

    Raises
    ------
    InvalidValueError
        Where `messages` is not an array of at least one message, or a message is malformed; the parameter names the
        place, e.g. ``messages[3].content``. The content itself is never in the error.

    Examples
    --------
    >>> last_human_ask([
    ...     {"role": "system", "content": "You are a coding agent."},
    ...     {"role": "user", "content": "Fix the failing test."},
    ...     {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function",
    ...         "function": {"name": "run", "arguments": "{}"}}]},
    ...     {"role": "tool", "tool_call_id": "1", "content": "1 failed"},
    ... ])
    'Fix the failing test.'
    """
    return _read(messages).ask


def is_tool_result(message: Mapping[str, object]) -> bool:
    """Return whether a message is nothing but the result of a tool: no new wish, an agent goes on.

    Examples
    --------
    >>> is_tool_result({"role": "tool", "tool_call_id": "1", "content": "7"})
    True
    >>> is_tool_result({"role": "user", "content": [{"type": "tool_result", "content": "7"}]})
    True
    >>> is_tool_result({"role": "user", "content": [{"type": "tool_result"}, {"type": "text", "text": "And now?"}]})
    False
    """
    if message.get("role") in _TOOL_ROLES:
        return True
    parts = message.get("content")
    return (
        isinstance(parts, list)
        and bool(parts)
        and all(isinstance(part, Mapping) and part.get("type") == _TOOL_RESULT for part in parts)
    )


def query_from_messages(
    messages: Sequence[Mapping[str, object]],
    *,
    needs: AbstractSet[Capability] = frozenset(),
    tokens_in: int | None = None,
    max_tokens_out: int | None = None,
    allowed_llms: AbstractSet[str] | None = None,
    max_cost_usd: float | None = None,
    min_quality: float | None = None,
    max_latency_s: float | None = None,
    max_ttft_s: float | None = None,
    trade_off: float | None = None,
    streamed: bool = False,
) -> Query:
    """Return the query that a chat makes: routed on its last human ask, sized by all of it.

    Parameters
    ----------
    messages
        The chat in OpenAI's form, as a JSON decoder gives it.
    needs
        Capabilities that the LLM must have; vision and audio are added where any message holds images or audio.
    tokens_in
        Tokens of the whole prompt, where somebody counted them. Else they are estimated from the characters of all
        messages' text, tool calls and refusals included; images, audio and definitions of tools are not in that.
    max_tokens_out, allowed_llms, max_cost_usd, min_quality, max_latency_s, max_ttft_s, trade_off, streamed
        As in `mixllm.types.Query`.

    Raises
    ------
    InvalidValueError
        As `last_human_ask`, and where `Query` refuses a value.

    Examples
    --------
    >>> query = query_from_messages([
    ...     {"role": "system", "content": "Be brief."},
    ...     {"role": "user", "content": [{"type": "text", "text": "What is this?"},
    ...                                  {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}]},
    ... ])
    >>> query.text, query.prompt_chars, sorted(query.needs)
    ('What is this?', 22, [<Capability.VISION: 'vision'>])
    """
    conversation = _read(messages)
    return Query(
        text=conversation.ask,
        tokens_in=tokens_in,
        prompt_chars=conversation.chars,
        max_tokens_out=max_tokens_out,
        needs=frozenset(needs) | conversation.needs,
        allowed_llms=None if allowed_llms is None else frozenset(allowed_llms),
        max_cost_usd=max_cost_usd,
        min_quality=min_quality,
        max_latency_s=max_latency_s,
        max_ttft_s=max_ttft_s,
        trade_off=trade_off,
        streamed=streamed,
    )


def _read(messages: object) -> _Conversation:
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes | bytearray):
        raise InvalidValueError("messages", json_kind(messages), "an array of messages")
    if not messages:
        raise InvalidValueError("messages", [], "an array of at least one message")
    human = prompt = ""
    chars = 0
    needs: frozenset[Capability] = frozenset()
    for index, message in enumerate(messages):
        role, content = _read_message(message, f"messages[{index}]")
        chars += content.chars
        needs |= content.needs
        if role == _HUMAN and content.text.strip():
            human = content.text
        elif role in _PROMPT_ROLES and content.text.strip():
            prompt = content.text
    return _Conversation(ask=well_formed(human or prompt), chars=chars, needs=needs)


def _read_message(message: object, where: str) -> tuple[str, Content]:
    if not isinstance(message, (dict, Mapping)):  # dict first: the abstract class alone would be slow to ask
        raise InvalidValueError(where, json_kind(message), "an object with a role and a content")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        found = role if isinstance(role, str) else json_kind(role)
        raise InvalidValueError(f"{where}.role", found, f"one of {', '.join(_ROLES)}")
    content = read_content(message.get("content"), f"{where}.content")
    # These go to the LLM too and are paid for, whatever their shape; whether it is a valid one is the endpoint's word.
    beside = [message[key] for key in _BESIDE_CONTENT if key in message]
    if not beside:
        return role, content
    chars = content.chars + json_text_chars(beside, without=_UNPAID_KEYS)
    return role, Content(text=content.text, chars=chars, needs=content.needs)
