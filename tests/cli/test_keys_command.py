"""``mixllm keys``: a key is shown once, and the file holds its hash alone."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.cli.running import invoke, output_of, refusal

from mixllm.config import key_name, load_config
from mixllm.gateway.keys import key_ring
from mixllm.types import Secret


def test_what_is_printed_works_as_it_is(tmp_path: Path) -> None:
    said = invoke("keys", "create", "team-a", "--scope", "chat").stdout
    key = said.splitlines()[0].rpartition(" ")[2]
    block = said[said.index("gateway:") : said.index("Decisions")]
    path = tmp_path / "m.yaml"
    path.write_text(block)

    found = key_ring(load_config(path).gateway, {}).find(key)
    assert found is not None
    assert (found.name, found.scopes, found.key_id) == ("team-a", frozenset({"chat"}), key_name(Secret(key)))
    assert key.startswith("mxk_")
    assert key not in block
    assert len(yaml.safe_load(block)["gateway"]["keys"]) == 1
    assert found.key_id in said


def test_each_key_is_another_one() -> None:
    first, second = (output_of("keys", "create", "a") for _ in range(2))

    assert first["key"] != second["key"]
    assert len(first["key"]) >= 40
    assert first["entry"]["scopes"] == ["chat", "feedback"]


def test_a_key_of_one_s_own_is_hashed_from_stdin(tmp_path: Path) -> None:
    key = "my-own-key-that-is-long-enough-to-be-one"
    said = invoke("keys", "hash", "team-b", stdin=f"{key}\n").stdout
    (tmp_path / "m.yaml").write_text(said[said.index("gateway:") : said.index("Decisions")])

    assert key not in said
    assert key_ring(load_config(tmp_path / "m.yaml").gateway, {}).find(key) is not None


def test_a_key_that_can_be_guessed_is_refused() -> None:
    assert "can be guessed" in refusal(invoke("keys", "hash", "x", stdin="short\n"))
    assert "name must be" in refusal(invoke("keys", "create", "two words"))


def test_keys_are_listed_without_any_secret(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "gateway:\n  api_keys: [plain-secret]\n  keys:\n"
        "    - {name: a, key: other-secret, allowed_llms: [x], requests_per_minute: 7, expires: 2030-01-01}\n"
    )
    plain, limited = output_of("keys", "list", "-c", str(path))["keys"]
    shown = invoke("keys", "list", "-c", str(path)).stdout

    assert plain["scopes"] == ["admin", "chat", "feedback", "metrics"]
    assert (limited["name"], limited["allowed_llms"], limited["requests_per_minute"]) == ("a", ["x"], 7)
    assert limited["expires"] == "2030-01-01"
    assert "secret" not in shown
    assert limited["key_id"] in shown
