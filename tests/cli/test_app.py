from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.cli.running import LIMIT_S, environment, invoke, refusal, run

import mixllm
from mixllm.cli import app
from mixllm.cli.app import COMMANDS, Entry, cli
from mixllm.errors import MixLLMError

HEAVY = ("numpy", "aiohttp", "starlette", "uvicorn", "rich", "yaml", "msgspec", "http.client", "asyncio")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def leaves(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield context.command_path, command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, click.Context(child, info_name=name, parent=context))


def add_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, code: str) -> None:
    module = f"command_{name}_of_a_test"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(app.COMMANDS, name, Entry(module=module, summary="Of a test.", extra="gateway"))


@pytest.mark.parametrize("option", ["--help", "--version", "-h"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    code = (
        "import sys\nfrom mixllm.__main__ import main\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    print(end.code, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = python(code, option)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_version_and_help() -> None:
    assert invoke("--version").stdout == f"mixllm {mixllm.__version__}\n"
    text = invoke("--help").stdout
    for name in ("serve", "route", "llms", "feedback", "doctor", "config", "playback"):
        assert f"\n  {name} " in text


def test_the_module_runs_as_the_console_script_does() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"mixllm {mixllm.__version__}\n")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"demo"}))
def test_a_summary_is_the_first_sentence_of_the_commands_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=200).rstrip(".") == COMMANDS[name].summary.rstrip(".")


def test_every_command_has_json_help_and_described_options() -> None:
    found = dict(leaves(cli, click.Context(cli, info_name="mixllm", **cli.context_settings)))
    assert {"mixllm llms add", "mixllm config check", "mixllm playback"} <= set(found)
    for path, command in found.items():
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert any("--json" in option.opts for option in options), path
        assert all(option.help for option in options), path
        assert invoke(*path.split()[1:], "--help").exit_code == 0


def test_a_mistyped_command_is_wrong_usage_with_a_hint() -> None:
    assert "No such command 'srve'. Did you mean 'serve'?" in refusal(invoke("srve"), code=2)


def test_a_command_that_is_not_there_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.COMMANDS, "later", Entry(module="mixllm.cli.later", summary="Comes later."))
    assert "later" not in invoke("--help").stdout
    assert "No such command 'later'" in refusal(invoke("later"), code=2)


def test_an_error_of_mixllm_is_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        "import click\nfrom mixllm.errors import MixLLMError\n"
        "@click.command()\ndef command():\n    raise MixLLMError('Do this.')"
    )
    add_command(monkeypatch, tmp_path, "failing", code)
    result = invoke("failing")
    assert (result.exit_code, result.stderr, result.stdout) == (1, "Error: Do this.\n", "")
    assert issubclass(MixLLMError, Exception)


def test_ctrl_c_ends_with_130_and_without_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import click\n@click.command()\ndef command():\n    raise KeyboardInterrupt"
    add_command(monkeypatch, tmp_path, "interrupted", code)
    result = invoke("interrupted")
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.parametrize(
    "place", ["import absent_package", "@click.command()\ndef command():\n    import absent_package"]
)
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    name = f"lacking{len(place)}"
    add_command(monkeypatch, tmp_path, name, f"import click\n{place}\n")
    assert "pip install 'mixllm[gateway]'" in refusal(invoke(name))


def test_a_missing_module_of_our_own_is_no_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_command(monkeypatch, tmp_path, "broken", "import mixllm.no_such_room")
    with pytest.raises(ModuleNotFoundError, match=r"mixllm\.no_such_room"):
        invoke("broken")


@pytest.mark.parametrize(
    ("absent", "arguments", "extra"),
    [
        ("click", ["--help"], "cli"),
        ("yaml", ["config", "check"], "cli"),
        ("rich", ["config", "check"], "cli"),
        ("uvicorn", ["serve"], "gateway"),
        ("starlette", ["playback"], "gateway"),
    ],
)
def test_without_an_optional_package_the_pip_command_is_told(
    absent: str, arguments: list[str], extra: str, config_path: Path
) -> None:
    code = f"import sys\nsys.modules[{absent!r}] = None\nfrom mixllm.__main__ import main\nmain()"
    options = [] if arguments[0] in {"--help", "playback"} else ["-c", str(config_path)]
    done = python(code, *arguments, *options)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"pip install 'mixllm[{extra}]'" in done.stderr


def test_a_reader_that_leaves_is_no_fault(config_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mixllm", "config", "check", "-c", str(config_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(LIMIT_S) in {0, 1}


def test_a_terminal_that_lacks_letters_is_no_fault(config_path: Path) -> None:
    done = run("route", "-c", str(config_path), "Hello", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "(thompson), score" in done.stdout or "best score" in done.stdout


def test_arguments_that_are_no_text_are_a_message() -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"mixllm", b"llms", b"remove", b"\xff"],
        env=environment(),
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert b"Write it in UTF-8" in done.stderr
