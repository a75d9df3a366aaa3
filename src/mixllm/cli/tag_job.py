"""The job of ``mixllm tag``: log, journal, client and progress, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mixllm.assembly import build_encoder
from mixllm.cli.output import usd
from mixllm.clients import OpenAIClient
from mixllm.config import EncoderConfig
from mixllm.errors import StateError, UnknownPriceError
from mixllm.logs import open_log
from mixllm.registry import priced
from mixllm.tags.labelling import (
    CostEstimate,
    Journal,
    LLMTagger,
    NormalisationSettings,
    TaggingProgress,
    TaggingResult,
    TaggingSettings,
    TagLabels,
    job_header,
    label_queries,
    normalise,
)
from mixllm.types import LLMSpec

__all__ = ["TagJob", "grouped", "journal_path"]


class TagJob:
    """A log to be tagged, and what is known of it so far; while the context is open, the journal is too.

    The journal is made when `run` starts, so that an estimate leaves nothing behind.

    Parameters
    ----------
    data
        The routing log: whatever `open_log` reads.
    spec
        The LLM; without a price the list price is looked up.
    settings
        How it is asked.
    out
        Where the labels will go; the journal is beside it.

    Raises
    ------
    LogError
        Where the log cannot be read.
    UnknownPriceError
        Where no price is known.
    StateError
        Where `out` is something else than labels, or the journal belongs to another job.
    """

    def __init__(self, *, data: Path, spec: LLMSpec, settings: TaggingSettings, out: Path) -> None:
        _check_target(out)
        self.spec = _with_price(spec)
        self.settings = settings
        self.log = open_log(data)
        header = job_header(query_ids=self.log.query_ids, queries=self.log.prompts, model=self.spec.upstream_model)
        self._path = journal_path(out)
        self._header = header
        self._journal = Journal(self._path, header=header) if self._path.exists() else None

    def __enter__(self) -> Self:
        """Return the job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    @property
    def answered(self) -> int:
        """How many queries have an answer."""
        return 0 if self._journal is None else len(self._journal.tags)

    @property
    def spent_usd(self) -> float:
        """What was spent so far."""
        return 0.0 if self._journal is None else self._journal.spent_usd

    def estimate(self) -> CostEstimate:
        """Return what the unanswered queries are expected to cost."""
        known = {} if self._journal is None else self._journal.tags
        pairs = zip(self.log.query_ids, self.log.prompts, strict=True)
        return self._tagger(OpenAIClient()).estimate([text for query_id, text in pairs if query_id not in known])

    def run(self) -> TaggingResult:
        """Ask for everything that is unanswered, with a progress bar on stderr where that is a terminal."""
        journal = self._journal = self._journal or Journal(self._path, header=self._header)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("Tagging", total=len(self.log), note="")

            def advance(progress: TaggingProgress) -> None:
                note = f"{usd(progress.spent_usd)} spent" + (f", {progress.failed} failed" if progress.failed else "")
                bar.update(task, completed=progress.done + progress.failed, note=note)

            return asyncio.run(self._ask(journal, advance))

    async def _ask(self, journal: Journal, advance: Callable[[TaggingProgress], object]) -> TaggingResult:
        client = OpenAIClient()
        try:
            return await self._tagger(client).tag(
                query_ids=self.log.query_ids,
                queries=self.log.prompts,
                journal=journal,
                on_progress=advance,
            )
        finally:
            await client.close()

    def _tagger(self, client: OpenAIClient) -> LLMTagger:
        return LLMTagger(client=client, spec=self.spec, settings=self.settings)


def grouped(
    job: TagJob, result: TaggingResult, *, thinning: NormalisationSettings, max_domains: int, seed: int
) -> TagLabels:
    """Return the labels of `job`'s queries: raw tags made few with the default encoder, then grouped."""
    encoder = build_encoder(EncoderConfig())
    tags = normalise(tuple(frozenset(tags or ()) for tags in result.tags), encoder=encoder, settings=thinning)
    return label_queries(job.log.query_ids, tags, encoder=encoder, max_domains=max_domains, seed=seed)


def journal_path(out: Path) -> Path:
    """Return where the journal of the labels `out` is.

    Examples
    --------
    >>> journal_path(Path("labels.json")).name
    'labels.json.journal.jsonl'
    """
    return out.with_name(f"{out.name}.journal.jsonl")


def _check_target(out: Path) -> None:
    """Refuse before money is spent what could not be written after it."""
    if not out.parent.is_dir():
        raise StateError(f"{out.parent} is no folder. Make it first, or give --out another path.")
    if out.exists():
        try:
            TagLabels.load(out)
        except StateError as error:
            raise StateError(f"{out} exists and is no file of labels. Give --out another path.") from error


def _with_price(spec: LLMSpec) -> LLMSpec:
    try:
        return priced(spec)
    except UnknownPriceError as error:
        raise StateError(
            f"No price is known for {spec.upstream_model!r}, so nothing can be estimated. Give --price-in and "
            "--price-out, 0 where it is free."
        ) from error
