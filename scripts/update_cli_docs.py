"""Write every command's help into ``docs/cli.md``, between its markers; ``--check`` only says whether it is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mixllm.cli.app import cli

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
_WIDTH = 100
_BLOCK = re.compile(r"<!-- help: (?P<name>[a-z -]+) -->\n.*?<!-- /help -->", re.DOTALL)


def main() -> int:
    text = PAGE.read_text()
    problems = list(missing(text))
    fresh = updated(text)
    if "--check" not in sys.argv:
        PAGE.write_text(fresh)
    elif fresh != text:
        problems.append(f"{PAGE.name} is not up to date. Run: python scripts/update_cli_docs.py")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def helps() -> dict[str, str]:
    """Return the help of every command, and of every command of a command, by its whole name."""
    return dict(_helps(cli, _context(cli, "mixllm", None)))


def updated(text: str) -> str:
    """Return the page with the help of each marked command as it is now."""
    known = helps()

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in known:
            raise SystemExit(f"{PAGE.name}: there is no command {name!r}.")
        return f"<!-- help: {name} -->\n```\n{known[name]}\n```\n<!-- /help -->"

    return _BLOCK.sub(block, text)


def missing(text: str) -> Iterator[str]:
    """Yield each command that the page does not describe."""
    marked = {match["name"] for match in _BLOCK.finditer(text)}
    for name in helps():
        if name not in marked:
            yield f"{PAGE.name}: no marker <!-- help: {name} --> … <!-- /help -->"


def _helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _helps(child, _context(child, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings = {**command.context_settings, "terminal_width": _WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    sys.exit(main())
