"""Trained features in files: back as they were, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save
from tests.learning.offline.planted_log import TOPICS, planted_log, topic_labels, training_set, word_encoder

from mixllm.encoders import HashingEncoder, LexicalEncoder
from mixllm.errors import StateError
from mixllm.learning.feature_model import FeatureModel
from mixllm.learning.offline import TrainedModel, TrainingRecipe, train
from mixllm.manifest import seal_manifest

ENCODER = word_encoder()
LOG = planted_log(60)
TEXTS = ["law1 common2 sums3", "verse0", "", "nothing known", "common1 common1"]
QUICK = {"projection_dimension": 5}


def trained(**recipe: Any) -> TrainedModel:
    made = TrainingRecipe(**{"name": "x", **QUICK, **recipe})
    return train(training_set(LOG, ENCODER), base=ENCODER, recipe=made, rng=np.random.default_rng(0))


def model_of(model: TrainedModel) -> FeatureModel:
    return FeatureModel.of(
        base=ENCODER,
        encoder=model.encoder,
        tagger=model.tagger,
        projection=model.projection,
        vocabulary=topic_labels(LOG).vocabulary,
    )


@pytest.fixture(scope="module")
def model() -> FeatureModel:
    return model_of(trained())


@pytest.fixture
def folder(model: FeatureModel, tmp_path: Path) -> Path:
    model.to_folder(tmp_path)
    return tmp_path


@pytest.mark.parametrize("recipe", [{}, {"lexical": False}, {"projection": "separating"}])
def test_it_comes_back_as_it_was(recipe: dict[str, Any], tmp_path: Path) -> None:
    made = trained(**recipe)
    assert not FeatureModel.is_in(tmp_path)
    model_of(made).to_folder(tmp_path)
    assert FeatureModel.is_in(tmp_path)
    again = FeatureModel.from_folder(tmp_path)
    assert again.vocabulary == topic_labels(LOG).vocabulary
    encoder, features = again.build(word_encoder())
    assert isinstance(encoder, LexicalEncoder) is recipe.get("lexical", True)
    assert encoder.fingerprint == made.encoder.fingerprint
    assert features.fingerprint == made.features.fingerprint
    assert features.tags == TOPICS
    for text in TEXTS:
        x = encoder.encode(text)
        assert np.array_equal(x, made.encoder.encode(text))
        assert np.array_equal(features.features(x), made.features.features(x))


def test_another_base_encoder_is_refused(model: FeatureModel) -> None:
    for other in (word_encoder(seed=2), word_encoder(dimension=17), HashingEncoder(dimension=16)):
        with pytest.raises(StateError, match=r"was trained on encoder .* Use the same encoder, or train again"):
            model.build(other)
    hashing = HashingEncoder(dimension=16)
    with pytest.raises(StateError, match="needs a static encoder"):
        replace(model, base=hashing.fingerprint).build(hashing)


@pytest.mark.parametrize("file", ["features.json", "features.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-3]),
        lambda file: file.write_bytes(file.read_bytes().replace(b"1", b"2", 1)),
        lambda file: file.write_bytes(b"\xff" * 200),
    ],
    ids=["missing", "empty", "cut", "changed", "garbage"],
)
def test_damage_is_found(folder: Path, file: str, damage: Callable[[Path], None]) -> None:
    damage(folder / file)
    with pytest.raises(StateError, match=r"Train again|Upgrade mixllm"):
        FeatureModel.from_folder(folder)


def test_a_newer_format_is_refused_as_newer(folder: Path) -> None:
    tree = json.loads((folder / "features.json").read_text())
    (folder / "features.json").write_text(json.dumps(tree | {"schema": 2}))
    with pytest.raises(StateError, match="has format 2, newer than the 1"):
        FeatureModel.from_folder(folder)


def forge(folder: Path, arrays: dict[str, Any], **changed: Any) -> Path:
    """Write a model whose seal is sound and whose content is not."""
    tree = json.loads((folder / "features.json").read_text()) | changed
    del tree["sha256"]
    kept = {
        name: array
        for name, array in (load_file(folder / "features.safetensors") | arrays).items()
        if array is not None
    }
    tensors = save(kept)
    kind = msgspec.defstruct("Forged", [(name, Any) for name in tree])
    (folder / "features.safetensors").write_bytes(tensors)
    (folder / "features.json").write_bytes(seal_manifest(kind(**tree), tensors))
    return folder


@pytest.mark.parametrize("name", ["tagger_weights", "tagger_bias", "projection_matrix", "projection_centre"])
def test_a_missing_array_is_named(folder: Path, name: str) -> None:
    with pytest.raises(StateError, match=rf"lacks? {name}\. Train again"):
        FeatureModel.from_folder(forge(folder, {name: None}))


@pytest.mark.parametrize(
    ("arrays", "changed"),
    [
        ({"lexical_rarity": None}, {}),
        ({"lexical_table": np.zeros((2, 3), np.float32)}, {}),
        ({"tagger_bias": np.zeros(2, np.float32)}, {}),
        ({"tagger_weights": np.zeros((3, 5), np.float32)}, {}),
        ({"tagger_weights": np.full((3, 19), np.nan, np.float32)}, {}),
        ({"projection_centre": np.zeros(9, np.float32)}, {}),
        ({"projection_matrix": np.zeros((2, 99), np.float32), "projection_centre": np.zeros(99, np.float32)}, {}),
        ({}, {"leading": 0}),
        ({}, {"leading": 99}),
    ],
)
def test_parts_that_do_not_fit_are_refused(folder: Path, arrays: dict[str, Any], changed: dict[str, Any]) -> None:
    found = FeatureModel.from_folder(forge(folder, arrays, **changed))
    with pytest.raises(StateError, match="Train again"):
        found.build(ENCODER)


@pytest.mark.parametrize("changed", [{"vocabulary": {"domains": [], "source": "x"}}, {"base": 3}, {"unit": "yes"}])
def test_a_manifest_of_other_things_is_refused(folder: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(StateError, match="Train again"):
        FeatureModel.from_folder(forge(folder, {}, **changed))
