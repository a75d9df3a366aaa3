from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.cli.running import invoke, output_of, refusal
from tests.learning.offline.planted_log import LLMS, TOPICS, partial, planted_log, topic_labels

from mixllm import Outcome, Router
from mixllm.cli.train import _share
from mixllm.config import EncoderConfig, PolicyConfig, RoutingConfig
from mixllm.encoders import LexicalEncoder, StaticEncoder
from mixllm.learning.store_export import export_log
from mixllm.logs import open_log, write_log
from mixllm.saved_router import SavedRouter
from mixllm.store import SQLiteStore
from mixllm.tags.labelling import TagLabels
from mixllm.types import LLMSpec, Price

QUERIES = 80


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written log whose column ``topic`` says what queries are about."""
    folder = tmp_path_factory.mktemp("log") / "planted"
    write_log(planted_log(QUERIES), folder)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("trained") / "model"
    return out, output_of("train", "--data", str(data), "--out", str(out))


def exported(folder: Path, *, store_prompts: bool, encoder: Literal["wordllama", "hashing"] = "wordllama") -> Path:
    """Route, judge and export some queries of the planted log."""
    store = SQLiteStore(path=folder / "store.db")
    specs = [
        LLMSpec(name=name, price=Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd))
        for name, usd in zip(LLMS, (1.0, 1.0, 10.0), strict=True)
    ]
    router = Router(
        llms=specs,
        encoder=EncoderConfig(kind=encoder),
        routing=RoutingConfig(policy=PolicyConfig(name="squarecb", gap_weight=1.0)),
        store=store,
        store_prompts=store_prompts,
        seed=3,
    )
    log = planted_log(40)
    with router:
        for row, text in enumerate(log.prompts):
            decision = router.route(text, llm=LLMS[row % 3])
            router.record(decision.decision_id, Outcome(tokens_in=20, tokens_out=50 + row, latency_s=1.0))
            if row % 4:
                router.feedback(decision.decision_id, quality=float(log.quality[row, row % 3]))
        router.learn()
        export_log(store, folder / "export", encoder_fingerprint=router.encoder.fingerprint)
    return folder / "export"


def test_from_a_log_to_a_model(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, report = trained
    assert json.loads((out / "report.json").read_text()) == report
    assert (report["queries"], report["llms"], report["tags"]) == (QUERIES, list(LLMS), list(TOPICS))
    assert (report["tag_source"], report["recipe"], report["seed"]) == ("column:topic", "mixllm", 0)
    assert (report["data"], report["reference"]) == (str(data), "large")
    assert report["prices"]["large"]["usd_per_million_tokens_out"] == pytest.approx(10.0)
    assert report["appraisal"]["queries"] == QUERIES // 5
    assert report["appraisal"]["tag_accuracy"] > 0.6
    assert report["appraisal"]["llms"]["large"]["quality_coverage"] is None, "too few for a bin"
    assert [path.name for path in out.parent.iterdir()] == ["model"], "no encodings are left beside it"
    saved = SavedRouter.from_folder(out)
    assert saved.features is not None
    assert report["vocabulary"] == saved.features.vocabulary.version
    with Router.load(out) as router:
        assert isinstance(router.encoder, LexicalEncoder)
        assert router.learner.snapshot().judgements == (QUERIES,) * 3


def test_the_model_serves_from_a_configuration(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, _ = trained
    path = tmp_path / "mixllm.yaml"
    usd = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    pool = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **usd}} for name in LLMS]
    settings = {"model_list": pool, "learning": {"model": str(out)}, "store": {"path": str(tmp_path / "s.db")}}
    path.write_text(json.dumps(settings))
    decision = output_of("route", "-c", str(path), "sums1 sums4 common2")
    assert decision["tags"][0]["tag"] == "sums"
    assert {one["forecast"]["judgements"] for one in decision["candidates"]} == {float(QUERIES)}
    shown = invoke("route", "-c", str(path), "verse1 verse2")
    assert shown.exit_code == 0
    assert "tags: verse" in shown.stdout
    path.write_text(json.dumps(settings | {"encoder": {"kind": "hashing"}}))
    message = refusal(invoke("route", "-c", str(path), "sums1"))
    assert "encoder: the model in learning.model was trained with encoder kind 'wordllama'" in message
    path.write_text(json.dumps(settings | {"learning": {"model": str(tmp_path / "nowhere")}}))
    assert "holds no saved router" in refusal(invoke("route", "-c", str(path), "sums1"))


def test_people_see_a_table(data: Path, tmp_path: Path) -> None:
    result = invoke("train", "--data", str(data), "--out", str(tmp_path / "model"), "--label", "topic")
    assert result.exit_code == 0, result.stderr
    assert "80 queries, 3 LLMs, 3 tags (column:topic)" in result.stdout
    assert "Tags right on 16 held-out queries" in result.stdout
    for llm in LLMS:
        assert llm in result.stdout
    assert "learning: {model:" in " ".join(result.stdout.split())


@pytest.mark.parametrize(("given", "shown"), [(None, "–"), (float("nan"), "–"), (0.5, "50.0%")])
def test_shares(given: float | None, shown: str) -> None:
    assert _share(given) == shown


def test_clusters_serve_as_tags(data: Path, tmp_path: Path) -> None:
    report = output_of("train", "--data", str(data), "--out", str(tmp_path / "m"), "--clusters", "4")
    assert report["tag_source"] == "clusters"
    assert 2 <= len(report["tags"]) <= 4


def test_labels_of_a_file_serve_as_tags(data: Path, tmp_path: Path) -> None:
    every = topic_labels(planted_log(QUERIES))
    rows = np.random.default_rng(0).permutation(QUERIES)[:60]
    some = TagLabels(
        vocabulary=every.vocabulary,
        query_ids=tuple(every.query_ids[row] for row in rows),
        weights=every.weights[rows],
    )
    some.save(tmp_path / "labels.json")
    base = ["train", "--data", str(data), "--out", str(tmp_path / "m"), "--tags", str(tmp_path / "labels.json")]
    report = output_of(*base)
    assert (report["vocabulary"], report["tags"]) == (every.vocabulary.version, list(TOPICS))
    assert report["appraisal"]["tag_accuracy"] > 0.5
    foreign = TagLabels(vocabulary=every.vocabulary, query_ids=("z",), weights=every.weights[:1])
    foreign.save(tmp_path / "labels.json")
    assert "has labels of other queries" in refusal(invoke(*base))
    blank = TagLabels(vocabulary=every.vocabulary, query_ids=every.query_ids, weights=every.weights * 0)
    blank.save(tmp_path / "labels.json")
    assert "has no tag for any query of the log" in refusal(invoke(*base))
    (tmp_path / "labels.json").write_text("{}")
    assert "damaged" in refusal(invoke(*base))


def test_a_seed_makes_the_same_model(trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path) -> None:
    out, _ = trained
    again = output_of("train", "--data", str(data), "--out", str(tmp_path / "m"), "--reference", "large")
    for name in ("features.safetensors", "state.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (out / name).read_bytes()
    other = output_of("train", "--data", str(data), "--out", str(tmp_path / "m"), "--seed", "5", "--reference", LLMS[0])
    assert (other["seed"], other["reference"]) == (5, LLMS[0])
    assert other["appraisal"] != again["appraisal"]


def test_a_stopped_run_takes_up_its_encodings(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cache = tmp_path / "m", tmp_path / ".m.encodings"
    base = ["train", "--data", str(data), "--out", str(out)]
    encoded: list[int] = []
    original = StaticEncoder.token_ids

    def counted(self: StaticEncoder, texts: Any) -> list[list[int]]:
        encoded.append(len(texts))
        return original(self, texts)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StaticEncoder, "token_ids", counted)
    with monkeypatch.context() as patched:
        patched.setattr("mixllm.cli.training_job.train", stopped)
        assert invoke(*base).exit_code == 130
    assert (encoded, cache.exists(), out.exists()) == ([QUERIES], True, False)
    np.testing.assert_allclose(
        load_file(cache)["encodings"], StaticEncoder.wordllama().encode_batch(open_log(data).texts)
    )
    kept = cache.read_bytes()
    other = tmp_path / "other"
    write_log(planted_log(QUERIES, seed=8), other)
    with monkeypatch.context() as patched:
        patched.setattr("mixllm.cli.training_job.train", stopped)
        for content, more, expected in (
            (kept, [], []),
            (kept[:-9], [], [QUERIES]),
            (b"junk", [], [QUERIES]),
            (kept, ["--fresh"], [QUERIES]),
            (kept, ["--data", str(other)], [QUERIES]),
        ):
            encoded.clear()
            cache.write_bytes(content)
            assert invoke(*base, *more).exit_code == 130
            assert encoded == expected, more
    cache.write_bytes(kept)
    encoded.clear()
    assert output_of(*base)["appraisal"] == trained[1]["appraisal"]
    assert (encoded, cache.exists()) == ([], False)


def test_a_partial_log(tmp_path: Path) -> None:
    log = planted_log(60)
    write_log(planted_log(60, **partial(log)), tmp_path / "log")
    report = output_of("train", "--data", str(tmp_path / "log"), "--out", str(tmp_path / "m"))
    assert report["appraisal"]["queries"] == 12


@pytest.mark.parametrize("store_prompts", [False, True])
def test_an_export_of_a_store(tmp_path: Path, store_prompts: bool) -> None:
    folder = exported(tmp_path, store_prompts=store_prompts)
    report = output_of("train", "--data", str(folder), "--out", str(tmp_path / "m"))
    assert (report["queries"], report["tag_source"]) == (40, "clusters")
    assert report["reference"] in LLMS
    with Router.load(tmp_path / "m") as router:
        assert sum(router.learner.snapshot().judgements) == 30
        assert isinstance(router.encoder, LexicalEncoder) is store_prompts
        one, two = router.route("sums1 sums2"), router.route("verse1 verse2")
        assert [tag.probability for tag in one.tags] != [tag.probability for tag in two.tags]


def test_an_export_of_a_trained_routers_store(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Its encodings have a lexical block behind those of the base encoder."""
    with Router.load(trained[0]) as router:
        for row, text in enumerate(planted_log(30).prompts):
            decision = router.route(text, llm=LLMS[row % 3])
            router.record(decision.decision_id, Outcome(tokens_in=20, tokens_out=50 + row, latency_s=1.0))
            router.feedback(decision.decision_id, quality=0.5)
        router.learn()
        export_log(router.store, tmp_path / "export", encoder_fingerprint=router.encoder.fingerprint)
    report = output_of("train", "--data", str(tmp_path / "export"), "--out", str(tmp_path / "m"), "--clusters", "2")
    assert report["queries"] == 30
    with Router.load(tmp_path / "m") as router:
        assert router.encoder.fingerprint == StaticEncoder.wordllama().fingerprint


