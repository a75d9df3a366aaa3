"""The tree of errors: as it is drawn, and each with a next step."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from mixllm import errors
from mixllm.errors import (
    BudgetExhaustedError,
    ConflictingEventError,
    DuplicateLLMError,
    InvalidValueError,
    MissingExtraError,
    MixLLMError,
    NoEligibleLLMError,
    PoolBusyError,
    StoreClosedError,
    UnknownDecisionError,
    UnknownLLMError,
    UnknownPriceError,
    UpstreamStatusError,
    did_you_mean,
)

CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == "mixllm.errors" and issubclass(kind, MixLLMError)
}


def drawn_tree() -> dict[str, str | None]:
    """Return each error's parent, as the module's docstring draws it."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        match = re.match(r"^([\s│├└─]*)(\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        while path and path[-1][0] >= depth:
            path.pop()
        parents[name] = path[-1][1] if path else None
        path.append((depth, name))
    return parents


def test_the_drawn_tree_is_the_tree_of_the_classes() -> None:
    drawn = drawn_tree()
    assert drawn["MixLLMError"] is None
    assert {name: parent for name, parent in drawn.items() if parent} == {
        name: kind.__bases__[0].__name__ for name, kind in CLASSES.items() if kind is not MixLLMError
    }


def test_second_bases_are_as_drawn() -> None:
    assert errors.__doc__ is not None
    also = dict(re.findall(r"(\w+Error) \(also (\w+)\)", errors.__doc__))
    assert also == {"InvalidValueError": "ValueError", "MissingExtraError": "ImportError"}
    assert {name: kind.__bases__[1].__name__ for name, kind in CLASSES.items() if len(kind.__bases__) > 1} == also


def test_all_lists_every_error() -> None:
    assert set(errors.__all__) == {*CLASSES, "did_you_mean"}
    assert errors.__all__ == sorted(errors.__all__)
    assert all(kind.__doc__ for kind in CLASSES.values())


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (InvalidValueError("x", 3, "below 2"), "x must be below 2; got 3."),
        (MissingExtraError("Reading Parquet", "logs"), "Install it: pip install 'mixllm[logs]'"),
        (UnknownLLMError("gpt-4", ["gpt-4o", "llama"]), "Did you mean 'gpt-4o'? The pool holds: gpt-4o, llama."),
        (UnknownLLMError("gpt-4"), "The pool is empty: add it first."),
        (DuplicateLLMError("a"), "Remove it first, or choose another name."),
        (UnknownPriceError("a", "b"), "Give it one: input_cost_per_token"),
        (NoEligibleLLMError({"a": "cannot do vision"}), "Relax the constraint, or add an LLM"),
        (NoEligibleLLMError({}), "Add an LLM: router.add_llm(spec)"),
        (PoolBusyError({"a": "its queue is full"}, retry_after_s=2.5), "Try again in 3 s, allow a longer wait"),
        (BudgetExhaustedError(key_id=None, retry_after_s=0.5), "in 1 s. Wait until then, raise budget.usd, or"),
        (BudgetExhaustedError(key_id="key-1", retry_after_s=60.0), "raise budget.keys, or set budget.when_spent"),
        (UnknownDecisionError("1"), "Use the id of a Decision"),
        (ConflictingEventError("1"), "Send the same content to repeat it"),
        (StoreClosedError(), "Open a new one"),
        (UpstreamStatusError("a", 401), "Check its key"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_message_has_a_next_step(error: MixLLMError, next_step: str) -> None:
    assert next_step in str(error)


def test_every_error_that_writes_its_own_message_is_tried_above() -> None:
    writers = {name for name, kind in CLASSES.items() if "__init__" in vars(kind)}
    marks = test_each_message_has_a_next_step.pytestmark  # type: ignore[attr-defined]
    tried = {type(case[0]).__name__ for case in marks[0].args[1]}
    assert writers - {"UpstreamError"} <= tried


def test_errors_keep_their_facts() -> None:
    invalid = InvalidValueError("x", 3, "below 2")
    assert (invalid.parameter, invalid.value, invalid.expected) == ("x", 3, "below 2")
    assert isinstance(invalid, ValueError)
    missing = MissingExtraError("f", "e")
    assert (missing.feature, missing.extra) == ("f", "e")
    assert isinstance(missing, ImportError)
    assert UnknownLLMError("a").name == DuplicateLLMError("a").name == UnknownPriceError("a", "b").name == "a"
    assert NoEligibleLLMError({"a": "why"}).reasons == {"a": "why"}
    status = UpstreamStatusError("a", 429, b"slow down", 2.5)
    assert (status.llm, status.status, status.body, status.retry_after_s) == ("a", 429, b"slow down", 2.5)
    assert "slow down" not in str(status), "a body may repeat the prompt"


def test_long_values_are_cut() -> None:
    for error in (InvalidValueError("x", "y" * 10_000, "short"), UnknownLLMError("y" * 10_000)):
        assert len(str(error)) < 300
    assert "too long to show" in str(InvalidValueError("x", 10**9_999, "short"))


def test_reasons_cannot_be_changed_from_outside() -> None:
    reasons = {"a": "why"}
    error = NoEligibleLLMError(reasons)
    reasons.clear()
    assert error.reasons == {"a": "why"}


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("gpt-4o-mni", ["gpt-4o-mini", "llama"], " Did you mean 'gpt-4o-mini'?"),
        ("zzz", ["gpt-4o-mini"], ""),
        ("", [], ""),
        ("a" * 100_000, ["ab", "b" * 10], ""),
    ],
)
def test_the_nearest_name_is_proposed(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known) == hint
    assert did_you_mean(name, iter(known)) == hint


def test_plain_errors_travel_between_processes() -> None:
    for kind in (errors.StateError, errors.ConfigError, errors.StoreError):
        copy = pickle.loads(pickle.dumps(kind("what happened. What to do.")))
        assert type(copy) is kind
        assert str(copy) == "what happened. What to do."
