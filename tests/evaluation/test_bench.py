from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluation.worlds import ENCODER, domain_data, domain_log

from mixllm.errors import ConfigError, InvalidValueError, MissingExtraError
from mixllm.evaluation import bench as bench_module
from mixllm.evaluation.bench import BenchSettings, Progress, run_bench
from mixllm.evaluation.contender import Contender, Predictions, Split, TestData, TrainingData
from mixllm.evaluation.journal import JOURNAL_FILE, dataset_key
from mixllm.evaluation.metrics import METRICS
from mixllm.evaluation.plots import write_figures
from mixllm.evaluation.registry import ROUTERS
from mixllm.evaluation.results import Results, mean_and_error, write_results
from mixllm.evaluation.splits import prepare, random_splits
from mixllm.evaluation.tables import markdown
from mixllm.evaluation.trial import Trial, run_trial

QUICK = ("oracle", "knn", "carrot", "zero", "random", "cheapest", "single")


class Ours:
    """Stands for MixLLM itself."""

    name = "mixllm"
    folds = 1

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        del rng
        self.cost = training.log.mean_cost_usd()

    def predict(self, test: TestData) -> Predictions:
        likely = np.tile([0.3, 0.3, 1.0], (len(test), 1))
        return Predictions(quality=likely, cost_usd=np.tile(self.cost, (len(test), 1)))


@pytest.fixture(scope="module")
def results() -> Results:
    kept = dict(ROUTERS)
    ROUTERS["mixllm"] = Ours
    try:
        return run_bench(
            [domain_data(120), prepare(domain_log(80, seed=2, name="oth$er_1 | two"), encoder=ENCODER)],
            BenchSettings(routers=(*QUICK, "mixllm"), splits=2),
        )
    finally:
        ROUTERS.clear()
        ROUTERS.update(kept)


def test_the_file_has_the_promised_shape(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    tree = json.loads((tmp_path / "results.json").read_text())
    found = tree["datasets"]["world"]
    assert (found["reference"], found["splits"], found["queries"], found["label"]) == ("c", 2, 120, "domain")
    names = {"oracle", "knn", "carrot", "zero", "random", "cheapest", "single:a", "single:b", "single:c", "mixllm"}
    assert set(found["routers"]) == names
    for numbers in found["routers"].values():
        assert set(numbers) == set(METRICS)
        for number in numbers.values():
            assert set(number) == {"mean", "se"}
            assert number["mean"] is None or 0.0 <= number["mean"] <= 1.5
    assert found["routers"]["single:a"]["cost_at_97_25"] == {"mean": None, "se": None}
    assert found["routers"]["single:c"]["cost_at_97_25"] == {"mean": 1.0, "se": 0.0}
    assert found["reached"]["single:a"]["cost_at_97_25"] == 0
    assert set(found["bands"]) == names - {"mixllm"}
    assert "single:a" not in found["frontiers"]
    assert msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Results) == results


def test_a_metric_that_some_split_misses_has_no_mean() -> None:
    assert mean_and_error([0.5, None]).mean is None
    assert mean_and_error([None]).mean is None
    assert mean_and_error([0.5]) == mean_and_error([0.5])
    assert mean_and_error([0.5]).se is None
    assert mean_and_error([1.0, 2.0, 3.0]).se == pytest.approx(1 / np.sqrt(3), abs=1e-6)


