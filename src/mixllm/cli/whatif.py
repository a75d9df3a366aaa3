"""``mixllm whatif``: what another policy would have done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_type_hints

import click
import msgspec
import numpy as np
from click.core import ParameterSource

from mixllm.assembly import build_policy
from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json
from mixllm.cli.progress import progress_bar
from mixllm.config import Config, PolicyConfig
from mixllm.errors import ConfigError
from mixllm.evaluation.offpolicy import (
    ESTIMATORS,
    LoggedDecisions,
    Settings,
    TargetPolicy,
    decisions_of_export,
    decisions_of_store,
    what_if,
)

if TYPE_CHECKING:
    from mixllm.interfaces import Store

__all__ = ["command"]

_POLICIES = get_args(get_type_hints(PolicyConfig)["name"])


@click.command(name="whatif")
@click.option(
    "--policy", "policy_name", type=click.Choice(_POLICIES), required=True, help="The policy that is asked about."
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
    policy_name: str,
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
    ucb try nothing else, so use squarecb or thompson for logs to ask.
    """
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
    parameters = PolicyConfig() if config is None else config.routing.policy
    target = TargetPolicy(
        policy=build_policy(msgspec.structs.replace(parameters, name=policy_name)),
        trade_off=trade_off,
        without=frozenset(without),
    )
    log = _log(config, config_path, store_path, folder)
    report = what_if(log, target, settings=settings, rng=np.random.default_rng(seed))
    if as_json:
        print_json(report)
        return
    from mixllm.cli.whatif_tables import print_whatif

    print_whatif(report)


def _config(path: Path, *, needed: bool) -> Config | None:
    source = click.get_current_context().get_parameter_source("config_path")
    return None if source is ParameterSource.DEFAULT and not needed else read_config(path)


def _log(config: Config | None, config_path: Path, store_path: Path | None, folder: Path | None) -> LoggedDecisions:
    if folder is not None:
        return decisions_of_export(folder)
    if store_path is None:
        assert config is not None
        if config.store.kind == "memory":
            raise ConfigError(
                f"{config_path}: store.kind is memory, which no other process can read. Set it to sqlite."
            )
        store_path = Path(config.store.path)
    if not store_path.is_file():
        raise ConfigError(
            f"{store_path}: there is no store. Give the file with --store, or its configuration with --config."
        )
    from mixllm.store import SQLiteStore

    store: Store = SQLiteStore(path=store_path)
    try:
        with progress_bar("Reading") as advance:
            return decisions_of_store(store, name=str(store_path), on_progress=advance)
    finally:
        store.close()
