"""``mixllm config``: what a configuration says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from mixllm.cli.effective import Path_, effective_tree, sources, yaml_lines
from mixllm.cli.masking import masked_url
from mixllm.cli.options import config_option, json_option, read_config, read_file
from mixllm.cli.output import price_per_million, print_json, print_line
from mixllm.cli.validation import check_recipe, check_reference
from mixllm.config import Config
from mixllm.errors import ConfigError, UnknownPriceError
from mixllm.registry import priced
from mixllm.types import LLMSpec

__all__ = ["command"]


@click.group(name="config")
def command() -> None:
    """Check a configuration and show what is in effect."""


@command.command(name="check")
@config_option
@json_option
def check(*, config_path: Path, as_json: bool) -> None:
    """Check a configuration and print what is in effect, with the origin of each value.

    Checked are the file and the variables over it, every LLM with its price, the policy and the recipe. Values that
    are not set are left out; keys are masked. "mixllm doctor" also checks the outside: keys, endpoints, the store.
    """
    config = read_config(config_path)
    tree = effective_tree(config)
    origins = sources(tree, text=read_file(config_path), name=str(config_path), environ=os.environ)
    specs = _checked(config, origins)
    if as_json:
        named = {".".join(map(str, path)): origin for path, origin in origins.items()}
        print_json({"valid": True, "path": str(config_path), "config": tree, "sources": named, "llms": _shown(specs)})
        return
    for line in yaml_lines(tree, origins):
        print_line(line)
    from mixllm.cli.tables import cell, console, plain_table

    table = plain_table("LLM", "model", "endpoint", "$/M in / out", "capabilities", right=("$/M in / out",))
    for spec in specs:
        table.add_row(*(cell(text) for text in _row(spec)))
    print_line("")
    console().print(table)
    print_line(f"{config_path} is valid: {len(specs)} LLMs.")


def _checked(config: Config, origins: Mapping[Path_, str]) -> tuple[LLMSpec, ...]:
    """Return the pool with its prices; raises `ConfigError` with a line for everything that starting would refuse."""
    problems, specs = [], []
    for check, path in ((check_reference, ("routing", "reference_llm")), (check_recipe, ("learning", "recipe"))):
        try:
            check(config)
        except ConfigError as error:
            problems.append(f"{_where(origins, path)}: {error}")
    for place, spec in enumerate(config.specs()):
        try:
            specs.append(priced(spec))
        except UnknownPriceError as error:
            problems.append(f"{_where(origins, ('model_list', place, 'model_name'))}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(specs)


def _where(origins: Mapping[Path_, str], path: Path_) -> str:
    found = next((origin for at, origin in origins.items() if at[: len(path)] == path), "configuration")
    return ", line ".join(found.rsplit(":", 1))


def _shown(specs: tuple[LLMSpec, ...]) -> list[dict[str, object]]:
    return [{**msgspec.to_builtins(spec), "api_base": masked_url(spec.api_base or "")} for spec in specs]


def _row(spec: LLMSpec) -> tuple[str, ...]:
    return (
        spec.name,
        spec.upstream_model,
        masked_url(spec.api_base or ""),
        price_per_million(spec.price),
        ", ".join(sorted(spec.capabilities)) or "text",
    )
