"""YAML: values, lines, and texts that try to break it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.config.yaml_tree import read_yaml
from mixllm.errors import ConfigError, MissingExtraError


def tree(text: str) -> Any:
    return read_yaml(text, "f")[0]


def test_values_and_lines() -> None:
    value, lines = read_yaml("a:\n  b: 1\n  c:\n    - x\n    - {d: 2.5}\n", "f")
    assert value == {"a": {"b": 1, "c": ["x", {"d": 2.5}]}}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "d"): 5,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("---\n", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: null", {"a": None}),
        ("a:", {"a": None}),
        ("a: 1e-6", {"a": 1e-6}),
        ("a: 2.5e-06", {"a": 2.5e-06}),
        ("a: -1E3", {"a": -1000.0}),
        ("a: '1e-6'", {"a": "1e-6"}),
        ("a: e5", {"a": "e5"}),
        ("a: [true, off, ~]", {"a": [True, False, None]}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("{a: {b: {}}, c: []}", {"a": {"b": {}}, "c": []}),
        ("x: &x {a: 1}\ny: *x", {"x": {"a": 1}, "y": {"a": 1}}),
        ("just words", "just words"),
    ],
)
def test_plain_yaml_is_read(text: str, value: object) -> None:
    assert tree(text) == value


def test_anchors_give_values_of_their_own() -> None:
    value = tree("x: &x {a: [1]}\ny: *x")
    value["x"]["a"].append(2)
    assert value["y"] == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("b: &b {p: 1, q: 2}\nc:\n  <<: *b\n  q: 3", {"p": 1, "q": 3}),
        ("b: &b {p: 1, q: 2}\nc:\n  q: 3\n  <<: *b", {"p": 1, "q": 3}),
        ("b: &b {p: 1}\nd: &d {p: 2, r: 3}\nc: {<<: [*b, *d]}", {"p": 1, "r": 3}),
        ("b: &b {p: 1}\nd: &d {<<: *b, r: 3}\nc: {<<: *d, r: 4}", {"p": 1, "r": 4}),
    ],
)
def test_merges_yield_to_own_keys(text: str, value: object) -> None:
    assert tree(text)["c"] == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "f, line 1: is not valid YAML"),
        ("a: 1\nb: [1\nc: 2", "line [23]: is not valid YAML"),
        ("a: 1\n\tb: 2", "line 2: is not valid YAML"),
        ("a: b: c", "line 1: is not valid YAML"),
        ("a: *nowhere", "line 1: is not valid YAML .found undefined alias"),
        ("a: 1\n---\nb: 2", "line 2: is not valid YAML .but found another document"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is given twice. Keep one"),
        ("x:\n  a: 1\n  a: 1", "line 3: key 'a' is given twice"),
        ("1: a", "line 1: has a key that is no word but of type int"),
        ("a: 1\nnull: b", "line 2: has a key that is no word but of type NoneType"),
        ("on: b", "has a key that is no word but of type bool"),
        ("? [a, b]\n: c", "has a key that is no word but of type list"),
        ("? {a: b}\n: c", "has a key that is no word"),
        ("a: !!python/object:os.system x", "line 1: is not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']", "has a tag ..!.. that is not known"),
        ("a: !mine [1]", "has a tag"),
        ("a: !!set {b, c}", "has a tag"),
        ("a: !!omap [b: c]", "has a tag"),
        ("!!python/object:mixllm.types.Secret {a: b}", "has a tag"),
        ("a: !mine x", "could not determine a constructor"),
        ("a: !!int x", "has a value that YAML cannot read"),
        ("a: !!int ''", "has a value that YAML cannot read"),
        ("a: !!bool x", "has a value that YAML cannot read"),
        ("a: !!float x", "has a value that YAML cannot read"),
        ("a: !!timestamp x", "has a value that YAML cannot read"),
        ("a: 2024-13-45", "has a value that YAML cannot read"),
        ("a: 1" + "0" * 5_000, "has a value that YAML cannot read"),
        ("a: \x01", "line 1: has a character that YAML does not allow .#x0001"),
        ("a: 1\nb: \ud800", "line 2: has a character that YAML does not allow .#xd800"),
        ("c: {<<: 3}", "line 1: merges"),
        ("c: {<<: [1]}", "line 1: merges"),
        ("[" * 100 + "]" * 100, "is nested more than 40 deep"),
        ("[" * 20_000, "is not valid YAML, or nested too deeply"),
        ("a: &a [*a]", "is nested more than 40 deep"),
        ("a: &a {<<: *a}", "nested"),
    ],
)
def test_broken_yaml_is_a_config_error_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tree(text)


def laughs(levels: int, *, merged: bool) -> str:
    lines = ["l0: &l0 {x0: 1}" if merged else "l0: &l0 [x, x]"]
    for level in range(1, levels):
        references = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"l{level}: &l{level} {{<<: [{references}]}}" if merged else f"l{level}: &l{level} [{references}]")
    return "\n".join(lines)


@pytest.mark.parametrize("merged", [False, True], ids=["aliases", "merges"])
def test_a_billion_laughs_are_cut_short(merged: bool) -> None:
    with pytest.raises(ConfigError, match="has more than 100000 values, those behind anchors included"):
        tree(laughs(12, merged=merged))


@pytest.mark.parametrize(
    "text",
    [
        "key: *sk-very-secret",
        "key: !sk-very-secret x",
        "key: {x: sk-very-secret",
        "key: [sk-very-secret, }",
        "key: 'sk-very-secret\nother: x",
        "key: sk-very-secret: x",
        "key: !!int sk-very-secret",
        "key: &sk-very-secret &sk-very-secret x",
        "key: !sk-very-secret [x]",
        "[sk-very-secret]: x\ny: [",
        'key: "sk-very-secret\\q"',
        "key: sk-very-secret\x01",
        "%sk-very-secret!\n---\na: b",
        "key: !sk-very-secret!x y",
    ],
)
def test_no_error_shows_what_stands_in_the_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tree(text)
    assert "sk-very-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_without_pyyaml_the_command_to_install_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mixllm\[cli\]'"):
        tree("a: 1")


ANYTHING = st.text(
    st.characters(codec=None) | st.sampled_from(list("[]{}:,&*!|>'\"%@#-?\n\t ~<=")),
    max_size=60,
)


def outcome(text: str) -> str:
    """Return "read", or the message of the one error that is allowed."""
    try:
        read_yaml(text, "f")
    except ConfigError as error:
        return str(error)
    return "read"


@given(ANYTHING)
def test_any_text_is_read_or_refused(text: str) -> None:
    assert outcome(text).startswith(("read", "f"))
