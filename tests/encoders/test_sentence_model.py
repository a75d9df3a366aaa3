"""What a sentence transformer reads of a text, and which folders are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.encoders.small_transformer import write_transformer

from mixllm.encoders.sentence_model import SentenceModel, digest_of_folder
from mixllm.errors import EncoderError, InvalidValueError

pytestmark = pytest.mark.xdist_group("torch")


def test_short_texts_stay_and_texts_without_a_token_are_none(transformer_folder: Path) -> None:
    model = SentenceModel(transformer_folder)
    assert (model.dimension, model.max_tokens) == (32, 48)
    assert model.bounded("The court, please") == "The court, please"
    assert [model.bounded(text) for text in ("", " ", "\x00", "\n\t")] == [None] * 4


def test_long_texts_keep_their_beginning_and_their_end(transformer_folder: Path) -> None:
    model = SentenceModel(transformer_folder)
    text = model.bounded("judge " * 40 + "patient " * 40 + "court " * 40)
    assert text is not None
    head, _, tail = text.partition("\n")
    assert head == " ".join(["judge"] * 11)
    assert tail.split() == ["court"] * 35
    assert len(model.token_ids(text)) == 46, "48 tokens, two of them special"


def test_characters_bound_first(transformer_folder: Path) -> None:
    model = SentenceModel(transformer_folder, max_chars=12)
    assert model.bounded("judge and a very long text of the court") == "ju\nthe court"


def test_the_default_prompt_goes_before_each_text(tmp_path: Path) -> None:
    plain = SentenceModel(write_transformer(tmp_path / "plain"))
    prompted = SentenceModel(write_transformer(tmp_path / "prompted", prompt="find: "))
    expected = plain.forward(["find: court"]).detach().numpy()
    assert (prompted.forward(["court"]).detach().numpy() == expected).all()
    text = prompted.bounded("judge " * 100)
    assert text is not None
    assert len(prompted.token_ids(text)) == 48 - 2 - 2


def test_a_bare_transformer_is_read(transformer_folder: Path) -> None:
    (transformer_folder / "modules.json").unlink()
    assert SentenceModel(transformer_folder).forward(["court"]).shape == (1, 32)


def test_the_digest_is_of_names_and_contents(transformer_folder: Path, tmp_path: Path) -> None:
    digest = digest_of_folder(transformer_folder)
    moved = Path(shutil.copytree(transformer_folder, tmp_path / "moved"))
    assert digest_of_folder(moved) == digest
    (moved / "README.md").write_text("about it")
    (moved / ".cache").mkdir()
    (moved / ".cache" / "x.json").write_text("{}")
    assert digest_of_folder(moved) == digest
    config = moved / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("mean", "max"))
    assert digest_of_folder(moved) != digest


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", Path("sentence-transformers/all-MiniLM-L6-v2")):
        with pytest.raises(EncoderError, match=r"is not a folder.*nothing is downloaded"):
            SentenceModel(path)
    with pytest.raises(EncoderError, match=r"holds neither modules\.json nor config\.json"):
        SentenceModel(tmp_path)


def test_pickled_weights_are_refused(transformer_folder: Path) -> None:
    (transformer_folder / "model.safetensors").rename(transformer_folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin, a pickle.*safe_serialization=True"):
        SentenceModel(transformer_folder)
    (transformer_folder / "pytorch_model.bin").unlink()
    with pytest.raises(EncoderError, match="lacks weights in safetensors"):
        SentenceModel(transformer_folder)


def test_code_in_the_folder_is_not_run(transformer_folder: Path) -> None:
    (transformer_folder / "mine.py").write_text("raise SystemExit('run')")
    modules = json.loads((transformer_folder / "modules.json").read_text())
    modules[1]["type"] = "mine.Pooling"
    (transformer_folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match="holds no sentence transformer"):
        SentenceModel(transformer_folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modules.json", b"{"),
        ("modules.json", b'[{"idx": 0}]'),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "nothing known"}'),
        ("model.safetensors", b"x" * 50),
        ("tokenizer.json", b"{}"),
        ("1_Pooling/config.json", b'{"pooling_mode": "median"}'),
    ],
)
def test_damaged_files_are_refused(transformer_folder: Path, name: str, content: bytes) -> None:
    (transformer_folder / name).write_bytes(content)
    with pytest.raises(EncoderError, match=r"holds no sentence transformer|does not encode|no fast tokenizer"):
        SentenceModel(transformer_folder)


@pytest.mark.parametrize("max_chars", [0, -1, True, 2.5, None])
def test_bad_limits_are_refused(transformer_folder: Path, max_chars: Any) -> None:
    with pytest.raises(InvalidValueError, match="max_chars"):
        SentenceModel(transformer_folder, max_chars=max_chars)


@pytest.mark.parametrize("absent", ["sentence_transformers", "torch"])
def test_without_the_extra_the_pip_command_is_told(transformer_folder: Path, absent: str) -> None:
    code = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "from mixllm.encoders import TransformerEncoder\n"
        f"TransformerEncoder.from_folder({str(transformer_folder)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError: A sentence transformer needs" in done.stderr
    assert "pip install 'mixllm[train]'" in done.stderr
