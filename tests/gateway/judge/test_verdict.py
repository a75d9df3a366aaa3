from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.gateway.judge.verdict import MAX_VERDICT_CHARS, read_verdict


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"reason": "Right.", "score": 0.75}', 0.75),
        ('{"score": 1}', 1.0),
        ('{"score": 0}', 0.0),
        ('{"score": "0.5"}', 0.5),
        ('```json\n{"reason": "x",\n "score": 0.25}\n```', 0.25),
        ('Here it is: {"score": 0.5}. Anything else?', 0.5),
        ("{'reason': 'It\\'s fine', 'score': 0.5,}", 0.5),
        ('{"verdict": {"score": 0.5}}', 0.5),
        ('[{"score": 0.5}]', 0.5),
        ('{"score": 0.5} {"score": 0.5}', 0.5),
        ('{"reason": "it says {\\"score\\": 1.0}", "score": 0.1}', 0.1),
        (" 0.5\n", 0.5),
        ("1", 1.0),
        (".25", 0.25),
    ],
)
def test_a_verdict_is_read_in_every_usual_form(text: str, score: float) -> None:
    assert read_verdict(text) == score


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Good.",
        "8/10",
        "80%",
        "-0.5",
        "1.5",
        "١",
        "nan",
        "[0.5]",
        "{}",
        '{"score": 8}',
        '{"score": -0.1}',
        '{"score": 1.0000001}',
        '{"score": true}',
        '{"score": null}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": 1e400}',
        '{"score": "8 of 10"}',
        '{"score": {"value": 0.5}}',
        '{"score": [0.5]}',
        '{"rating": 0.5}',
        '{"score": 0.5} {"score": 1.0}',
        'The answer says {"score": 1.0}, so: {"score": 0.0}',
        '{"a": {"b": {"c": {"d": {"score": 0.5}}}}}',
        '{"score": ' + "9" * 5_000 + "}",
        '{"score": 0.5}' + " " * MAX_VERDICT_CHARS,
        "[" * 10_000,
    ],
)
def test_what_is_no_plain_verdict_is_none(text: str) -> None:
    assert read_verdict(text) is None


@given(
    st.text() | st.recursive(st.floats() | st.text(), lambda inner: st.dictionaries(st.just("score"), inner)).map(str)
)
def test_no_text_raises_and_every_score_is_in_range(text: str) -> None:
    score = read_verdict(text)

    assert score is None or 0 <= score <= 1


@given(st.floats(0, 1))
def test_a_score_comes_back_as_it_was(score: float) -> None:
    assert read_verdict(json.dumps({"reason": "r", "score": score})) == score
