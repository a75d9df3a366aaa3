"""Where ``mixllm`` and ``python -m mixllm`` begin."""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""


def main() -> None:
    """Run the command line; says what to install where it cannot."""
    try:
        try:
            import click  # noqa: F401 -- asked for here, where its absence can be explained
        except ModuleNotFoundError:
            from mixllm.errors import MissingExtraError

            sys.exit(f"Error: {MissingExtraError('The mixllm command', 'cli')}")
        from mixllm.cli.app import cli

        _show_what_the_terminal_can()
        cli.main(prog_name="mixllm")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _show_what_the_terminal_can() -> None:
    # An answer with a letter that the terminal's encoding lacks must not end in a traceback.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


if __name__ == "__main__":
    main()
