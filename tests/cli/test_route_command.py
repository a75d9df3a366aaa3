from __future__ import annotations

import json
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml
from tests.cli.running import KEY, Serving, decide, invoke, output_of, pool_config, refusal, run, stored

from mixllm.cli.route_table import why_not
from mixllm.playback import PlaybackServer
from mixllm.types import Candidate, Decision, Estimate, Forecast


def config_of(gateway: Serving) -> Path:
    return Path(gateway.arguments[2])


def stored_decisions(config_path: Path) -> int:
    with closing(sqlite3.connect(yaml.safe_load(config_path.read_text())["store"]["path"])) as store:
        return int(store.execute("SELECT count(*) FROM decisions").fetchone()[0])


def with_vision(pool: PlaybackServer, path: Path) -> Path:
    tree = yaml.safe_load(pool_config(pool, path).read_text())
    tree["model_list"][1]["model_info"]["supports_vision"] = True
    tree["model_list"][2]["model_info"]["supports_function_calling"] = False
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_table_explains(config_path: Path) -> None:
    tree = yaml.safe_load(config_path.read_text())
    config_path.write_text(yaml.safe_dump({**tree, "routing": {"policy": {"name": "ucb"}}}))  # No draw decides.
    result = invoke(
        "route", "-c", str(config_path), "What is 12 times 7?", "--allow", "atlas-large", "--allow", "fjord-tiny"
    )
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith("→ fjord-tiny: best score")
    assert "λ 1.4 · policy ucb · p 1.000 · tags: " in lines[1]
    rows = {line.replace("→", " ").split()[0]: line for line in lines[3:] if line.strip()}
    assert rows["fjord-tiny"].startswith("→")
    assert "±" in rows["fjord-tiny"]
    assert "costs more (-" in rows["atlas-large"]
    assert "not among the allowed LLMs" in rows["boreal-pro"]


def test_a_decision_made_here_leaves_nothing_behind(config_path: Path) -> None:
    decision = output_of("route", "-c", str(config_path), "Hello")
    assert {candidate["llm"] for candidate in decision["candidates"]} >= {"atlas-large", "fjord-tiny"}
    assert sum(candidate["propensity"] for candidate in decision["candidates"]) == pytest.approx(1)
    assert sorted(path.name for path in config_path.parent.iterdir()) == ["mixllm.yaml"]


def test_it_knows_what_a_running_gateway_has_learned_and_writes_nothing(gateway: Serving) -> None:
    path = config_of(gateway)
    decision = decide(gateway.url, "Name a colour of the rainbow.")

    def judgements() -> float:
        allowed = ["--allow", decision["llm"]]
        shown = output_of("route", "Name a colour of the rainbow.", "-c", str(path), *allowed)
        return float(shown["candidates"][0]["forecast"]["judgements"])

    before = judgements()
    # Returns when the judgement is durable, and with it every decision before it.
    assert invoke("feedback", decision["decision_id"], "--quality", "0.1", "--url", gateway.url).exit_code == 0
    decisions = stored_decisions(path)
    assert judgements() == pytest.approx(before + 1)
    assert stored_decisions(path) == decisions


def test_it_knows_llms_that_were_added_at_run_time(gateway: Serving) -> None:
    free = ["--input-usd-per-million", "0", "--output-usd-per-million", "0"]
    added = invoke("llms", "add", "--name", "late", "--api-base", "http://127.0.0.1:1/v1", *free, "--url", gateway.url)
    assert added.exit_code == 0
    decision = output_of("route", "-c", str(config_of(gateway)), "Hello", "--allow", "late")
    assert decision["llm"] == "late"
    assert invoke("llms", "remove", "late", "--url", gateway.url).exit_code == 0
    message = refusal(invoke("route", "-c", str(config_of(gateway)), "Hello", "--allow", "late"))
    assert "No LLM named 'late' in the pool" in message


