"""The content of one message: text, size, and the capabilities that it calls for."""

from __future__ import annotations

from typing import Any

import pytest

from mixllm.encoders.content import Content, json_kind, json_text_chars, read_content
from mixllm.errors import InvalidValueError
from mixllm.types import Capability

VISION = frozenset({Capability.VISION})
AUDIO = frozenset({Capability.AUDIO})
NOTHING: frozenset[Capability] = frozenset()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, Content()),
        ("", Content()),
        ("hi", Content(text="hi", chars=2)),
        ([], Content()),
        ((), Content()),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], Content(text="a\nb", chars=2)),
        ([{"type": "text", "text": ""}, {"type": "text", "text": "b"}], Content(text="b", chars=1)),
        ([{"type": "input_text", "text": "a"}], Content(text="a", chars=1)),
        ([{"type": "output_text", "text": "a"}], Content(text="a", chars=1)),
        ([{"type": "refusal", "refusal": "No."}], Content(chars=3)),
        ([{"type": "hologram", "url": "u"}], Content()),
        ([{"type": "hologram", "text": "seen"}], Content(text="seen", chars=4)),
        ([{"type": "hologram", "text": 5}], Content()),
        ([{"type": "tool_result", "tool_use_id": "1", "content": "out"}], Content(chars=3)),
        ([{"type": "tool_result", "tool_use_id": "1"}], Content()),
    ],
)
def test_forms_of_content(content: object, expected: Content) -> None:
    assert read_content(content, "content") == expected


@pytest.mark.parametrize(
    ("part", "needs"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, VISION),
        ({"type": "image_url", "image_url": None}, VISION),
        ({"type": "input_image"}, VISION),
        ({"type": "image", "source": {}}, VISION),
        ({"type": "video_url"}, VISION),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, AUDIO),
        ({"type": "audio_url"}, AUDIO),
        ({"type": "file", "file": {"file_id": "file-1"}}, NOTHING),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, VISION),
        ({"type": "file", "file": {"file_data": "data:IMAGE/PNG;base64,AAAA"}}, VISION),
        ({"type": "file", "file": {"file_data": "data:audio/mpeg;base64,AAAA"}}, AUDIO),
        ({"type": "file", "file": {"file_data": "data:text/csv;base64,AAAA", "filename": "a.pdf"}}, NOTHING),
        ({"type": "file", "file": {"file_data": "AAAA", "filename": "Scan.PDF"}}, VISION),
        ({"type": "file", "file": {"filename": "call.mp3"}}, AUDIO),
        ({"type": "file", "file": {"filename": "notes.txt"}}, NOTHING),
        ({"type": "file", "file": {"filename": 5, "file_data": 5}}, NOTHING),
        ({"type": "file", "file": None}, NOTHING),
        ({"type": "input_file", "filename": "scan.png"}, VISION),
        ({"type": "tool_result", "content": [{"type": "image_url"}, {"type": "text", "text": "a screen"}]}, VISION),
    ],
)
def test_media_call_for_capabilities_and_are_no_text(part: dict[str, object], needs: frozenset[Capability]) -> None:
    content = read_content([part], "content")
    assert content.needs == needs
    assert content.text == ""


def test_needs_of_several_parts_add_up() -> None:
    parts = [{"type": "image_url"}, {"type": "text", "text": "and"}, {"type": "input_audio"}]
    assert read_content(parts, "content") == Content(text="and", chars=3, needs=VISION | AUDIO)


@pytest.mark.parametrize(
    ("content", "parameter", "found"),
    [
        (5, "messages[3].content", "number"),
        (True, "messages[3].content", "boolean"),
        ({"type": "text", "text": "secret"}, "messages[3].content", "object"),
        (["secret"], "messages[3].content[0]", "string"),
        ([None], "messages[3].content[0]", "null"),
        ([{"type": "text", "text": "x"}, []], "messages[3].content[1]", "array"),
        ([{}], "messages[3].content[0].type", "null"),
        ([{"type": 5}], "messages[3].content[0].type", "number"),
        ([{"type": "text"}], "messages[3].content[0].text", "null"),
        ([{"type": "text", "text": {"value": "secret"}}], "messages[3].content[0].text", "object"),
        ([{"type": "refusal", "refusal": 1.5}], "messages[3].content[0].refusal", "number"),
        ([{"type": "tool_result", "content": 5}], "messages[3].content[0].content", "number"),
        ([{"type": "tool_result", "content": [5]}], "messages[3].content[0].content[0]", "number"),
    ],
)
def test_what_is_no_content_is_refused_at_its_place(content: object, parameter: str, found: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read_content(content, "messages[3].content")
    assert caught.value.parameter == parameter
    assert caught.value.value == found
    assert "secret" not in str(caught.value)


def test_results_nested_in_results_do_not_recurse() -> None:
    content: Any = "deep"
    for _ in range(100_000):
        content = [{"type": "tool_result", "content": content}]
    assert read_content(content, "content") == Content()
    while isinstance(content, list):  # taken apart step by step: freeing it at once would recurse in the interpreter
        content = content[0]["content"]


def test_text_of_any_json_is_counted_without_recursion() -> None:
    value: Any = "leaf"
    for _ in range(100_000):
        value = [value]
    assert json_text_chars(value) == 4
    while isinstance(value, list):
        value = value[0]
    assert json_text_chars({"id": "skipped", "a": ["bc", 1, None, True, {"d": "e"}]}, without=frozenset({"id"})) == 3


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (False, "boolean"),
        (0, "number"),
        (0.5, "number"),
        ("", "string"),
        ({}, "object"),
        ([], "array"),
        ((), "array"),
        (object(), "object"),
        ({1}, "set"),
    ],
)
def test_kinds_are_named_as_json_names_them(value: object, kind: str) -> None:
    assert json_kind(value) == kind
