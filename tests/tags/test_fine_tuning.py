"""Fine-tuning a tiny model made here: it separates texts that it has not seen, resumes, and repeats itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tests.encoders.small_transformer import DOMAIN_WORDS, domain_texts, write_transformer

from mixllm.encoders import TransformerEncoder
from mixllm.errors import EncoderError, InvalidValueError, StateError
from mixllm.tags.fine_tuning import FineTuneReport, fine_tune
from mixllm.tags.separation import one_hot, separation_loss

pytestmark = pytest.mark.xdist_group("torch")

TEXTS, LABELS = domain_texts(24, seed=1)
HELD_OUT, THEIR_LABELS = domain_texts(12, seed=2)
QUICK: dict[str, Any] = {
    "texts": TEXTS,
    "labels": LABELS,
    "epochs": 3,
    "batch_size": 24,
    "learning_rate": 3e-3,
    "seed": 7,
    "device": "cpu",
}


class StoppedError(Exception):
    """Ends a training."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model to start from."""
    return write_transformer(tmp_path / "start")


def tune(model: Path, out: Path, **changed: Any) -> FineTuneReport:
    return fine_tune(**(QUICK | {"model_folder": model, "out": out} | changed))


def stop_after(step: int) -> Callable[[int, int, float], None]:
    def told(done: int, steps: int, loss: float) -> None:
        assert steps == 9
        assert loss >= 0
        if done == step:
            raise StoppedError

    return told


def weights_of(folder: Path) -> dict[str, NDArray[Any]]:
    return load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def spread(folder: Path) -> tuple[float, float]:
    """Return intra loss on held-out texts, and the mean cosine of their centroids."""
    vectors = TransformerEncoder.from_folder(folder).encode_batch(HELD_OUT)
    loss = separation_loss(vectors, one_hot(THEIR_LABELS)[1], margin=-1.0)
    return loss.intra, loss.inter - 1.0


def test_held_out_texts_are_separated_better(model: Path, tmp_path: Path) -> None:
    report = tune(model, tmp_path / "out", epochs=6, batch_size=36, learning_rate=1e-2, inter_weight=2.0)
    assert report.losses[-1] < 0.5 * report.losses[0]
    assert (report.texts, report.left_out, report.device, report.resumed_at) == (72, 0, "cpu", 0)
    assert report.domains == tuple(DOMAIN_WORDS)
    assert len(report.losses) == 6
    assert report.seconds > 0
    intra_before, cosine_before = spread(model)
    intra_after, cosine_after = spread(tmp_path / "out")
    assert cosine_before > 0.9
    assert cosine_after < 0.6
    assert intra_after / (1 - cosine_after) < 0.5 * intra_before / (1 - cosine_before)


