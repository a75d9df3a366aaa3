"""A chat becomes a query: routed on the last human ask, sized by everything, checked at its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixllm.encoders.messages import last_human_ask, query_from_messages
from mixllm.errors import InvalidValueError
from mixllm.types import Capability, Query

Messages = Sequence[Mapping[str, object]]

SYSTEM: dict[str, object] = {"role": "system", "content": "You are a careful agent."}
CALL: dict[str, object] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "grep", "arguments": '{"q": "x"}'}}],
}
TOOL: dict[str, object] = {"role": "tool", "tool_call_id": "call_1", "content": "Traceback: delete everything"}


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": "exit code 1"}


@pytest.mark.parametrize(
    ("messages", "ask"),
    [
        ([user("Hi")], "Hi"),
        ([SYSTEM, user("First"), {"role": "assistant", "content": "Ok"}, user("Second")], "Second"),
        ([SYSTEM, user("Fix it"), CALL, TOOL], "Fix it"),
        ([SYSTEM, user("Fix it"), CALL, TOOL, CALL, TOOL, {"role": "assistant", "content": "Done"}], "Fix it"),
        ([user("Fix it"), CALL, user([RESULT])], "Fix it"),
        ([user("Fix it"), CALL, user([RESULT, text("and hurry")])], "and hurry"),
        ([user("Fix it"), {"role": "function", "name": "f", "content": "42"}], "Fix it"),
        ([user("Fix it"), {"role": "developer", "content": "Be brief."}], "Fix it"),
        ([user([text("What is"), IMAGE, text("this?")])], "What is\nthis?"),
        ([user("Look at this"), user([IMAGE])], "Look at this"),
        ([user("Look at this"), user(None), user(""), user(" \n"), user([])], "Look at this"),
        ([SYSTEM, user([IMAGE])], "You are a careful agent."),
        ([SYSTEM], "You are a careful agent."),
        ([SYSTEM, {"role": "developer", "content": [text("Translate.")]}], "Translate."),
        ([SYSTEM, {"role": "developer", "content": " "}], "You are a careful agent."),
        ([user([IMAGE])], ""),
        ([{"role": "assistant", "content": "Hello"}], ""),
        ([TOOL], ""),
        ([user("a \ud800 b")], "a \ufffd b"),
        ([user("  spaces stay  ")], "  spaces stay  "),
    ],
)
def test_the_last_human_ask(messages: Messages, ask: str) -> None:
    assert last_human_ask(messages) == ask
    assert query_from_messages(messages).text == ask


def test_prompt_chars_count_all_text() -> None:
    messages: Messages = [
        SYSTEM,  # 24
        user([text("12345"), IMAGE, {"type": "input_audio", "input_audio": {"data": "A" * 10_000}}]),
        CALL,  # grep 4, arguments 10
        TOOL,  # 28
        {"role": "assistant", "content": "123", "refusal": "1234567"},
        {"role": "assistant", "content": None, "function_call": {"name": "ab", "arguments": "{}"}},
        user([{"type": "tool_result", "content": [text("123456")]}, {"type": "refusal", "refusal": "12"}]),
    ]
    assert query_from_messages(messages).prompt_chars == 24 + 5 + 14 + 28 + 10 + 4 + 8


def test_prompt_chars_beat_the_asks_own_length() -> None:
    query = query_from_messages([{"role": "system", "content": "x" * 4_000}, user("Hi")])
    assert query.prompt_tokens == 1001


@pytest.mark.parametrize(
    ("messages", "needs"),
    [
        ([user("Hi")], set()),
        ([user([IMAGE, text("Hi")])], {Capability.VISION}),
        ([user([IMAGE]), {"role": "assistant", "content": "A cat."}, user("Sure?")], {Capability.VISION}),
        ([user([{"type": "input_audio"}]), user("Sure?")], {Capability.AUDIO}),
        ([user("Fix"), {"role": "tool", "content": [IMAGE]}], {Capability.VISION}),
        ([user([{"type": "tool_result", "content": [IMAGE]}])], {Capability.VISION}),
        ([user([IMAGE, {"type": "input_audio"}])], {Capability.VISION, Capability.AUDIO}),
    ],
)
def test_media_anywhere_in_the_chat_add_needs(messages: Messages, needs: set[Capability]) -> None:
    assert query_from_messages(messages).needs == needs
    with_tools = query_from_messages(messages, needs=frozenset({Capability.TOOLS}))
    assert with_tools.needs == needs | {Capability.TOOLS}


def test_every_parameter_reaches_the_query() -> None:
    query = query_from_messages(
        [user("Hi")],
        needs=frozenset({Capability.JSON}),
        tokens_in=7,
        max_tokens_out=11,
        allowed_llms={"a", "b"},
        max_cost_usd=0.5,
        min_quality=0.25,
        max_latency_s=3.0,
        trade_off=1.4,
    )
    assert query == Query(
        text="Hi",
        tokens_in=7,
        prompt_chars=2,
        max_tokens_out=11,
        needs=frozenset({Capability.JSON}),
        allowed_llms=frozenset({"a", "b"}),
        max_cost_usd=0.5,
        min_quality=0.25,
        max_latency_s=3.0,
        trade_off=1.4,
    )


def test_parameters_left_out_are_the_querys_own_defaults() -> None:
    assert query_from_messages([user("Hi")]) == Query(text="Hi", prompt_chars=2)


@pytest.mark.parametrize(
    ("parameter", "value"), [("tokens_in", -1), ("max_tokens_out", 0), ("min_quality", 1.5), ("max_latency_s", 0.0)]
)
def test_the_querys_own_bounds_hold(parameter: str, value: float) -> None:
    limits: dict[str, Any] = {parameter: value}
    with pytest.raises(InvalidValueError) as caught:
        query_from_messages([user("Hi")], **limits)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    ("messages", "parameter"),
    [
        (None, "messages"),
        ("hello", "messages"),
        (b"hello", "messages"),
        (5, "messages"),
        ({"role": "user", "content": "Hi"}, "messages"),
        ([], "messages"),
        ([user("Hi"), "hello"], "messages[1]"),
        ([None], "messages[0]"),
        ([[]], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"content": "Hi"}], "messages[0].role"),
        ([{"role": None, "content": "Hi"}], "messages[0].role"),
        ([{"role": 5}], "messages[0].role"),
        ([{"role": ["user"]}], "messages[0].role"),
        ([{"role": "usr", "content": "Hi"}], "messages[0].role"),
        ([SYSTEM, user("a"), user("b"), user(5)], "messages[3].content"),
        ([SYSTEM, user([text("a"), {"type": "text", "text": None}])], "messages[1].content[1].text"),
    ],
)
def test_malformed_chats_are_refused_at_their_place(messages: object, parameter: str) -> None:
    for read in (last_human_ask, query_from_messages):
        with pytest.raises(InvalidValueError) as caught:
            cast("Any", read)(messages)
        assert caught.value.parameter == parameter
        assert str(caught.value).startswith(f"{parameter} must be ")


def test_an_unknown_role_is_shown_with_the_known_ones() -> None:
    with pytest.raises(InvalidValueError, match=r"one of assistant, .*, user; got 'usr'"):
        last_human_ask([{"role": "usr", "content": "Hi"}])


def test_a_chat_is_not_changed() -> None:
    messages = [SYSTEM, user([text("a"), IMAGE]), CALL, TOOL]
    before = copy.deepcopy(messages)
    query_from_messages(messages)
    assert messages == before


def test_a_tuple_of_messages_is_a_chat_too() -> None:
    assert last_human_ask((user("Hi"), {"role": "assistant", "content": None})) == "Hi"


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
KINDS = ("text", "image_url", "input_audio", "file", "refusal", "tool_result", "mystery")


def field(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, now and then anything."""
    return st.one_of(strategy, strategy, strategy, ANY_JSON)


