"""``mixllm whatif`` on stores that a real router has filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.running import invoke, output_of, refusal, run
from tests.evaluation.offpolicy.routed import FORCED, TRUE_QUALITY, UNANSWERED, filled_store

from mixllm.config import PolicyConfig, ShadowConfig


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(filled_store(tmp_path_factory.mktemp("whatif") / "mixllm.db", decisions=500))


def config_of(store: str, path: Path, **policy: Any) -> str:
    path.write_text(yaml.safe_dump({"store": {"path": store}, "routing": {"policy": policy}}))
    return str(path)


def test_another_policy_beside_the_logged_one(store: str) -> None:
    said = output_of("whatif", "--policy", "greedy", "--lambda", "20", "--store", store, "--level", "0.99")
    assert (said["decisions"], said["forced"], said["without_outcome"]) == (500, FORCED, UNANSWERED)
    assert (said["policy"], said["trade_off"], said["logged_policies"]) == ("greedy", 20, {"squarecb": 500})
    expected = sum(TRUE_QUALITY[llm] * one["target_share"] for llm, one in said["llms"].items())
    estimates = said["quality"]["estimates"]
    assert list(estimates) == ["ips", "snips", "dr"]
    for name, found in ((name, one["target"]) for name, one in estimates.items()):
        assert found["low"] < expected < found["high"], name
    assert said["quality"]["support"]["effective_sample_size"] > 30
    assert said["judged_share"] == pytest.approx(0.7, abs=0.08)
    assert said["cost_usd"]["logged"]["value"] > 0
    assert output_of("whatif", "--policy", "greedy", "--lambda", "20", "--store", store, "--level", "0.99") == said
    other_seed = output_of(
        "whatif", "--policy", "greedy", "--lambda", "20", "--store", store, "--level", "0.99", "--seed", "1"
    )
    again = other_seed["quality"]["estimates"]["dr"]["target"]
    assert again["value"] == estimates["dr"]["target"]["value"]
    assert again["low"] != estimates["dr"]["target"]["low"]


def test_the_configuration_names_store_and_settings(store: str, tmp_path: Path) -> None:
    path = config_of(store, tmp_path / "m.yaml", name="ucb", gap_weight=8.0, warmup_judgements=20, warmup_share=0.3)
    said = output_of("whatif", "--policy", "squarecb", "-c", path, "--estimator", "snips", "--interval", "normal")
    assert said["quality"]["support"]["effective_sample_size"] == pytest.approx(
        said["quality"]["support"]["seen"], 0.05
    )
    assert said["quality"]["estimates"]["snips"]["difference"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert list(said["score"]["estimates"]) == ["snips"]
    assert said["trade_off"] is None


def test_an_export_and_its_store_agree(store: str, tmp_path: Path) -> None:
    out = str(tmp_path / "export")
    assert invoke("data", "export", "--store", store, "--out", out).exit_code == 0
    asked = ("whatif", "--policy", "greedy", "--lambda", "3", "--interval", "normal")
    one, other = output_of(*asked, "--store", store), output_of(*asked, "--data", out)
    for reward in ("quality", "cost_usd", "score"):
        for name in ("ips", "snips", "dr"):
            mine, theirs = (said[reward]["estimates"][name]["target"] for said in (one, other))
            assert theirs["value"] == pytest.approx(mine["value"], rel=1e-3)
            assert theirs["std_error"] == pytest.approx(mine["std_error"], rel=1e-2)
    assert one["forced"] == other["forced"]


def test_without_an_llm_and_for_people(store: str) -> None:
    asked = (
        "whatif",
        "--policy",
        "squarecb",
        "--without",
        "large",
        "--store",
        store,
        "--direct",
        "ridge",
        "--clip",
        "50",
    )
    said = output_of(*asked)
    assert said["llms"]["large"]["target_share"] == 0
    assert (said["without"], said["direct"], said["clip"]) == (["large"], "ridge", 50)
    shown = invoke(*asked).stdout
    assert (
        "What if squarecb with each decision's own λ, without large had decided? 500 decisions (by squarecb 500)"
        in shown
    )
    assert f"{FORCED} forced, {UNANSWERED} without an outcome" in shown
    assert "cost per decision" in shown
    assert "90% interval" in shown
    assert "Note: Only" in shown
    assert run(*asked).stdout == shown


def test_where_the_log_cannot_tell_it_says_so_and_ends_with_1(store: str, tmp_path: Path) -> None:
    certain = str(filled_store(tmp_path / "certain.db", decisions=60, policy=PolicyConfig(name="greedy")))
    said = refusal(invoke("whatif", "--policy", "squarecb", "--store", certain))
    assert "cannot say what this policy would have done" in said
    assert "squarecb or thompson" in said
    assert refusal(invoke("whatif", "--policy", "squarecb", "--store", certain, "--json")) == said
    unseen = refusal(invoke("whatif", "--policy", "greedy", "--without", "lage", "--store", store))
    assert "never seen an LLM named 'lage'. Did you mean 'large'?" in unseen
    few = str(filled_store(tmp_path / "few.db", decisions=12))
    assert "are needed" in refusal(invoke("whatif", "--policy", "squarecb", "--store", few))


def test_what_is_not_there_is_refused(store: str, tmp_path: Path) -> None:
    asked = ("whatif", "--policy", "greedy")
    missing = tmp_path / "none.db"
    assert "there is no store" in refusal(invoke(*asked, "--store", str(missing)))
    assert not missing.exists()
    assert "there is no such file" in refusal(invoke(*asked, "-c", str(tmp_path / "no.yaml")))
    assert "holds no candidates.parquet" in refusal(invoke(*asked, "--data", str(tmp_path)))
    memory = tmp_path / "memory.yaml"
    memory.write_text("store: {kind: memory}\n")
    assert "store.kind is memory" in refusal(invoke(*asked, "-c", str(memory)))
    assert "not both" in refusal(invoke(*asked, "--store", store, "--data", "x"), code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--policy", "best"],
        ["--policy", "greedy", "--lambda", "-1"],
        ["--policy", "greedy", "--level", "1"],
        ["--policy", "greedy", "--clip", "0"],
        ["--policy", "greedy", "--estimator", "dm"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert refusal(invoke("whatif", *arguments), code=2)


def test_a_logged_shadow_beside_the_live_policy(tmp_path: Path) -> None:
    shadows = (
        ShadowConfig(name="greedy", trade_off=20.0, policy=PolicyConfig(name="greedy")),
        ShadowConfig(name="curious", policy=PolicyConfig(name="squarecb", gap_weight=0.5)),
    )
    filled = str(filled_store(tmp_path / "m.db", decisions=400, shadow=shadows))
    said = output_of("whatif", "--shadow", "greedy", "--store", filled)
    assert said["shadow"] == "greedy"
    assert said["agreement"]["decisions"] == said["estimate"]["decisions"] == 400
    assert 0 < said["agreement"]["agreement"] < 1
    assert said["estimate"]["policy"] == "greedy"
    assert set(said["estimate"]["quality"]["estimates"]) == {"ips", "snips", "dr"}
    assert output_of("whatif", "--shadow", "0", "--store", filled) == said
    shown = invoke("whatif", "--shadow", "1", "--store", filled).stdout
    assert "The shadow curious (mean λ 1.4) beside the live policy (mean λ 1.4): 400 decisions of both" in shown
    assert "What if curious with each decision's own λ had decided?" in shown


def test_a_shadow_without_support_is_compared_in_its_choices_alone(tmp_path: Path) -> None:
    shadows = (ShadowConfig(policy=PolicyConfig(name="squarecb", gap_weight=0.5)),)
    filled = str(filled_store(tmp_path / "m.db", decisions=60, policy=PolicyConfig(name="greedy"), shadow=shadows))
    result = invoke("whatif", "--shadow", "shadow", "--store", filled)
    assert result.exit_code == 1
    assert "cannot say what this policy would have done" in result.stderr
    assert "60 decisions of both" in result.stdout
    assert "What if" not in result.stdout
    said = json.loads(invoke("whatif", "--shadow", "shadow", "--store", filled, "--json").stdout)
    assert (said["agreement"]["decisions"], said["estimate"]) == (60, None)
    assert "were never tried" in said["refusal"]


def test_a_shadow_is_asked_as_it_was_logged(store: str) -> None:
    assert "no decision with a shadow" in refusal(invoke("whatif", "--shadow", "0", "--store", store))
    for wrong in ((), ("--policy", "greedy", "--shadow", "0"), ("--shadow", "0", "--lambda", "2")):
        result = invoke("whatif", *wrong, "--store", store)
        assert result.exit_code == 2
