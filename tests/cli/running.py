"""Commands as a user runs them: in processes of their own, and in this one where that is enough."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from click.testing import CliRunner, Result

from mixllm.cli.app import cli
from mixllm.cli.gateway_api import exchange
from mixllm.playback import PlaybackServer

LIMIT_S = 60.0
KEY = "sk-only-for-this-test"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without any of MixLLM's own variables, and without a terminal's width."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIXLLM_") and name != "COLUMNS"}
    return {**kept, **(extra or {})}


def invoke(*arguments: str, env: Mapping[str, str] | None = None, stdin: str | bytes | None = None) -> Result:
    """Run a command in this process; whatever it raises that is no message of the command line is raised here."""
    result = CliRunner().invoke(cli, arguments, env=env, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def output_of(*arguments: str, env: Mapping[str, str] | None = None, code: int = 0) -> Any:
    """Run a command with ``--json`` in this process and return its one object."""
    result = invoke(*arguments, "--json", env=env)
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def run(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mixllm", *arguments],
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def refusal(result: Result | subprocess.CompletedProcess[str], *, code: int = 1) -> str:
    """Return the message of a command that refused as it should: on stderr alone, without a traceback."""
    found = result.exit_code if isinstance(result, Result) else result.returncode
    assert found == code, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "Error: " in result.stderr
    return str(result.stderr)


class Serving:
    """A command that serves, in a process of its own, until the context is left.

    Parameters
    ----------
    arguments
        Command and options; ``--json`` is added where `as_json`.
    env
        Variables beside this process's.
    """

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str] | None = None, as_json: bool = True) -> None:
        self.arguments = [*arguments, *(["--json"] if as_json else [])]
        self.env = environment(env)
        self.first_line = ""
        self.stderr = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mixllm", *self.arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.first_line = self._process.stdout.readline()
        if not self.first_line:
            _, errors = self._process.communicate(timeout=LIMIT_S)
            raise AssertionError(errors)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)

    @property
    def said(self) -> dict[str, Any]:
        """The object that it printed."""
        said: dict[str, Any] = json.loads(self.first_line)
        return said

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.said["url"])

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(number)
            _, self.stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode is not None
        return process.returncode


def pool_config(pool: PlaybackServer, path: Path, **sections: Any) -> Path:
    """Write a configuration for the LLMs of `pool`, with a quick encoder; `sections` go over it."""
    tree = {
        "model_list": [
            {
                "model_name": spec.name,
                "litellm_params": {"model": spec.name, "api_base": spec.api_base},
                "model_info": {
                    "input_cost_per_token": spec.price.usd_per_million_tokens_in / 1e6,
                    "output_cost_per_token": spec.price.usd_per_million_tokens_out / 1e6,
                },
            }
            for spec in pool.llm_specs()
            if spec.price is not None
        ],
        "encoder": {"kind": "hashing"},
        "store": {"path": str(path.with_suffix(".db"))},
        "gateway": {"port": 0, "llm_key_variables": ["K", "NEW_KEY"]},
        **sections,
    }
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def chat(url: str, text: str, *, key: str | None = None) -> dict[str, Any]:
    """Ask the gateway at `url` something, and return the answer."""
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
    body = json.dumps({"model": "mixllm/auto", "messages": [{"role": "user", "content": text}]}).encode()
    answer = exchange(f"{url}/v1/chat/completions", method="POST", body=body, headers=headers, timeout_s=LIMIT_S)
    assert answer.status == 200, answer.body
    reply: dict[str, Any] = json.loads(answer.body)
    return reply


def decide(url: str, text: str) -> dict[str, Any]:
    """Have the gateway at `url` decide about `text`, and return the decision."""
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    answer = exchange(
        f"{url}/v1/route",
        method="POST",
        body=body,
        headers={"Content-Type": "application/json"},
        timeout_s=LIMIT_S,
    )
    assert answer.status == 200, answer.body
    decision: dict[str, Any] = json.loads(answer.body)
    return decision


def stored(url: str, decision_id: str) -> dict[str, Any]:
    """Return what the gateway at `url` has stored of a decision."""
    answer = exchange(f"{url}/v1/decisions/{decision_id}", timeout_s=LIMIT_S)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found