def test_what_is_written_is_a_model_and_nothing_else(model: Path, tmp_path: Path) -> None:
    before = weights_of(model)
    tune(model, tmp_path / "out", epochs=1, max_tokens=8)
    files = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert {"modules.json", "config.json", "model.safetensors", "tokenizer.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl")) or "checkpoint" in name]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "start"]
    for name, array in weights_of(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert TransformerEncoder.from_folder(tmp_path / "out")._model.max_tokens == 48, "max_tokens is of the training"


def test_the_same_seed_gives_the_same_model_and_another_one_another(model: Path, tmp_path: Path) -> None:
    reports = [tune(model, tmp_path / name, epochs=2, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert_same(tmp_path / "a", tmp_path / "b")
    assert reports[0].losses == reports[1].losses != reports[2].losses
    encoders = [TransformerEncoder.from_folder(tmp_path / name) for name in "abc"]
    assert encoders[0].fingerprint == encoders[1].fingerprint != encoders[2].fingerprint


def test_an_interrupted_training_goes_on_to_the_same_result(model: Path, tmp_path: Path) -> None:
    whole = tune(model, tmp_path / "whole")
    for step in (4, 8):  # in the middle of the second epoch and of the third
        with pytest.raises(StoppedError):
            tune(model, tmp_path / "parts", progress=stop_after(step))
    (checkpoint,) = (tmp_path / "parts" / "checkpoint").iterdir()
    assert checkpoint.name == "epoch-000002"
    assert sorted(file.suffix for file in checkpoint.iterdir()) == [".json", ".safetensors", ".safetensors"]
    parts = tune(model, tmp_path / "parts")
    assert parts.resumed_at == 2
    assert parts.losses == whole.losses
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_an_interruption_before_the_first_epoch_leaves_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        tune(model, tmp_path / "out", progress=stop_after(1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changed", [{"seed": 8}, {"epochs": 4}, {"margin": 0.1}, {"texts": ["court", *TEXTS[1:]]}, {"labels": LABELS[::-1]}]
)
def test_a_checkpoint_of_another_run_is_refused(model: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(StoppedError):
        tune(model, tmp_path / "out", progress=stop_after(4))
    with pytest.raises(StateError, match="belongs to a training with another model, other texts or other settings"):
        tune(model, tmp_path / "out", **changed)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(StoppedError):
        tune(model, tmp_path / "out", progress=stop_after(4))
    (tmp_path / "out" / "checkpoint" / "epoch-000001" / name).write_bytes(b"{")
    with pytest.raises(StateError, match=r"is damaged.*to start afresh"):
        tune(model, tmp_path / "out")


def test_a_folder_with_something_else_is_left_alone(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(StateError, match=r"holds mine\.txt"):
        tune(model, tmp_path / "out")
    with pytest.raises(StateError, match="and is no unfinished training"):
        tune(model, model)
    with pytest.raises(StateError, match="cannot be written"):
        tune(model, tmp_path / "out" / "mine.txt" / "below")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_texts_without_token_or_label_are_left_out(model: Path, tmp_path: Path) -> None:
    texts, labels = [*TEXTS, "", "\x00", "court"], [*LABELS, "law", "code", " "]
    report = tune(model, tmp_path / "out", texts=texts, labels=labels, epochs=1)
    assert (report.texts, report.left_out) == (72, 3)
    assert report.domains == tuple(DOMAIN_WORDS)


def test_weights_stand_for_labels(model: Path, tmp_path: Path) -> None:
    shares = one_hot(LABELS)[1]
    report = tune(model, tmp_path / "weights", labels=None, weights=shares, epochs=2)
    assert report.domains == ("0", "1", "2")
    tune(model, tmp_path / "labels", epochs=2)
    assert_same(tmp_path / "weights", tmp_path / "labels")
    soft = tune(model, tmp_path / "soft", labels=None, weights=0.8 * shares + 0.1, epochs=2)
    assert soft.losses[-1] < soft.losses[0]


def test_the_random_state_of_torch_is_left_alone(model: Path, tmp_path: Path) -> None:
    import torch

    state = torch.random.get_rng_state()
    tune(model, tmp_path / "out", epochs=1)
    assert bool((torch.random.get_rng_state() == state).all())


def test_the_report_becomes_json(model: Path, tmp_path: Path) -> None:
    report = tune(model, tmp_path / "out", epochs=1)
    assert msgspec.json.decode(msgspec.json.encode(report), type=FineTuneReport) == report


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("epochs", {"epochs": 0}),
        ("epochs", {"epochs": True}),
        ("batch_size", {"batch_size": 1}),
        ("learning_rate", {"learning_rate": 0.0}),
        ("learning_rate", {"learning_rate": float("nan")}),
        ("margin", {"margin": 2.0}),
        ("inter_weight", {"inter_weight": 0.0}),
        ("seed", {"seed": -1}),
        ("max_tokens", {"max_tokens": 7}),
        ("texts", {"texts": "one string"}),
        ("texts", {"texts": [1, 2], "labels": ["a", "b"]}),
        ("labels", {"labels": LABELS[:-1]}),
        ("labels", {"labels": None}),
        ("labels", {"weights": one_hot(LABELS)[1]}),
        ("labels", {"labels": ["law"] * 72}),
        ("labels", {"texts": [], "labels": []}),
        ("weights", {"labels": None, "weights": np.ones(72)}),
        ("weights", {"labels": None, "weights": -np.ones((72, 2))}),
        ("weights", {"labels": None, "weights": np.ones((71, 2))}),
    ],
)
def test_bad_arguments_are_refused(model: Path, tmp_path: Path, parameter: str, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        tune(model, tmp_path / "out", **changed)
    assert caught.value.parameter == parameter
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is not a folder"):
        tune(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_says_so(model: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no longer finite.*lower learning rate"):
        tune(model, tmp_path / "out", learning_rate=1e30)


def test_without_torch_the_pip_command_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mixllm.tags.fine_tuning import fine_tune\n"
        "fine_tune(model_folder='x', texts=['a', 'b'], labels=['c', 'd'], out='y')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "MissingExtraError: Fine-tuning needs" in done.stderr
    assert "pip install 'mixllm[train]'" in done.stderr
