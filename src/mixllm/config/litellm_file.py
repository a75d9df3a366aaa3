"""A configuration of LiteLLM's proxy, made into one of MixLLM: what it says is kept, what has no use here is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mixllm.config.key_names import ENV_REFERENCE
from mixllm.config.litellm_names import ENTRY_NAMES, INFO_NAMES, PARAM_NAMES, PRICE_NAME, SECTIONS
from mixllm.config.pool import ModelEntry, ModelInfo, ModelParams
from mixllm.config.problems import Problems, fields_of
from mixllm.config.yaml_tree import KeyPath, read_yaml

__all__ = ["adapt_entries", "adapt_sections"]

_LOG = logging.getLogger(__name__)


def adapt_sections(tree: dict[str, Any], name: str) -> dict[str, str]:
    """Take LiteLLM's own sections out of `tree`, and return the variables that they set.

    ``environment_variables`` are LiteLLM's way to set keys. ``general_settings.master_key`` is the key that its clients
    present: it becomes one of ``gateway.api_keys``, where there is none.
    """
    sections = {section: tree.pop(section) for section in sorted(SECTIONS & set(tree))}
    used = {"environment_variables"}
    general = sections.get("general_settings")
    master = general.get("master_key") if isinstance(general, dict) else None
    gateway = tree.get("gateway")
    if isinstance(master, str) and master and not (isinstance(gateway, dict) and {"api_keys", "keys"} & set(gateway)):
        tree["gateway"] = {**(gateway if isinstance(gateway, dict) else {}), "api_keys": [master]}
        _LOG.info("%s: general_settings.master_key is taken as one of gateway.api_keys", name)
    for section in sections:
        if section not in used:
            _LOG.warning("%s: section %r concerns LiteLLM alone and is not used", name, section)
    variables = sections.get("environment_variables")
    if not isinstance(variables, dict):
        return {}
    return {str(key): str(value) for key, value in variables.items() if value is not None}


def adapt_entries(
    tree: dict[str, Any], problems: Problems, *, variables: Mapping[str, str], environ: Mapping[str, str]
) -> None:
    """Make the entries of ``model_list`` those of MixLLM.

    Parameters
    ----------
    tree
        The configuration, changed in place.
    problems
        Takes what is wrong.
    variables
        What ``environment_variables`` sets; it goes before `environ`, as in LiteLLM.
    environ
        Where ``os.environ/NAME`` is looked up, in every parameter but ``api_key``, which is looked up at each call.
    """
    entries = tree.get("model_list")
    if not isinstance(entries, list):
        return
    _literal_keys(tree.get("gateway"), variables)
    for place, entry in enumerate(entries):
        if isinstance(entry, dict):
            path: KeyPath = ("model_list", place)
            _resolve(entry, path, problems, variables, environ)
            _drop_unused(entry, problems.source.where(path))
    _name_apart(entries, problems)


def _literal_keys(gateway: Any, variables: Mapping[str, str]) -> None:
    keys = gateway.get("api_keys") if isinstance(gateway, dict) else None
    if isinstance(gateway, dict) and isinstance(keys, list):
        gateway["api_keys"] = [_known(key, variables) for key in keys]


def _resolve(
    entry: dict[str, Any],
    path: KeyPath,
    problems: Problems,
    variables: Mapping[str, str],
    environ: Mapping[str, str],
) -> None:
    for section in ("litellm_params", "model_info"):
        params = entry.get(section)
        if not isinstance(params, dict):
            continue
        for key, value in params.items():
            if not (isinstance(value, str) and value.startswith(ENV_REFERENCE)):
                continue
            params[key] = value = _known(value, variables)
            if key == "api_key" or not value.startswith(ENV_REFERENCE) or key in PARAM_NAMES:
                continue
            variable = value.removeprefix(ENV_REFERENCE).strip()
            if not environ.get(variable):
                at = (*path, section, key)
                problems.add(at, f"{'.'.join(map(str, at))}: variable {variable} is not set. Set it, or give a value.")
                params[key] = None
                continue
            # A number stays one, as if it stood in the file.
            kind = str if key in {"model", "api_base"} else None
            params[key] = environ[variable] if kind is str else read_yaml(environ[variable], f"variable {variable}")[0]


def _known(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str) and value.startswith(ENV_REFERENCE):
        return variables.get(value.removeprefix(ENV_REFERENCE).strip(), value)
    return value


def _drop_unused(entry: dict[str, Any], where: str) -> None:
    parts: tuple[tuple[Any, frozenset[str], Any, str], ...] = (
        (entry, ENTRY_NAMES, ModelEntry, ""),
        (entry.get("litellm_params"), PARAM_NAMES, ModelParams, "litellm_params."),
        (entry.get("model_info"), INFO_NAMES, ModelInfo, "model_info."),
    )
    unused = []
    for part, names, section, prefix in parts:
        if not isinstance(part, dict):
            continue
        ours = fields_of(section)
        for key in sorted(map(str, part)):
            if key not in ours and (key in names or (prefix and PRICE_NAME.fullmatch(key))):
                del part[key]
                unused.append(f"{prefix}{key}")
    if unused:
        _LOG.warning("%s: LiteLLM's %s has no effect here", where, ", ".join(unused))


def _name_apart(entries: list[Any], problems: Problems) -> None:
    """Give each further deployment of a model a name of its own: its ``model_info.id``, or the next number."""
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("model_name"), str)]
    taken = {entry["model_name"] for entry in named}
    seen: set[str] = set()
    for entry in named:
        name = entry["model_name"]
        if name not in seen:
            seen.add(name)
            continue
        info = entry.get("model_info")
        own = info.get("id") if isinstance(info, dict) else None
        number = 2
        while f"{name}-{number}" in taken:
            number += 1
        apart = own if isinstance(own, str) and own and own not in taken else f"{name}-{number}"
        taken.add(apart)
        seen.add(apart)
        entry["model_name"] = apart
        where = problems.source.where(("model_list", entries.index(entry)))
        _LOG.warning("%s: a further deployment of %r is LLM %r of the pool", where, name, apart)