def test_a_gateway_may_be_asked_and_keeps_the_decision(gateway: Serving) -> None:
    decision = output_of(
        *("route", "Hello", "--url", gateway.url, "--lambda", "3", "--max-cost-usd", "0.5"),
        *("--allow", "atlas-large", "--allow", "ember-mini", "--max-tokens-out", "9"),
    )
    assert decision["trade_off"] == 3
    assert {candidate["llm"] for candidate in decision["candidates"]} == {"atlas-large", "ember-mini"}
    assert max(candidate["forecast"]["tokens_out"]["mean"] for candidate in decision["candidates"]) <= 9
    assert stored(gateway.url, decision["decision_id"])["decision"] == decision


def test_the_table_is_the_same_from_a_gateway(gateway: Serving) -> None:
    result = run("route", "What is 12 times 7?", "--url", gateway.url)
    assert result.stdout.startswith("→ ")
    assert "why not" in result.stdout


@pytest.mark.parametrize("where", ["here", "gateway"])
def test_needs_rule_out(pool: PlaybackServer, tmp_path: Path, where: str) -> None:
    path = with_vision(pool, tmp_path / "mixllm.yaml")

    def able(need: str, place: list[str]) -> set[str]:
        decision = output_of("route", "What do you see?", "--needs", need, *place)
        return {candidate["llm"] for candidate in decision["candidates"]}

    with ExitStack() as stack:
        place = ["-c", str(path)]
        if where == "gateway":
            place = ["--url", stack.enter_context(Serving(["serve", "-c", str(path)])).url]
        assert able("vision", place) == {"boreal-pro"}
        assert able("json", place) == set(pool.book.llms)
        assert able("tools", place) == set(pool.book.llms) - {"cobalt-coder"}
        assert "cannot do audio" in refusal(invoke("route", "What do you hear?", "--needs", "audio", *place))


def test_an_image_in_the_messages_is_a_need(pool: PlaybackServer, tmp_path: Path) -> None:
    path = with_vision(pool, tmp_path / "mixllm.yaml")
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
    for tree in (messages, {"model": "any", "messages": messages}):
        (tmp_path / "chat.json").write_text(json.dumps(tree))
        decision = output_of("route", "--messages", str(tmp_path / "chat.json"), "-c", str(path))
        assert decision["llm"] == "boreal-pro"


def test_the_query_may_come_from_stdin(config_path: Path) -> None:
    by_argument = output_of("route", "-c", str(config_path), "Solve x^2 = 4.")
    by_stdin = json.loads(invoke("route", "-c", str(config_path), "-", "--json", stdin="Solve x^2 = 4.").stdout)
    assert by_stdin["tags"] == by_argument["tags"]
    assert by_stdin["tokens_in"] == by_argument["tokens_in"]
    assert "is not UTF-8" in refusal(invoke("route", "-c", str(config_path), "-", stdin=b"\xff"))


