"""Configurations: real ones, section by section, changed as text and as bytes, with variables over them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from benchmarks.fuzzing.mutations import mutated, mutated_lines
from benchmarks.fuzzing.target import scratch
from mixllm.config import decode_model_entry, load_config
from mixllm.errors import ConfigError, InvalidValueError

__all__ = ["ConfigTarget"]

_DOCS = Path(__file__).parents[2]
_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
_TOP_LEVEL = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)
_VARIABLE = b"\n\x1e"
"""Separates the file from a variable over it."""

_WORDS = tuple(
    word.encode("utf-8", "surrogatepass")
    for word in (
        *("null", "~", "true", "no", ".inf", "-.inf", ".nan", "1e999", "-1", "0", "0.5", "1e-400", "9" * 400, "0x1F"),
        *("1_000", "0o17", "190:20:30", "2001-12-14t21:59:43.10-05:00", "2001-02-30", "!!binary aGk=", "!!set {a}"),
        *("!!python/object:os.system {}", "!!int x", "!!float x", "!!timestamp x", "!!omap [a: 1]", "!x y", "!!null x"),
        *("&a", "*a", "&a [*a]", "&a {<<: *a}", "<<: *a", "<<: [{}, {}]", "<<: 1", "{}", "[]", "''", '""', "'", '"'),
        *(
            "{a: {a: {a: 1}}}",
            "[[[[]]]]",
            "[" * 60,
            "{a: " * 60,
            "- " * 60,
            "? ",
            "- ",
            ": ",
            "|",
            ">",
            "|+9",
            "%YAML 9.9",
        ),
        *(
            "---",
            "...",
            "\t",
            "\r",
            "\x00",
            "\x85",
            "\u2028",
            "\ufeff",
            "\ud800",
            "\U0001f600",
            "\\u",
            '"\\x"',
            '"\\ud800"',
        ),
        *("os.environ/", "os.environ/HOME", "http://[", "http://a:b@c:99999/", "file:///etc/passwd", "a" * 300, "#"),
        *("model_list", "routing", "budget", "lambda", "{name: thompson}", "[sk-a, sk-a]", "''''", "key-88dc28d0f030"),
    )
)


class ConfigTarget:
    """`load_config` and `decode_model_entry`: what is wrong with a configuration is a `ConfigError`."""

    name = "config"

    def __init__(self) -> None:
        logging.disable(logging.WARNING)
        self._examples = tuple(text.encode() for text in _examples())
        weights = np.array([1 / (20 + len(example)) for example in self._examples])
        self._shares = weights / weights.sum()  # PyYAML takes long over long ones.
        self._folder = scratch()
        self._file = Path(self._folder.name) / "mixllm.yaml"

    def close(self) -> None:
        """Remove its files."""
        self._folder.cleanup()

    def make(self, rng: np.random.Generator) -> bytes:
        """Return one or two sections of the examples, changed."""
        count = int(rng.integers(1, 3))
        places = rng.choice(len(self._examples), size=count, p=self._shares)
        case = b"".join(self._examples[int(place)] for place in places)
        if rng.random() < 0.1:
            case = _bomb(rng) + case
        change = mutated_lines if rng.random() < 0.7 else mutated
        case = change(case, rng, words=_WORDS, others=self._examples)
        if rng.random() < 0.2:
            name = (b"ROUTING__LAMBDA", b"MODEL_LIST", b"GATEWAY__API_KEYS", b"LEARNING__RECIPE", b"ROUTING__POLICY")
            word = _WORDS[int(rng.integers(len(_WORDS)))]
            case += _VARIABLE + b"MIXLLM_" + name[int(rng.integers(len(name)))] + b"=" + word
        return case

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Read it as a file with a variable over it; what is accepted must be of use."""
        del rng
        text, _, variable = case.partition(_VARIABLE)
        name, _, value = variable.decode("utf-8", "replace").partition("=")
        environ = {"HOME": "/", "OPENAI_API_KEY": "sk-1"} | ({name: value} if name else {})
        self._file.write_bytes(text)
        try:
            config = load_config(self._file, environ=environ)
        except ConfigError:
            return "refused"
        for spec in config.specs():
            try:
                decode_model_entry({"model_name": spec.name, "litellm_params": {"model": spec.model, "x": value}})
            except ConfigError:
                continue
        try:
            config.secrets()
        except InvalidValueError:
            return "refused later"
        return "accepted"


def _bomb(rng: np.random.Generator) -> bytes:
    """Return anchors that refer to each other: short to write, endless to read."""
    width, depth = int(rng.integers(2, 12)), int(rng.integers(2, 30))
    lines = ["a0: &a0 [x]"]
    for level in range(1, depth):
        refer = ", ".join([f"*a{level - 1}"] * width)
        merged = rng.random() < 0.3
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{refer}]}}" if merged else f"[{refer}]"))
    return "\n".join(lines).encode() + b"\n"


def _examples() -> list[str]:
    from tests.config.full_file import FULL
    from tests.config.test_litellm_file import PROXY

    texts = [FULL, PROXY]
    for page in sorted((_DOCS / "docs").glob("*.md")):
        texts += _BLOCK.findall(page.read_text())
    sections = {part for text in texts for part in _TOP_LEVEL.split(text) if part.strip()}
    return sorted(part if part.endswith("\n") else part + "\n" for part in sections)
