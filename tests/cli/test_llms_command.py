from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.running import KEY, Serving, invoke, output_of, refusal, run

FLAGS = ["--api-base", "http://127.0.0.1:1/v1", "--input-usd-per-million", "1", "--output-usd-per-million", "2.5"]


def names(url: str) -> list[str]:
    return [entry["spec"]["name"] for entry in output_of("llms", "list", "--url", url)["llms"]]


def test_list_shows_the_pool(gateway: Serving) -> None:
    result = invoke("llms", "list", "--url", gateway.url)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:6] == ["LLM", "model", "$/M", "in", "/", "out"]
    assert lines[0].split()[-4:] == ["wait", "TTFT", "TPOT", "breaker"]
    row = next(line for line in lines if line.startswith("atlas-large"))
    assert "$10.00 / $30.00" in row
    assert "json, tools" in row


def test_list_as_json(gateway: Serving) -> None:
    entry = next(
        e for e in output_of("llms", "list", "--url", gateway.url)["llms"] if e["spec"]["name"] == "fjord-tiny"
    )
    assert entry["spec"]["price"]["usd_per_million_tokens_out"] == pytest.approx(0.3)
    assert entry["in_flight"] == 0


def test_add_from_flags_and_remove(gateway: Serving) -> None:
    at = ["--url", gateway.url]
    added = output_of(
        *("llms", "add", "--name", "org/new one", "--model", "new", *FLAGS, *at),
        *("--context-window", "4096", "--capability", "vision", "--capability", "tools"),
        *("--api-key-env", "NEW_KEY", "--max-in-flight", "3"),
    )
    spec = added["added"][0]
    assert (spec["name"], spec["model"], spec["api_key_env"]) == ("org/new one", "new", "NEW_KEY")
    assert (spec["context_window"], spec["max_in_flight"]) == (4096, 3)
    assert sorted(spec["capabilities"]) == ["tools", "vision"]
    assert spec["price"]["usd_per_million_tokens_out"] == 2.5
    assert "org/new one" in names(gateway.url)
    assert "already in the pool" in refusal(invoke("llms", "add", "--name", "org/new one", *FLAGS, *at))
    assert output_of("llms", "remove", "org/new one", *at) == {"removed": "org/new one"}
    assert "org/new one" not in names(gateway.url)


def test_add_and_remove_say_what_they_did(gateway: Serving) -> None:
    added = run("llms", "add", "--name", "brief", *FLAGS, env={"MIXLLM_URL": gateway.url})
    assert (added.returncode, added.stdout) == (0, "Added brief ($1.00 / $2.50 per million tokens in / out).\n")
    removed = run("llms", "remove", "brief", "--url", gateway.url)
    assert removed.stdout.startswith("Removed brief.")


def test_update_changes_a_price_and_leaves_the_rest(gateway: Serving) -> None:
    at = ["--url", gateway.url]
    output_of("llms", "add", "--name", "repriced", *FLAGS, "--context-window", "4096", *at)
    spec = output_of("llms", "update", "repriced", "--input-usd-per-million", "0.5", *at)["updated"]
    said = invoke("llms", "update", "repriced", "--output-usd-per-million", "9", "--max-in-flight", "2", *at)
    listed = next(e["spec"] for e in output_of("llms", "list", *at)["llms"] if e["spec"]["name"] == "repriced")
    invoke("llms", "remove", "repriced", *at)
    assert (spec["price"]["usd_per_million_tokens_in"], spec["price"]["usd_per_million_tokens_out"]) == (0.5, 2.5)
    assert said.stdout == "Updated repriced ($0.50 / $9.00 per million tokens in / out).\n"
    assert (listed["context_window"], listed["max_in_flight"]) == (4096, 2)
    assert "Did you mean 'atlas-large'?" in refusal(invoke("llms", "update", "atlas-larg", "--max-in-flight", "1", *at))
    assert "Say what to change" in refusal(invoke("llms", "update", "atlas-large", *at), code=2)


def test_defaults_of_add(gateway: Serving) -> None:
    spec = output_of("llms", "add", "--name", "gpt-4o-mini", "--api-base", FLAGS[1], "--url", gateway.url)["added"][0]
    invoke("llms", "remove", "gpt-4o-mini", "--url", gateway.url)
    assert spec["price"]["usd_per_million_tokens_out"] == pytest.approx(0.6)
    assert sorted(spec["capabilities"]) == ["json", "tools"]


ENTRY = """
model_name: {name}
litellm_params: {{model: m, api_base: "http://127.0.0.1:1/v1", api_key: os.environ/K}}
model_info: {{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, supports_vision: true}}
"""


def listed(*entries: str) -> str:
    return "\n".join("- " + entry.strip().replace("\n", "\n  ") for entry in entries)


@pytest.mark.parametrize(
    "text",
    [
        ENTRY.format(name="one"),
        listed(ENTRY.format(name="one"), ENTRY.format(name="two")),
        "model_list:\n" + listed(ENTRY.format(name="one"), ENTRY.format(name="two")),
    ],
    ids=["entry", "list", "configuration"],
)
def test_add_from_a_file(gateway: Serving, tmp_path: Path, text: str) -> None:
    file = tmp_path / "entry.yaml"
    file.write_text(text)
    added = output_of("llms", "add", "--file", str(file), "--url", gateway.url)["added"]
    for spec in added:
        assert invoke("llms", "remove", spec["name"], "--url", gateway.url).exit_code == 0
    assert [spec["name"] for spec in added] == ["one", "two"][: text.count("model_name")]
    assert (added[0]["api_key_env"], added[0]["price"]["usd_per_million_tokens_in"]) == ("K", pytest.approx(1.0))
    assert "vision" in added[0]["capabilities"]