def test_a_seed_repeats_the_draw(pool: PlaybackServer, tmp_path: Path) -> None:
    policy = {"policy": {"name": "thompson", "scale": 3.0}}
    path = pool_config(pool, tmp_path / "mixllm.yaml", routing=policy)
    drawn = [output_of("route", "-c", str(path), "Hello", "--seed", str(seed))["llm"] for seed in (1, 1, 2, 3, 4, 5)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Give either TEXT or --messages"),
        (["Hello", "--messages", "x.json"], "Give either TEXT or --messages"),
        (["  "], "The query is empty"),
        (["Hello", "--needs", "wings"], "'wings' is not one of"),
        (["Hello", "--url", "http://h", "-c", "x.yaml"], "Give one of them"),
        (["Hello", "--url", "http://h", "--seed", "1"], "--seed is for decisions made here"),
        (["Hello", "--url", "h:80"], "must begin with http://"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str) -> None:
    assert expected in refusal(invoke("route", *arguments), code=2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--lambda", "-1"], "trade_off must be"),
        (["--min-quality", "2"], "min_quality must be"),
        (["--max-tokens-out", "0"], "max_tokens_out must be"),
        (["--max-cost-usd", "0"], "No LLM of the pool can take this query"),
        (["--allow", "atlas-larg"], "Did you mean 'atlas-large'?"),
    ],
)
def test_refusals_made_here(config_path: Path, arguments: list[str], expected: str) -> None:
    assert expected in refusal(invoke("route", "-c", str(config_path), "Hello", *arguments))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "is not JSON"),
        ("[]", "holds no messages"),
        ('{"message": []}', "holds no messages"),
        ("[1]", "holds no messages"),
        ('[{"role": "poet", "content": "hi"}]', "messages[0].role must be"),
    ],
)
def test_bad_messages_are_messages(config_path: Path, tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "chat.json").write_text(content)
    assert expected in refusal(invoke("route", "-c", str(config_path), "--messages", str(tmp_path / "chat.json")))


def test_missing_files_are_messages(tmp_path: Path, config_path: Path) -> None:
    assert "there is no such file" in refusal(run("route", "Hello", cwd=tmp_path / ".."))
    missing = refusal(invoke("route", "-c", str(config_path), "--messages", str(tmp_path / "none.json")))
    assert "none.json: cannot be read" in missing


def test_a_damaged_store_is_a_message(config_path: Path) -> None:
    config_path.with_suffix(".db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert "damaged" in refusal(invoke("route", "-c", str(config_path), "Hello"))


def test_no_gateway_and_wrong_key_are_messages(guarded: Serving) -> None:
    assert "Start one: mixllm serve" in refusal(invoke("route", "Hello", "--url", "http://127.0.0.1:9"))
    message = refusal(invoke("route", "Hello", "--url", guarded.url, env={"MIXLLM_API_KEY": "sk-wrong"}))
    assert "refuses the API key" in message
    assert "sk-wrong" not in message
    assert output_of("route", "Hello", "--url", guarded.url, env={"MIXLLM_API_KEY": KEY})["llm"]


def candidate(llm: str, *, quality: float, cost_usd: float, score: float) -> Candidate:
    def sure(mean: float) -> Estimate:
        return Estimate(mean=mean, std=0.0)

    forecast = Forecast(
        quality=sure(quality),
        tokens_out=sure(1),
        cost_usd=sure(cost_usd),
        ttft_s=sure(1),
        wait_s=0.0,
        latency_s=sure(1),
    )
    return Candidate(llm=llm, forecast=forecast, score=score, propensity=0.5)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (candidate("b", quality=0.6, cost_usd=0.0, score=0.3), "lower quality (-0.100)"),
        (candidate("b", quality=0.9, cost_usd=1.0, score=-0.05), "costs more (-0.500)"),
        (candidate("b", quality=0.8, cost_usd=0.0, score=0.1), "slower (-0.300)"),
        (candidate("b", quality=0.6, cost_usd=0.5, score=0.05), "costs more (-0.250), lower quality (-0.100)"),
        (candidate("b", quality=0.9, cost_usd=0.0, score=0.45), "scores 0.050 more, but thompson explored"),
        (candidate("b", quality=0.8, cost_usd=0.0, score=0.4), "no better"),
    ],
)
def test_why_not_names_the_terms_that_lost(other: Candidate, expected: str) -> None:
    chosen = candidate("a", quality=0.8, cost_usd=0.0, score=0.4)
    decision = Decision(
        decision_id="1",
        created_at_s=0.0,
        llm="a",
        reason="",
        policy="thompson",
        trade_off=1.0,
        cost_scale_usd=1.0,
        model_version=1,
        seed=1,
        tokens_in=1,
        tags=(),
        candidates=(chosen, other),
    )
    assert why_not(other, decision) == expected
    assert why_not(chosen, decision) == ""
