from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_cli_docs", ROOT / "scripts" / "update_cli_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_help_of_every_command_as_it_is(script: ModuleType) -> None:
    text = script.PAGE.read_text()
    assert list(script.missing(text)) == []
    assert script.updated(text) == text, "Run: python scripts/update_cli_docs.py"
    assert "mixllm config check" in script.helps()


def test_a_changed_help_and_a_missing_command_are_noticed(script: ModuleType) -> None:
    text = script.PAGE.read_text()
    stale = text.replace("Run the OpenAI-compatible gateway.", "Run it.")
    assert script.updated(stale) == text
    gone = re.sub(r"<!-- help: mixllm route -->.*?<!-- /help -->", "", text, flags=re.DOTALL)
    assert list(script.missing(gone)) == ["cli.md: no marker <!-- help: mixllm route --> … <!-- /help -->"]
    with pytest.raises(SystemExit, match="there is no command 'mixllm fly'"):
        script.updated("<!-- help: mixllm fly -->\n<!-- /help -->")


def test_every_option_of_the_page_is_one(script: ModuleType) -> None:
    text = script.PAGE.read_text()
    prose = re.sub(r"<!-- help: .*?<!-- /help -->", "", text, flags=re.DOTALL)
    known = set(re.findall(r"--[a-z][a-z-]*", "\n".join(script.helps().values())))
    assert set(re.findall(r"--[a-z][a-z-]+", prose)) <= known