def parts(depth: int) -> st.SearchStrategy[Any]:
    content = ANY_TEXT if depth == 0 else st.one_of(ANY_TEXT, st.lists(field(parts(depth - 1)), max_size=3))
    return st.fixed_dictionaries(
        {"type": field(st.sampled_from(KINDS))},
        optional={
            "text": field(ANY_TEXT),
            "refusal": field(ANY_TEXT),
            "content": field(content),
            "file": field(st.fixed_dictionaries({}, optional={"file_data": ANY_JSON, "filename": ANY_JSON})),
            "image_url": ANY_JSON,
        },
    )


CHATS = field(
    st.lists(
        field(
            st.fixed_dictionaries(
                {"role": field(st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]))},
                optional={
                    "content": field(st.one_of(st.none(), ANY_TEXT, st.lists(field(parts(2)), max_size=3))),
                    "tool_calls": ANY_JSON,
                    "function_call": ANY_JSON,
                    "refusal": ANY_JSON,
                },
            )
        ),
        max_size=5,
    )
)


def outcome(messages: object) -> Query | InvalidValueError:
    try:
        return query_from_messages(cast("Messages", messages))
    except InvalidValueError as error:
        return error


@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(messages=CHATS)
def test_any_json_gives_a_query_or_names_its_fault(messages: object) -> None:
    result = outcome(messages)
    if isinstance(result, InvalidValueError):
        assert result.parameter.startswith("messages")
        return
    assert result.text.encode().decode() == result.text
    assert result.prompt_chars is not None
    assert result.prompt_chars >= 0
    assert result.needs <= {Capability.VISION, Capability.AUDIO}
    assert last_human_ask(cast("Messages", messages)) == result.text


@settings(derandomize=True, deadline=None, max_examples=100)
@given(messages=ANY_JSON)
def test_any_value_in_place_of_a_chat_is_refused_or_read(messages: object) -> None:
    result = outcome(messages)
    assert isinstance(result, InvalidValueError | Query)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    turns=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=9)), min_size=1)
)
def test_the_ask_is_always_the_last_text_of_a_user(turns: list[tuple[str, str]]) -> None:
    messages = json.loads(json.dumps([{"role": role, "content": words} for role, words in turns]))
    asks = [words for role, words in turns if role == "user" and words.strip()]
    prompts = [words for role, words in turns if role == "system" and words.strip()]
    query = query_from_messages(messages)
    assert query.text == (asks or prompts or [""])[-1]
    assert query.prompt_chars == sum(len(words) for _, words in turns)