def test_tables_and_figures_are_there_for_every_log(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text == markdown(results)
    assert "## world" in text
    assert "| single:a | – | – |" in text
    assert "Gain of mixllm" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    linear = write_figures(results, tmp_path / "linear")
    paths = write_figures(results, tmp_path, log_cost=True)
    assert [path.name for path in paths] == [
        "frontier-world.svg",
        "frontier-world.png",
        "frontier-oth-er_1-two.svg",
        "frontier-oth-er_1-two.png",
    ]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    first = paths[0].read_bytes()
    assert b"<svg" in first
    assert linear[0].read_bytes() != first
    assert write_figures(results, tmp_path / "again", log_cost=True)[0].read_bytes() == first, "drawn again, the same"


def _counting(monkeypatch: pytest.MonkeyPatch, *, stop_after: int | None = None) -> list[tuple[str, str]]:
    ran: list[tuple[str, str]] = []

    def counted(contender: Contender, split: Split) -> Trial:
        if stop_after is not None and len(ran) == stop_after:
            raise KeyboardInterrupt
        ran.append((split.name, contender.name))
        return run_trial(contender, split)

    monkeypatch.setattr(bench_module, "run_trial", counted)
    return ran


def _without_times(results: Results) -> Mapping[str, object]:
    tree = msgspec.to_builtins(results)
    for found in tree["datasets"].values():
        del found["seconds"]
    return dict(tree)


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [domain_data(60)]
    settings = BenchSettings(routers=("zero", "carrot", "random"), splits=3, out=tmp_path)
    before = _counting(monkeypatch, stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        run_bench(data, settings)
    assert len(before) == 4
    with (tmp_path / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"dataset":"torn')  # as by a crash in the middle of a line
    after = _counting(monkeypatch)
    seen: list[Progress] = []
    resumed = run_bench(data, settings, on_progress=seen.append)
    assert len(after) == 5
    assert not set(after) & set(before)
    assert [step.done for step in seen] == list(range(1, 10))
    assert [step.seconds for step in seen][:4] == [0.0] * 4
    assert {step.total for step in seen} == {9}
    whole = run_bench(data, BenchSettings(routers=settings.routers, splits=3))
    assert _without_times(resumed) == _without_times(whole)


def _ran(monkeypatch: pytest.MonkeyPatch, settings: BenchSettings, *, queries: int = 60, seed: int = 0) -> int:
    ran = _counting(monkeypatch)
    run_bench([domain_data(queries, seed=seed)], settings)
    return len(ran)


def test_only_trials_of_the_same_data_and_settings_are_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BenchSettings(routers=("zero", "cheapest"), splits=2, out=tmp_path)
    assert _ran(monkeypatch, settings) == 4
    assert _ran(monkeypatch, settings) == 0
    assert _ran(monkeypatch, _with(settings, splits=3)) == 2
    assert _ran(monkeypatch, _with(settings, seed=1)) == 4
    assert _ran(monkeypatch, settings, seed=9) == 4, "another log of the same name"
    assert _ran(monkeypatch, _with(settings, fresh=True)) == 4
    assert _ran(monkeypatch, settings) == 0


def _with(settings: BenchSettings, **changed: object) -> BenchSettings:
    fields = {name: getattr(settings, name) for name in BenchSettings.__slots__}
    return BenchSettings(**(fields | changed))


def test_the_key_sees_every_change() -> None:
    plain = domain_data(40)
    keys = {
        dataset_key(plain, seed=0),
        dataset_key(plain, seed=1),
        dataset_key(domain_data(40, seed=1), seed=0),
        dataset_key(domain_data(40, reference="a"), seed=0),
        dataset_key(domain_data(41), seed=0),
    }
    assert len(keys) == 5
    assert dataset_key(domain_data(40), seed=0) in keys


def test_domains_can_be_held_out() -> None:
    found = run_bench([domain_data(120)], BenchSettings(routers=("zero",), by_domain=True)).datasets["world"]
    assert found.split_names == ["domain=law", "domain=sums", "domain=verse"]
    assert found.splits == 3


@pytest.mark.parametrize("routers", [("nearest",), (), ("zero", "zero")])
def test_bad_routers_are_refused_before_anything_is_run(routers: Sequence[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="routers"):
        run_bench([domain_data(40)], BenchSettings(routers=tuple(routers), out=tmp_path))
    assert not (tmp_path / JOURNAL_FILE).exists()


def test_logs_need_names_of_their_own() -> None:
    with pytest.raises(InvalidValueError, match="names of their own"):
        run_bench([domain_data(40), domain_data(50)], BenchSettings())
    with pytest.raises(InvalidValueError, match="datasets"):
        run_bench([], BenchSettings())


def test_a_folder_that_cannot_be_written_is_a_clear_error(results: Results, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(ConfigError, match="--out"):
        run_bench([domain_data(40)], BenchSettings(routers=("zero",), out=taken))
    with pytest.raises(ConfigError, match="taken"):
        write_results(results, taken)
    with pytest.raises(ConfigError, match="taken"):
        write_figures(results, taken)


@pytest.mark.parametrize("name", ["rf", "mlp", "kmeans", "tag-mean"])
def test_without_scikit_learn_the_error_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "sklearn")
    split = next(random_splits(domain_data(60), splits=1, seed=0))
    with pytest.raises(MissingExtraError, match=r"mixllm\[bench\]"):
        run_trial(ROUTERS[name](), split)


def test_without_matplotlib_too(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match=r"mixllm\[bench\]"):
        write_figures(results, tmp_path)


def _hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = builtins.__import__

    def guarded(name: str, *arguments: object, **named: object) -> object:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **named)  # type: ignore[arg-type]

    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", guarded)


def test_a_contender_that_predicts_another_shape_is_refused() -> None:
    class Wrong(Ours):
        def predict(self, test: TestData) -> Predictions:
            return Predictions(quality=np.zeros((len(test), 2)), cost_usd=np.zeros((len(test), 2)))

    with pytest.raises(InvalidValueError, match="mixllm's predictions"):
        run_trial(Wrong(), next(random_splits(domain_data(40), splits=1, seed=0)))
