"""A configuration for the LLMs of a playback server."""

from __future__ import annotations

from pathlib import Path

import yaml

from mixllm.errors import ConfigError
from mixllm.playback import AnswerBook
from mixllm.units import TOKENS_PER_MILLION

__all__ = ["config_text", "refuse_to_replace", "write_text"]

_HEAD = "# The LLMs of a playback server. Start it first: mixllm playback\n"


def config_text(book: AnswerBook, *, base_url: str, path: Path) -> str:
    """Return a configuration for the LLMs of `book`, which answer at `base_url`; its store lies beside `path`."""
    tree = {
        "model_list": [_entry(book, llm, base_url) for llm in book.llms],
        "routing": {"reference_llm": book.log.strongest()},
        "store": {"path": str(path.with_suffix(".db"))},
    }
    return _HEAD + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def refuse_to_replace(path: Path, text: str) -> None:
    """Raise `ConfigError` where `path` holds anything but `text`."""
    if path.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
        raise ConfigError(f"{path} exists. Give --write-config another path, or --force to replace it.")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`; raises `ConfigError` where that is not possible."""
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}). Check the folder and its rights.") from error


def _entry(book: AnswerBook, llm: str, base_url: str) -> dict[str, object]:
    price = book.price(llm)
    return {
        "model_name": llm,
        # The prefix marks any OpenAI-compatible endpoint, and keeps a name that has a prefix of its own whole.
        "litellm_params": {"model": f"openai/{llm}", "api_base": base_url},
        "model_info": {
            "input_cost_per_token": price.usd_per_million_tokens_in / TOKENS_PER_MILLION,
            "output_cost_per_token": price.usd_per_million_tokens_out / TOKENS_PER_MILLION,
        },
    }