def test_what_was_added_before_a_failure_is_told(gateway: Serving, tmp_path: Path) -> None:
    file = tmp_path / "entry.yaml"
    file.write_text(listed(ENTRY.format(name="first"), ENTRY.format(name="atlas-large")))
    message = refusal(invoke("llms", "add", "--file", str(file), "--url", gateway.url))
    assert invoke("llms", "remove", "first", "--url", gateway.url).exit_code == 0
    assert "'atlas-large' is already in the pool" in message
    assert "Added before it: first." in message


def test_a_key_in_a_file_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "entry.yaml"
    file.write_text(ENTRY.format(name="one").replace("os.environ/K", "sk-written-out"))
    message = refusal(invoke("llms", "add", "--file", str(file), "--url", "http://127.0.0.1:9"))
    assert "write api_key: os.environ/NAME" in message
    assert "sk-written-out" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_nam: x", "unknown key 'model_nam'. Did you mean 'model_name'?"),
        ("model_list:\n- model_name: x\n  litelm_params: {}", "line 3: unknown key 'litelm_params'"),
        ("a: [", "line 1: is not valid YAML"),
        ("[]", "holds no LLM"),
        ("model_list: []", "holds no LLM"),
        ("", "Expected `object`, got `null`"),
        ("model_name: x\nlitellm_params: {model: y}", "no api_base is given"),
        ("a: &a [*a]", "unknown key 'a'"),
        ("2001-99-99", "is not valid YAML"),
    ],
)
def test_a_bad_file_is_a_message(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "entry.yaml"
    file.write_text(text)
    message = refusal(invoke("llms", "add", "--file", str(file), "--url", "http://127.0.0.1:9"))
    assert str(file) in message
    assert expected in message


def test_files_that_cannot_be_read_are_messages(tmp_path: Path) -> None:
    missing = refusal(invoke("llms", "add", "--file", str(tmp_path / "none.yaml")))
    assert "none.yaml: cannot be read (No such file or directory)" in missing
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    assert "is not UTF-8 text" in refusal(invoke("llms", "add", "--file", str(tmp_path / "latin.yaml")))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Give --name and --api-base, or --file"),
        (["--name", "x"], "Give --name and --api-base"),
        (["--name", "x", *FLAGS[:4]], "go together"),
        (["--name", "x", "--file", "f.yaml"], "leave the other flags out"),
        (["--name", "x", "--api-base", "http://h", "--capability", "flight"], "'flight' is not one of"),
        (["--name", "x", "--api-base", "http://h", "--context-window", "0"], "is not in the range"),
        (["--url", "localhost:8080"], "must begin with http://"),
        (["--url", "me:secret//me:secret@h"], "must begin with http://"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str) -> None:
    message = refusal(invoke("llms", "add", *arguments), code=2)
    assert expected in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "mixllm/x", *FLAGS], "does not begin with 'mixllm/'"),
        (["--name", "x", "--api-base", "h"], "api_base must be a URL"),
        (["--name", "x", *FLAGS[:3], "-1", *FLAGS[4:]], "usd_per_million_tokens_in must be a finite number >= 0"),
        (["--name", "x", *FLAGS[:3], "nan", *FLAGS[4:]], "usd_per_million_tokens_in must be a finite number >= 0"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_sent(arguments: list[str], expected: str) -> None:
    assert expected in refusal(invoke("llms", "add", *arguments, "--url", "http://127.0.0.1:9"))


def test_refusals_of_the_gateway_are_passed_on(gateway: Serving) -> None:
    at = ["--url", gateway.url]
    unknown = refusal(invoke("llms", "add", "--name", "no-such-model", "--api-base", FLAGS[1], *at))
    assert "No price is known for LLM 'no-such-model'" in unknown
    assert "--input-usd-per-million" in unknown
    assert "Did you mean 'atlas-large'?" in refusal(invoke("llms", "remove", "atlas-larg", *at))


@pytest.mark.parametrize("arguments", [["list"], ["remove", "x"], ["add", "--name", "x", *FLAGS]])
def test_without_a_gateway_there_is_a_next_step(arguments: list[str]) -> None:
    message = refusal(run("llms", *arguments, env={"MIXLLM_URL": "http://127.0.0.1:9"}))
    assert "No gateway answers at http://127.0.0.1:9 (Connection refused). Start one: mixllm serve." in message


@pytest.mark.parametrize("arguments", [["list"], ["remove", "x"], ["add", "--name", "x", *FLAGS]])
def test_wrong_keys_are_messages_without_the_key(guarded: Serving, arguments: list[str]) -> None:
    at = ["--url", guarded.url]
    assert "asks for an API key" in refusal(invoke("llms", *arguments, *at))
    message = refusal(invoke("llms", *arguments, *at, env={"MIXLLM_API_KEY": "sk-wrong"}))
    assert "refuses the API key" in message
    assert "sk-wrong" not in message


def test_the_right_key_opens(guarded: Serving) -> None:
    by_variable = invoke("llms", "list", "--url", guarded.url, "--json", env={"MIXLLM_API_KEY": KEY})
    by_option = invoke("llms", "list", "--url", guarded.url, "--json", "--api-key", KEY)
    assert by_variable.stdout == by_option.stdout
    assert len(json.loads(by_option.stdout)["llms"]) == 6
    assert KEY not in by_option.output