def test_an_export_without_texts_of_another_encoder_is_refused(tmp_path: Path) -> None:
    folder = exported(tmp_path, store_prompts=False, encoder="hashing")
    message = refusal(invoke("train", "--data", str(folder), "--out", str(tmp_path / "m")))
    assert "has no texts, and its encodings are of encoder 'hashing" in message
    assert "privacy.store_prompts" in message


@pytest.mark.parametrize(
    ("more", "message", "code"),
    [
        (["--label", "topics"], "no column 'topics'. Did you mean 'topic'? It has: topic.", 1),
        (["--label", "topic", "--clusters", "3"], "tags come from one source", 2),
        (["--clusters", "1"], "is not in the range", 2),
        (["--reference", "larg"], "Did you mean 'large'?", 1),
        (["--recipe", "other"], "is not one of", 2),
        (["--tags", "nowhere.json"], "does not exist", 2),
        (["--data", "nowhere"], "does not exist", 2),
    ],
)
def test_wrong_usage_is_a_message(data: Path, tmp_path: Path, more: list[str], message: str, code: int) -> None:
    found = refusal(invoke("train", "--data", str(data), "--out", str(tmp_path / "m"), *more), code=code)
    assert message in " ".join(found.split())
    assert not (tmp_path / "m").exists()


def test_what_is_no_model_is_not_replaced(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr("mixllm.cli.training_job.train", None)  # it is said before anything is trained
    message = refusal(invoke("train", "--data", str(data), "--out", str(tmp_path)))
    assert "exists and is no saved router" in message
    deep = refusal(invoke("train", "--data", str(data), "--out", str(tmp_path / "notes.txt" / "m")))
    assert "cannot be written" in deep


def test_a_log_that_is_too_small(tmp_path: Path) -> None:
    write_log(planted_log(19), tmp_path / "log")
    message = refusal(invoke("train", "--data", str(tmp_path / "log"), "--out", str(tmp_path / "m")))
    assert "has 19 queries; training needs 20" in message


def test_the_smallest_log_trains_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(planted_log(20), tmp_path / "log")
    (tmp_path / "m").mkdir()
    monkeypatch.chdir(tmp_path / "m")
    assert output_of("train", "--data", str(tmp_path / "log"), "--out", ".")["queries"] == 20
    assert SavedRouter.from_folder(tmp_path / "m").features is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "m"]
