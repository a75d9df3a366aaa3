"""Importing the room loads no tokenizer and no array library; the public names are all there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mixllm import encoders

HEAVY = ("numpy", "safetensors", "tokenizers", "wordllama")


def loaded_after(statement: str) -> list[str]:
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import mixllm.encoders",
        "from mixllm.encoders import query_from_messages; query_from_messages([{'role': 'user', 'content': 'Hi'}])",
        "from mixllm.encoders.messages import last_human_ask",
        "import mixllm.conformance",
    ],
)
def test_reading_a_chat_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) == []


def test_the_double_needs_no_tokenizer() -> None:
    assert loaded_after("from mixllm.encoders import HashingEncoder; HashingEncoder().encode('x')") == ["numpy"]


def test_every_public_name_is_there_and_listed() -> None:
    for name in encoders.__all__:
        assert getattr(encoders, name).__name__ == name
        assert name in dir(encoders)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'mixllm\.encoders' has no attribute 'OracleEncoder'"):
        _ = encoders.OracleEncoder
