"""The ``mixllm`` command: which commands there are, and what becomes of their errors."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from mixllm import __version__
from mixllm.errors import MissingExtraError, MixLLMError, did_you_mean

__all__ = ["COMMANDS", "Entry", "LazyGroup", "cli"]

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command that is loaded when it is used.

    Parameters
    ----------
    module
        Where its ``command`` is.
    summary
        Its line in ``mixllm --help``: the first sentence of its own help.
    extra
        The extra that installs everything it needs.
    """

    module: str
    summary: str
    extra: str = "cli"


COMMANDS = {
    "demo": Entry(
        module="mixllm.cli.demo",
        summary="Watch MixLLM route real queries over a pool of LLMs, learn from feedback and save money.",
        extra="demo",
    ),
    "serve": Entry(module="mixllm.cli.serve", summary="Run the OpenAI-compatible gateway.", extra="gateway"),
    "route": Entry(module="mixllm.cli.route", summary="Explain which LLM would take a query, and call nothing."),
    "train": Entry(
        module="mixllm.cli.train",
        summary="Train tags, embedding and predictors on a routing log.",
        extra="fit",
    ),
    "bench": Entry(module="mixllm.cli.bench", summary="Compare routers on routing logs.", extra="bench"),
    "simulate": Entry(
        module="mixllm.cli.simulate",
        summary="Let policies learn on a stream made of a routing log.",
        extra="bench",
    ),
    "load": Entry(
        module="mixllm.cli.load",
        summary="Put routers under load, in simulated time.",
        extra="bench",
    ),
    "whatif": Entry(module="mixllm.cli.whatif", summary="Estimate from a log what another policy would have done."),
    "llms": Entry(module="mixllm.cli.llms", summary="List, add, change and remove the LLMs of a running gateway."),
    "feedback": Entry(module="mixllm.cli.feedback", summary="Judge an answer that a running gateway gave."),
    "report": Entry(module="mixllm.cli.report", summary="Tell what the router did in a period, from its store."),
    "state": Entry(
        module="mixllm.cli.state",
        summary="Look at what was learned, go back to an earlier version of it, merge it with another router's.",
    ),
    "keys": Entry(module="mixllm.cli.keys", summary="Make API keys for the gateway's clients, and list them."),
    "budget": Entry(module="mixllm.cli.budget", summary="Show what a running gateway has left of its budgets."),
    "doctor": Entry(module="mixllm.cli.doctor", summary="Check everything that a gateway needs, and say what to do."),
    "config": Entry(module="mixllm.cli.config", summary="Check a configuration and show what is in effect."),
    "fine-tune": Entry(
        module="mixllm.cli.fine_tune",
        summary="Train a sentence transformer so that it tells the domains of a routing log apart.",
        extra="train",
    ),
    "tag": Entry(
        module="mixllm.cli.tag",
        summary="Ask an LLM what the queries of a log are about, and group them into domains.",
        extra="gateway",
    ),
    "data": Entry(module="mixllm.cli.data", summary="Fetch, check, show and export routing logs."),
    "playback": Entry(
        module="mixllm.cli.playback",
        summary="Run a server that stands for a pool of LLMs, to try things out.",
        extra="gateway",
    ),
}
"""Every command, in the order of ``mixllm --help``."""


class LazyGroup(click.Group):
    """A group that imports a command only to run it, and turns MixLLM's errors into messages.

    An error of MixLLM becomes ``Error: …`` on stderr and exit code 1, wrong usage exit code 2, Ctrl-C 130.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands that are there."""
        del ctx
        return [name for name, entry in COMMANDS.items() if find_spec(entry.module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            command = import_module(COMMANDS[cmd_name].module).command
        except ModuleNotFoundError as error:
            _refuse_our_own(error)
            raise _missing(cmd_name) from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}.{did_you_mean(name, known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' summaries without loading the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except MixLLMError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            _refuse_our_own(error)
            raise _missing(ctx.invoked_subcommand or "") from error
        except UnicodeEncodeError as error:
            raise click.ClickException("An argument is no valid text in UTF-8. Write it in UTF-8.") from error
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)


def _refuse_our_own(error: ModuleNotFoundError) -> None:
    """Raise `error` again where the missing module is one of MixLLM's: that is a fault, nothing to install."""
    if (error.name or "").partition(".")[0] == "mixllm":
        raise error


def _missing(name: str) -> click.ClickException:
    return click.ClickException(str(MissingExtraError(f"mixllm {name}", COMMANDS[name].extra)))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version=__version__, prog_name="mixllm", message="%(prog)s %(version)s")
def cli() -> None:
    """Route queries over a pool of LLMs: better answers for less money, learned from feedback.

    First steps: "mixllm demo" shows it at work. "mixllm playback --write-config mixllm.yaml" and, in another terminal,
    "mixllm serve" let you try it without any API key.
    """
