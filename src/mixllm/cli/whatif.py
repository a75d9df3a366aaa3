"""``mixllm whatif``: what another policy would have done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, get_args, get_type_hints

import click
import msgspec
import numpy as np
from click.core import ParameterSource

from mixllm.assembly import build_policy
from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json
from mixllm.cli.progress import progress_bar
from mixllm.cli.stored import open_for_reading
from mixllm.config import Config, PolicyConfig
from mixllm.errors import NoSupportError
from mixllm.evaluation.offpolicy import (
    ESTIMATORS,
    LoggedShadow,
    Settings,
    TargetPolicy,
    WhatIfReport,
    decisions_of_export,
    decisions_of_store,
    shadow_of_store,
    what_if,
)

if TYPE_CHECKING:
    from mixllm.interfaces import Store

__all__ = ["command"]

_ReadT = TypeVar("_ReadT", covariant=True)
_POLICIES = get_args(get_type_hints(PolicyConfig)["name"])


@click.command(name="whatif")
@click.option("--policy", "policy_name", type=click.Choice(_POLICIES), help="The policy that is asked about.")
@click.option(
    "--shadow",
    metavar="NAME",
    help="In its place, what a shadow of routing.shadow logged beside the live policy. Its name, or 0 for the first.",
)
@click.option(
    "--lambda",
    "trade_off",
    type=click.FloatRange(min=0),
    help="Its trade-off; the larger, the more quality counts. Without it, each decision keeps its own.",
)
@click.option("--without", multiple=True, help="Name of an LLM to take out of the pool; repeat it for more.")
@config_option
@click.option("--store", "store_path", type=click.Path(path_type=Path), help="A store's file, in place of store.path.")
@click.option("--data", "folder", type=click.Path(path_type=Path), help='Folder that "mixllm data export" wrote.')
@click.option(
    "--estimator", type=click.Choice([*ESTIMATORS, "all"]), default="all", show_default=True, help="How to estimate."
)
@click.option(
    "--direct",
    type=click.Choice(["forecast", "ridge"]),
    default="forecast",
    show_default=True,
    help="DR's model: the logged forecasts, or a ridge regression on them.",
)
@click.option("--clip", type=click.FloatRange(min=0, min_open=True), help="Cut larger weights to this.")
@click.option(
    "--level",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="How often an interval shall hold the truth.",
)
@click.option(
    "--interval",
    type=click.Choice(["bootstrap", "normal"]),
    default="bootstrap",
    show_default=True,
    help="How intervals are made.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@json_option
def command(
    *,
    policy_name: str | None,
    shadow: str | None,
    trade_off: float | None,
    without: tuple[str, ...],
    config_path: Path,
    store_path: Path | None,
    folder: Path | None,
    estimator: str,
    direct: Literal["forecast", "ridge"],
    clip: float | None,
    level: float,
    interval: Literal["normal", "bootstrap"],
    seed: int,
    as_json: bool,
) -> None:
    """Estimate from a log what another policy would have done.

    Reads the store of the configuration, another store, or an export of one; the policy's other settings come from
    the configuration. Quality, cost and score of the asked policy stand beside those of the logged one, with intervals
    and with how many decisions the log is worth. Ends with code 1 and says why where the log cannot tell: greedy and
    ucb try nothing else, so use squarecb or thompson for logs to ask. A shadow is compared in its choices first, which
    any log can tell.
    """
    if (policy_name is None) == (shadow is None):
        raise click.UsageError("Give --policy or --shadow, one of them.")
    if shadow is not None and (trade_off is not None or without or folder is not None):
        raise click.UsageError("--shadow goes without --lambda, --without and --data: it is asked as it was logged.")
    if store_path is not None and folder is not None:
        raise click.UsageError("Give --store or --data, not both.")
    config = _config(config_path, needed=store_path is None and folder is None)
    settings = Settings(
        estimators=tuple(ESTIMATORS) if estimator == "all" else (estimator,),
        level=level,
        interval=interval,
        clip=clip,
        direct=direct,
    )
    rng = np.random.default_rng(seed)
    if shadow is not None:
        beside = _read(config, config_path, store_path, partial(shadow_of_store, shadow=_place(shadow)))
        _tell_shadow(beside, settings=settings, rng=rng, as_json=as_json)
        return
    parameters = PolicyConfig() if config is None else config.routing.policy
    target = TargetPolicy(
        policy=build_policy(msgspec.structs.replace(parameters, name=policy_name)),
        trade_off=trade_off,
        without=frozenset(without),
    )
    if folder is not None:
        log = decisions_of_export(folder)
    else:
        log = _read(config, config_path, store_path, decisions_of_store)
    report = what_if(log, target, settings=settings, rng=rng)
    if as_json:
        print_json(report)
        return
    from mixllm.cli.whatif_tables import print_whatif

    print_whatif(report)


def _config(path: Path, *, needed: bool) -> Config | None:
    source = click.get_current_context().get_parameter_source("config_path")
    return None if source is ParameterSource.DEFAULT and not needed else read_config(path)


def _place(shadow: str) -> str | int:
    return int(shadow) if shadow.isdecimal() else shadow


def _tell_shadow(shadow: LoggedShadow, *, settings: Settings, rng: np.random.Generator, as_json: bool) -> None:
    """Tell how the shadow's choices compare, which any log can tell, and then what they were worth, if it can."""
    refusal: NoSupportError | None = None
    estimate: WhatIfReport | None = None
    try:
        estimate = what_if(shadow.log, shadow, settings=settings, rng=rng)
    except NoSupportError as error:
        refusal = error
    if as_json:
        print_json(
            {
                "shadow": shadow.name,
                "agreement": shadow.agreement,
                "estimate": estimate,
                "refusal": None if refusal is None else str(refusal),
            }
        )
    else:
        from mixllm.cli.whatif_tables import print_agreement, print_whatif

        print_agreement(shadow.name, shadow.agreement)
        if estimate is not None:
            print_whatif(estimate)
    if refusal is not None:
        raise refusal


class _Reading(Protocol[_ReadT]):
    def __call__(self, store: Store, *, name: str, on_progress: Callable[[int, int], None]) -> _ReadT: ...


def _read(config: Config | None, config_path: Path, store_path: Path | None, reading: _Reading[_ReadT]) -> _ReadT:
    with open_for_reading(config, config_path, store_path) as (store, name), progress_bar("Reading") as advance:
        return reading(store, name=name, on_progress=advance)
