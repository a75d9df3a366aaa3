"""The shipped domains."""

from __future__ import annotations

import pytest

from mixllm.encoders import StaticEncoder
from mixllm.errors import InvalidValueError
from mixllm.tags import DEFAULT_DOMAINS, Domain, PrototypeTagger


def test_names_are_unique_and_a_few_dozen_at_most() -> None:
    names = [domain.name for domain in DEFAULT_DOMAINS]
    assert len(set(names)) == len(names)
    assert 10 <= len(names) <= 36


def test_the_text_is_name_and_description() -> None:
    assert Domain(name="law", description="court").text == "law. court"


@pytest.mark.parametrize(("name", "description"), [("", "x"), ("  ", "x"), ("x", ""), ("x", "\n")])
def test_blank_domains_are_refused(name: str, description: str) -> None:
    with pytest.raises(InvalidValueError, match="must be a"):
        Domain(name=name, description=description)


@pytest.mark.parametrize(
    ("query", "tag"),
    [
        ("Solve the equation 3x + 5 = 20 and show each step.", "mathematics"),
        ("Write a Python function that reverses a linked list.", "programming"),
        ("The patient has a fever and a rash. Which drug do you prescribe?", "medicine"),
        ("Can the plaintiff sue for breach of contract in this court?", "law"),
        ("Translate this text into French.", "summarising and translating"),
    ],
)
def test_the_default_encoder_finds_the_domain_of_plain_queries(query: str, tag: str) -> None:
    encoder = StaticEncoder.wordllama()
    tagger = PrototypeTagger.from_domains(encoder=encoder)
    assert tagger.tags[int(tagger.tag(encoder.encode(query)).argmax())] == tag
