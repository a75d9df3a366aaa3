from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.encoders import HashingEncoder
from mixllm.errors import InvalidValueError, StateError
from mixllm.tags import PrototypeTagger
from mixllm.tags.labelling import TagDomain, TagLabels, TagVocabulary


def domain(name: str, *tags: str) -> TagDomain:
    return TagDomain(name=name, description=", ".join(tags) or name, tags=tags or (name,))


VOCABULARY = TagVocabulary(domains=(domain("math", "algebra", "sums"), domain("law"), domain("数学")), source="llm")
WEIGHTS = np.array([[1 / 3, 2 / 3, 0], [0, 0, 0], [0, 0.1, 0.9]], np.float32)
LABELS = TagLabels(vocabulary=VOCABULARY, query_ids=("a", "b", "ü"), weights=WEIGHTS)


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    for _ in range(2):
        LABELS.save(path)
        loaded = TagLabels.load(path)
        assert loaded.vocabulary == VOCABULARY
        assert loaded.query_ids == LABELS.query_ids
        assert np.array_equal(loaded.weights, WEIGHTS)
    assert [file.name for file in tmp_path.iterdir()] == ["labels.json"]
    assert json.loads(path.read_text())["version"] == VOCABULARY.version


def test_any_changed_byte_of_its_content_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    LABELS.save(path)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(StateError, match=r"labels\.json"):
            TagLabels.load(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"schema": 1}', b"\xff", b"[" * 100_000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(StateError, match="mixllm tag"):
        TagLabels.load(path)


def test_newer_and_missing_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    with pytest.raises(StateError, match="cannot be read"):
        TagLabels.load(path)
    path.write_bytes(b'{"schema": 2}')
    with pytest.raises(StateError, match="Upgrade mixllm"):
        TagLabels.load(path)
    with pytest.raises(StateError, match="cannot be written"):
        LABELS.save(tmp_path / "no" / "labels.json")


def test_the_version_is_that_of_the_content() -> None:
    same = TagVocabulary(domains=VOCABULARY.domains, source="llm")
    assert same.version == VOCABULARY.version
    assert TagVocabulary(domains=VOCABULARY.domains, source="log").version != VOCABULARY.version
    assert TagVocabulary(domains=VOCABULARY.domains[::-1], source="llm").version != VOCABULARY.version


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 3)), "of shape"),
        (np.zeros((3, 2)), "of shape"),
        (np.full((3, 3), 0.5), r"weights\[0\] must be rows that sum to 1"),
        (np.array([[2.0, -1, 0]] * 3), "finite and >= 0"),
        (np.full((3, 3), np.nan), "finite and >= 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: NDArray[np.float64], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        TagLabels(vocabulary=VOCABULARY, query_ids=("a", "b", "c"), weights=weights.astype(np.float32))


def test_names_are_unique_and_not_blank() -> None:
    with pytest.raises(InvalidValueError, match="query_ids must be unique"):
        TagLabels(vocabulary=VOCABULARY, query_ids=("a", "a", "b"), weights=WEIGHTS)
    for domains in ((domain("a", "x"), domain("a", "y")), (domain("a", "x"), domain("b", "x"))):
        with pytest.raises(InvalidValueError, match="unique"):
            TagVocabulary(domains=domains, source="llm")
    with pytest.raises(InvalidValueError, match="one domain or more"):
        TagVocabulary(domains=(), source="llm")
    with pytest.raises(InvalidValueError, match="source"):
        TagVocabulary(domains=VOCABULARY.domains, source=" ")
    with pytest.raises(InvalidValueError, match="tags"):
        TagDomain(name="a", description="b", tags=())


def test_labels_cannot_be_changed_by_anybody() -> None:
    weights = WEIGHTS.copy()
    labels = TagLabels(vocabulary=VOCABULARY, query_ids=("a", "b", "c"), weights=weights)
    weights[0] = 0
    assert labels.weights[0].tolist() == WEIGHTS[0].tolist()
    with pytest.raises(ValueError, match="read-only"):
        labels.weights[0, 0] = 1


def test_the_domains_can_tag_without_training() -> None:
    tagger = PrototypeTagger.from_domains(encoder=HashingEncoder(), domains=VOCABULARY.domains)
    assert tagger.tags == VOCABULARY.names
