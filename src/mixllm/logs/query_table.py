"""``queries.parquet``: ids, prompts, system prompts and labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mixllm.logs.chats import prompt_and_system
from mixllm.logs.columns import TableFile, is_scalar

__all__ = ["QueryTable", "read_queries"]

_OWN_COLUMNS = frozenset({"query_id", "prompt", "messages", "system"})
_PANDAS_INDEX = "__index_level_"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTable:
    """The queries of a log, column by column."""

    query_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    systems: tuple[str | None, ...]
    labels: dict[str, tuple[str, ...]]


def read_queries(file: Path) -> QueryTable:
    """Read and check ``queries.parquet``; raises `LogError`."""
    table = TableFile(file)
    query_ids = tuple(table.complete_text("query_id").to_pylist())
    if not query_ids:
        raise table.error("query_id", "there is no query. Add some.")
    _check_unique(table, query_ids)
    prompts, systems = _prompts_and_systems(table)
    labels = {
        name: tuple(table.text(name).fill_null("").to_pylist())
        for name in table.names
        if name not in _OWN_COLUMNS and not name.startswith(_PANDAS_INDEX) and is_scalar(table.schema.field(name).type)
    }
    return QueryTable(query_ids=query_ids, prompts=prompts, systems=systems, labels=labels)


def _check_unique(table: TableFile, query_ids: tuple[str, ...]) -> None:
    if len(set(query_ids)) == len(query_ids):
        return
    seen: dict[str, int] = {}
    for row, query_id in enumerate(query_ids):
        if query_id in seen:
            raise table.error(
                "query_id",
                f"{query_id!r} is already in row {seen[query_id]}. Give each query an id of its own.",
                row=row,
            )
        seen[query_id] = row


def _prompts_and_systems(table: TableFile) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    given: list[str | None] = table.text("system").to_pylist() if "system" in table else [None] * table.rows
    if "prompt" in table or "messages" not in table:
        return tuple(table.complete_text("prompt").to_pylist()), tuple(given)
    prompts: list[str] = []
    systems: list[str | None] = []
    for row, (messages, system) in enumerate(zip(table.column("messages").to_pylist(), given, strict=True)):
        if messages is None:
            raise table.error("messages", "the chat is missing. Give each query one.", row=row)
        try:
            prompt, own_system = prompt_and_system(messages)
        except ValueError as error:
            raise table.error(
                "messages",
                f"this is no chat ({error}). Write a list of messages with role and content, one of them the user's.",
                row=row,
            ) from error
        prompts.append(prompt)
        systems.append(own_system if system is None else system)
    return tuple(prompts), tuple(systems)
