from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest
import yaml
from tests.cli.running import LIMIT_S, Serving, chat, invoke, refusal

from mixllm.cli.gateway_api import exchange
from mixllm.config import load_config
from mixllm.logs import RoutingLog, write_log
from mixllm.playback import AnswerBook, synthetic_log

QUICK = ["playback", "--port", "0", "--time-scale", "0", "--queries", "40"]


def models(url: str) -> list[str]:
    answer = exchange(f"{url}/models", timeout_s=LIMIT_S)
    return [model["id"] for model in json.loads(answer.body)["data"]]


def renamed(log: RoutingLog, *llms: str) -> RoutingLog:
    fields = {name: getattr(log, name) for name in RoutingLog.__dataclass_fields__}
    return RoutingLog(**{**fields, "llms": llms})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_cleanly(number: signal.Signals) -> None:
    with Serving(QUICK, as_json=False) as playback:
        said = playback.first_line
        assert said.startswith("6 LLMs answer at http://127.0.0.1:")
        url = said.split()[4].rstrip(":")
        assert len(models(url)) == 6
        assert said.endswith(f"Next: curl -s {url}/models\n")
        assert playback.end(number) == 0
    assert playback.stderr == ""


def test_from_playback_to_an_answer_with_the_printed_commands(tmp_path: Path) -> None:
    path = tmp_path / "my pool.yaml"
    with Serving([*QUICK, "--synthetic", "--seed", "3", "--write-config", str(path)]) as playback:
        said = playback.said
        assert said["config"] == str(path)
        assert said["next"] == f"mixllm serve --config '{path}'"
        assert said["llms"] == models(said["url"])
        with Serving(["serve", "--config", str(path), "--port", "0"]) as gateway:
            question = synthetic_log(queries=40, seed=3).prompts[0]
            assert chat(gateway.url, question)["choices"][0]["message"]["content"]
    assert path.with_suffix(".db").exists()


def test_the_configuration_has_the_prices_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "mixllm.yaml"
    with Serving([*QUICK, "--write-config", str(path)]) as playback:
        specs = {spec.name: spec for spec in load_config(path).specs()}
    book = AnswerBook(log=synthetic_log(queries=40))
    assert set(specs) == set(book.llms)
    for name, spec in specs.items():
        assert spec.price is not None
        expected = book.price(name)
        assert spec.price.usd_per_million_tokens_out == pytest.approx(expected.usd_per_million_tokens_out)
        assert (spec.upstream_model, spec.api_base) == (name, playback.url)
    assert load_config(path).routing.reference_llm == "atlas-large"


def test_a_log_is_played_back_and_names_with_a_prefix_stay_whole(tmp_path: Path) -> None:
    log = renamed(synthetic_log(queries=20, llms=["atlas-large", "fjord-tiny"]), "openai/gpt-x", "fjord-tiny")
    write_log(log, tmp_path / "log")
    path = tmp_path / "mixllm.yaml"
    data = ["playback", "--data", str(tmp_path / "log"), "--queries", "5", "--port", "0", "--time-scale", "0"]
    with Serving([*data, "--write-config", str(path)]) as playback:
        assert sorted(models(playback.url)) == ["fjord-tiny", "openai/gpt-x"]
    specs = {spec.name: spec.upstream_model for spec in load_config(path).specs()}
    assert specs == {"openai/gpt-x": "openai/gpt-x", "fjord-tiny": "fjord-tiny"}


def test_listening_everywhere_writes_an_address_that_works(tmp_path: Path) -> None:
    path = tmp_path / "mixllm.yaml"
    with Serving([*QUICK, "--host", "0.0.0.0", "--write-config", str(path)]) as playback:
        assert playback.url.startswith("http://127.0.0.1:")
        assert len(models(str(load_config(path).specs()[0].api_base))) == 6


def test_another_file_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mixllm.yaml"
    path.write_text("mine: true\n")
    message = refusal(invoke(*QUICK, "--write-config", str(path)))
    assert "exists. Give --write-config another path, or --force" in message
    assert path.read_text() == "mine: true\n"
    with Serving([*QUICK, "--write-config", str(path), "--force"]):
        assert len(yaml.safe_load(path.read_text())["model_list"]) == 6


def test_the_same_file_may_be_written_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    arguments = [*QUICK, "--port", port, "--write-config", str(tmp_path / "mixllm.yaml")]
    for _ in range(2):
        with Serving(arguments) as playback:
            assert playback.url == f"http://127.0.0.1:{port}/v1"


def test_a_file_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="cannot be written") as caught,
        Serving([*QUICK, "--write-config", str(tmp_path / "no" / "x.yaml")]),
    ):
        pass
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--synthetic", "--data", "x"], "Give either --data or --synthetic"),
        (["--port", "70000"], "is not in the range"),
        (["--queries", "0"], "is not in the range"),
        (["--time-scale", "fast"], "is not a valid float"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str) -> None:
    assert expected in refusal(invoke("playback", *arguments), code=2)


def test_bad_values_are_messages(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(invoke("playback", "--data", str(tmp_path / "none")))
    assert "time_scale must be" in refusal(invoke(*QUICK, "--time-scale", "-1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "free to listen on" in refusal(invoke(*QUICK, "--port", port))
