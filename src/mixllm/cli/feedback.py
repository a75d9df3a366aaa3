"""``mixllm feedback``: a judgement of an answer."""

from __future__ import annotations

import click

from mixllm.cli.gateway_api import GatewayAPI
from mixllm.cli.options import gateway_options, json_option
from mixllm.cli.output import print_json, print_line
from mixllm.types import Secret
from mixllm.units import fraction

__all__ = ["command"]


@click.command(name="feedback")
@click.argument("inference_id")
@click.option("--quality", type=float, help="A score from 0 to 1.")
@click.option("--up", is_flag=True, help="Thumbs up.")
@click.option("--down", is_flag=True, help="Thumbs down.")
@click.option("--metric", default="quality", show_default=True, help="What is judged; only quality teaches.")
@click.option("--source", default="user", show_default=True, help="Who judges; each source judges an answer once.")
@click.option("--idempotency-key", help="The same key with the same judgement counts once.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A label to keep with it; may be repeated.")
@gateway_options
@json_option
def command(
    *,
    inference_id: str,
    quality: float | None,
    up: bool,
    down: bool,
    metric: str,
    source: str,
    idempotency_key: str | None,
    tags: tuple[str, ...],
    url: str,
    api_key: Secret | None,
    as_json: bool,
) -> None:
    """Judge an answer that a running gateway gave.

    INFERENCE_ID is in the answer's header x-mixllm-inference-id. Give a score or a thumb; the command returns when the
    judgement is durable.
    """
    if (quality is not None) + up + down != 1:
        raise click.UsageError("Give exactly one of --quality, --up and --down.")
    if idempotency_key is not None and not (idempotency_key.isascii() and idempotency_key.isprintable()):
        raise click.BadParameter("must be printable ASCII.", param_hint="--idempotency-key")
    answer = GatewayAPI(url=url, api_key=api_key).feedback(
        inference_id,
        value=up if quality is None else fraction("--quality", quality),
        metric=metric,
        source=source,
        tags=_tags(tags),
        idempotency_key=idempotency_key,
    )
    if as_json:
        print_json(answer)
    else:
        known = "was stored before, and counts once" if answer.duplicate else "is stored"
        print_line(f"Feedback {answer.feedback_id} {known}.")


def _tags(tags: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{tag!r} is not KEY=VALUE.", param_hint="--tag")
        pairs[key] = value
    return pairs
