"""Tokens of texts: nothing added, cut or padded, unknown ones left out, and no threads that a fork would break."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.encoders.small_model import UNKNOWN, small_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mixllm.encoders.token_ids import TokenIds
from mixllm.errors import EncoderError


def test_special_tokens_are_not_added() -> None:
    tokenizer = small_tokenizer()
    plain = TokenIds(tokenizer=tokenizer).of(["sort"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{UNKNOWN} $A {UNKNOWN}", special_tokens=[(UNKNOWN, tokenizer.token_to_id(UNKNOWN))]
    )
    assert tokenizer.encode("sort").ids != plain[0]
    assert TokenIds(tokenizer=tokenizer).of(["sort"]) == plain


def test_truncation_and_padding_are_undone_in_a_copy() -> None:
    tokenizer = small_tokenizer()
    texts = ["sort the list of the list", "sort"]
    expected = TokenIds(tokenizer=tokenizer).of(texts)
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    before = tokenizer.to_str()
    ids = TokenIds(tokenizer=tokenizer)
    assert ids.of(texts) == expected == [tokenizer_ids(texts[0]), tokenizer_ids(texts[1])]
    assert tokenizer.to_str() == before
    assert ids.tokenizer is not tokenizer


def tokenizer_ids(text: str) -> list[int | None]:
    return [small_tokenizer().token_to_id(word) for word in text.split()]


def test_unknown_tokens_are_left_out() -> None:
    tokenizer = small_tokenizer()
    assert tokenizer.token_to_id(UNKNOWN) in tokenizer.encode("sort 日本 list").ids
    assert TokenIds(tokenizer=tokenizer).of(["sort 日本 list", "日本"]) == [tokenizer_ids("sort list"), []]


def test_unknown_tokens_of_a_unigram_model_are_left_out() -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", -9.0), ("a", -1.0), ("b", -2.0)], unk_id=0))
    assert TokenIds(tokenizer=tokenizer).of(["azb", "z"]) == [[1, 2], []]


def test_a_tokenizer_without_unknown_tokens_is_taken() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    ids = TokenIds(tokenizer=tokenizer)
    assert ids.of(["azb"]) == [[0, 1]]
    assert ids.largest_id == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.WordPiece({"a": 0}, unk_token=UNKNOWN), "lacks its own token for unknown words"),
        (models.WordLevel({"a": 0}, unk_token=UNKNOWN), "lacks its own token for unknown words"),
        (models.BPE({"a": 0}, [], unk_token=UNKNOWN), "lacks its own token for unknown words"),
        (models.Unigram([("a", -1.0)]), "lacks its own token for unknown words"),
        (models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.5), "draws at random"),
        (models.BPE(), "empty vocabulary"),
    ],
)
def test_a_tokenizer_that_cannot_serve_is_refused(model: models.Model, message: str) -> None:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(EncoderError, match=message):
        TokenIds(tokenizer=tokenizer)


@pytest.mark.parametrize(("given", "kept"), [(None, "false"), ("false", "false"), ("true", "true")])
def test_threads_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if given is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", given)
    TokenIds(tokenizer=small_tokenizer())
    assert os.environ["TOKENIZERS_PARALLELISM"] == kept


FORK = """
import os
from mixllm.encoders import StaticEncoder
encoder = StaticEncoder.wordllama()
before = encoder.encode_batch(["sort a list"] * 300)
child = os.fork()
if child == 0:
    os._exit(0 if (encoder.encode_batch(["sort a list"] * 300) == before).all() else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_fork_after_a_batch_works_without_a_warning() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0", "")
