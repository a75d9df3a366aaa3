"""``mixllm data``: routing logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mixllm.cli.download import Downloaded, digest_of, download
from mixllm.cli.options import checked_url, config_option, json_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.cli.progress import progress_bar
from mixllm.cli.stored import open_for_reading
from mixllm.config import Config

__all__ = ["command"]

_ROUTERBENCH_URL = "https://huggingface.co/datasets/withmartian/routerbench/resolve/main"
_MAX_BYTES = 2 * 1024**3
_STEP_S = 30.0
_TOTAL_S = 3600.0
_PICKLE_BEGINS = b"\x80"
_UNKNOWN_ENCODER = "unknown"


@click.group(name="data")
def command() -> None:
    """Fetch, check, show and export routing logs.

    A routing log says which LLM answered which query how well and at what cost. It is a folder with queries.parquet and
    outcomes.parquet, or RouterBench's table.
    """


@command.command(name="fetch")
@click.argument("name", type=click.Choice(["routerbench"]))
@click.option(
    "--file",
    "shots",
    type=click.Choice(["0shot", "5shot"]),
    default="0shot",
    show_default=True,
    help="With how many examples in the prompt.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("routerbench"),
    show_default=True,
    help="Folder to put it into.",
)
@click.option(
    "--base-url",
    callback=checked_url,
    default=_ROUTERBENCH_URL,
    show_default=True,
    help="A mirror with the same files.",
)
@click.option("--force", is_flag=True, help="Fetch it again where it is there already.")
@json_option
def fetch(*, name: str, shots: str, out: Path, base_url: str, force: bool, as_json: bool) -> None:
    """Fetch the published table of a benchmark.

    NAME is routerbench: 36,497 queries answered by 11 LLMs. The file is a pickle; MixLLM reads it without executing
    anything in it. It appears when it is complete. Where there is no network, the command says which file to download
    by hand, and where to put it.
    """
    url = f"{base_url.rstrip('/')}/{name}_{shots}.pkl"
    target = out / f"{name}_{shots}.pkl"
    if target.exists() and not force:
        size_bytes, sha256 = digest_of(target)
        done = Downloaded(path=str(target), url=url, size_bytes=size_bytes, sha256=sha256, fetched=False)
    else:
        with progress_bar("Fetching", in_bytes=True) as advance:
            done = download(
                url,
                target,
                max_bytes=_MAX_BYTES,
                timeout_s=_STEP_S,
                total_timeout_s=_TOTAL_S,
                begins_with=_PICKLE_BEGINS,
                on_progress=advance,
            )
    if as_json:
        print_json(done)
        return
    said = "is there" if done.fetched else "was there already (--force fetches it again)"
    print_line(
        f"{done.path} {said}: {done.size_bytes} bytes, SHA-256 {done.sha256}. Next: mixllm data show {done.path}"
    )


@command.command(name="check")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def check(*, path: Path, as_json: bool) -> None:
    """List everything that is wrong with a log.

    PATH is a folder or a file. The first 1,000 problems are listed, all are counted; rows count from 0. Ends with code
    1 where the log cannot be used: a file or column is missing or of the wrong kind, or nothing is left without the
    broken rows.
    """
    from mixllm.logs import check_log

    report = check_log(path)
    if as_json:
        print_json({**_fields(report), "ok": report.ok})
    else:
        from mixllm.cli.data_tables import print_report

        print_report(report)
    if not report.usable:
        click.get_current_context().exit(1)


@command.command(name="show")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--drop-broken", is_flag=True, help="Leave broken rows out instead of refusing the log.")
@json_option
def show(*, path: Path, drop_broken: bool, as_json: bool) -> None:
    """Show what is in a log: queries, LLMs, their mean quality and cost, the strongest.

    PATH is a folder or a file.
    """
    from mixllm.cli.data_tables import print_summary, summary_of
    from mixllm.logs import open_log

    summary = summary_of(open_log(path, broken="drop" if drop_broken else "refuse"))
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)


@command.command(name="export")
@config_option
@click.option("--store", "store_path", type=click.Path(path_type=Path), help="A store's file, in place of store.path.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; it must not exist yet.")
@json_option
def export(*, config_path: Path, store_path: Path | None, out: Path, as_json: bool) -> None:
    """Write what a gateway decided, and what came of it, as a log.

    Only what was chosen has an outcome; the log also says with which probability it was chosen, and whom else. The
    gateway may go on meanwhile. With --store alone no configuration is read, and the log names the encoder "unknown".
    """
    from mixllm.learning.store_export import export_log

    config, encoder = _config_and_encoder(config_path, store_path)
    with (
        open_for_reading(config, config_path, store_path) as (store, place),
        progress_bar("Exporting") as advance,
    ):
        counts = export_log(store, out, encoder_fingerprint=encoder, on_progress=advance)
    if as_json:
        print_json({"path": str(out), "store": place, "encoder": encoder, **_fields(counts)})
        return
    left_out = counts.without_outcome + counts.other_encoder
    print_line(
        f"{out}: {counts.decisions} decisions, {counts.outcomes} outcomes, {counts.judged} of them judged; left out: "
        f"{left_out} ({counts.without_outcome} without an outcome, {counts.other_encoder} of another encoder). "
        f"Next: mixllm data show {out}"
    )


def _config_and_encoder(config_path: Path, store_path: Path | None) -> tuple[Config | None, str]:
    """Return the configuration, if one is read, and the fingerprint of the encoder that fills the store."""
    source = click.get_current_context().get_parameter_source("config_path")
    if store_path is not None and source is ParameterSource.DEFAULT:
        return None, _UNKNOWN_ENCODER
    from mixllm.assembly import build_untrained_encoder

    config = read_config(config_path)
    return config, build_untrained_encoder(config.encoder, config.tags).fingerprint


def _fields(value: object) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(value)
    return fields
