from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.logs.folders import make_log

from mixllm.errors import InvalidValueError, LogError, UnknownLLMError
from mixllm.logs import RoutingLog

NAN = float("nan")


def test_is_frozen_and_its_arrays_are_read_only() -> None:
    log = make_log([[1.0, 0.0]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        log.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        log.quality[0, 0] = 0.5
    with pytest.raises(TypeError):
        log.labels["domain"] = ()  # type: ignore[index]
    assert not hasattr(log, "__dict__")


def test_the_arrays_of_the_caller_stay_writable() -> None:
    log = make_log([[1.0, 0.0]])
    fields = {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
    quality = np.array([[1.0, 0.0]])
    RoutingLog(**(fields | {"quality": quality}))
    quality[0, 0] = 0.0
    assert quality[0, 0] == 0.0


def test_every_parameter_reaches_its_attribute() -> None:
    values = {name: np.array([[number]]) for number, name in enumerate(("cost_usd", "tokens_in", "tokens_out"), 1)}
    values |= {"quality": np.array([[0.5]]), "latency_s": np.array([[4.0]]), "ttft_s": np.array([[5.0]])}
    fields: dict[str, Any] = {
        "name": "n",
        "query_ids": ("q",),
        "prompts": ("p",),
        "systems": ("s",),
        "labels": {"l": ("v",)},
        "llms": ("m",),
        "answers": (("a",),),
        **{name: value.astype(np.float64) for name, value in values.items()},
    }
    log = RoutingLog(**fields)
    assert dict(log.labels) == fields.pop("labels")
    for name, value in fields.items():
        np.testing.assert_equal(getattr(log, name), value)


@pytest.mark.parametrize(
    ("quality", "cost_usd", "strongest"),
    [
        ([[1.0, 0.0], [1.0, 1.0]], [[1.0, 9.0], [1.0, 9.0]], "a"),
        ([[0.5, 0.5]], [[1.0, 2.0]], "b"),
        ([[0.5, 0.5]], [[2.0, 1.0]], "a"),
        ([[0.5, 0.5]], [[1.0, 1.0]], "a"),
        ([[0.0, NAN], [1.0, 0.9]], [[1.0, NAN], [1.0, 1.0]], "b"),
        ([[0.0, NAN]], [[1.0, NAN]], "a"),
    ],
)
def test_strongest(quality: list[list[float]], cost_usd: list[list[float]], strongest: str) -> None:
    assert make_log(quality, cost_usd=cost_usd).strongest() == strongest


def test_nobody_is_the_strongest_of_nothing() -> None:
    with pytest.raises(LogError, match="Log 'made': no LLM was asked anything"):
        make_log([[NAN, NAN]]).strongest()
    with pytest.raises(LogError, match="no LLM was asked"):
        make_log([[1.0]]).select([]).strongest()


def test_means_leave_gaps_out() -> None:
    log = make_log([[1.0, NAN, NAN], [0.0, 0.5, NAN]])
    np.testing.assert_array_equal(log.mean_quality(), [0.5, 0.5, NAN])
    np.testing.assert_array_equal(log.mean_cost_usd(), [1.0, 2.0, NAN])
    np.testing.assert_array_equal(log.asked, [[True, False, False], [True, True, False]])


def test_column_of_an_llm() -> None:
    log = make_log([[1.0, 0.0]], llms=("small", "large"))
    assert log.column("large") == 1
    with pytest.raises(UnknownLLMError, match="Did you mean 'large'"):
        log.column("larg")


def test_select_keeps_everything_together() -> None:
    log = make_log([[0.0, 0.1], [0.2, 0.3], [0.4, NAN]], answers=(("a", "b"), ("c", None), (None, None)))
    chosen = log.select([2, 0])
    assert chosen.query_ids == ("q2", "q0")
    assert chosen.prompts == ("prompt 2", "prompt 0")
    assert dict(chosen.labels) == {"domain": ("d0", "d0")}
    assert chosen.answers == ((None, None), ("a", "b"))
    assert chosen.llms == log.llms
    np.testing.assert_array_equal(chosen.quality, [[0.4, NAN], [0.0, 0.1]])
    assert len(log) == 3


@given(mask=st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_mask_selects_what_its_positions_select(mask: list[bool]) -> None:
    log = make_log([[0.1], [0.2], [0.3], [0.4]])
    by_mask, by_position = log.select(np.array(mask)), log.select(np.flatnonzero(mask))
    assert by_mask.query_ids == by_position.query_ids == tuple(f"q{row}" for row in range(4) if mask[row])
    np.testing.assert_array_equal(by_mask.quality, by_position.quality)
    assert log.select(mask).query_ids == by_mask.query_ids


@pytest.mark.parametrize(
    "indices", [[2], [-1], [0, 0], [0.0], [[0]], [True], [True, False, True], ["0"], np.zeros((1, 1), dtype=int)]
)
def test_select_refuses_bad_positions(indices: Any) -> None:
    with pytest.raises(InvalidValueError, match="indices must be"):
        make_log([[0.1], [0.2]]).select(indices)


def test_select_llms() -> None:
    log = make_log([[0.0, 0.1, 0.2]], answers=(("a", None, "c"),))
    chosen = log.select_llms(["c", "a"])
    assert chosen.llms == ("c", "a")
    assert chosen.answers == (("c", "a"),)
    np.testing.assert_array_equal(chosen.cost_usd, [[3.0, 1.0]])
    with pytest.raises(UnknownLLMError):
        log.select_llms(["z"])
    with pytest.raises(InvalidValueError, match="llms must be unique"):
        log.select_llms(["a", "a"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"query_ids": ("q0", "q0")}, "query_ids must be unique; got 'q0'"),
        ({"llms": ("a", "a")}, "llms must be unique; got 'a'"),
        ({"prompts": ("x",)}, r"prompts must be as long as query_ids \(2\); got '1 values'"),
        ({"systems": ()}, "systems must be as long"),
        ({"labels": {"task": ("x",)}}, r"labels\['task'\] must be as long"),
        ({"answers": (("x", "y"),)}, "answers must be as long"),
        ({"answers": (("x",), ("y",))}, "answers must be rows of 2"),
        ({"quality": np.array([[1.0, 0.0]])}, r"quality must be an array of float64 of shape \(2, 2\)"),
        ({"quality": [[1.0, 1.1], [0.0, 0.0]]}, "quality must be between 0 and 1, or NaN; got 1.1"),
        ({"quality": [[1.0, -0.1], [0.0, 0.0]]}, "quality must be finite and >= 0"),
        ({"quality": [[1.0, NAN], [0.0, 0.0]], "cost_usd": np.ones((2, 2))}, "cost_usd must be known exactly where"),
        ({"cost_usd": [[1.0, -1.0], [0.0, 0.0]]}, "cost_usd must be finite and >= 0"),
        ({"cost_usd": [[1.0, np.inf], [0.0, 0.0]]}, "cost_usd must be finite"),
        ({"tokens_in": [[1.0, -1.0], [0.0, 0.0]]}, "tokens_in must be"),
        ({"latency_s": [[1.0, np.inf], [0.0, 0.0]]}, "latency_s must be"),
        ({"ttft_s": [[1.0, -np.inf], [0.0, 0.0]]}, "ttft_s must be"),
    ],
)
def test_refuses_what_does_not_fit(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        make_log([[1.0, 0.0], [0.5, 0.5]], **changed)


def test_refuses_other_arrays() -> None:
    log = make_log([[1.0]])
    fields = {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
    for quality in (np.array([[1.0]], dtype=np.float32), np.array([[1]]), [[1.0]], None):
        with pytest.raises(InvalidValueError, match="quality must be an array of float64"):
            RoutingLog(**(fields | {"quality": quality}))
    with pytest.raises(InvalidValueError, match="llms must be one name or more"):
        RoutingLog(**(fields | {"llms": ()}))


def _export(**changed: Any) -> RoutingLog:
    fields: dict[str, Any] = {
        "cost_usd": [[1.0, NAN], [NAN, 2.0]],
        "propensities": np.array([[0.5, NAN], [NAN, NAN]]),
        "encodings": np.ones((2, 3), dtype=np.float32),
        "encoder": "e",
        "questions": ("a?", "b?"),
    }
    return make_log([[0.5, NAN], [NAN, NAN]], **(fields | changed))


def test_an_export_may_have_costs_without_quality() -> None:
    log = _export()
    np.testing.assert_array_equal(log.asked, [[True, False], [False, True]])
    np.testing.assert_array_equal(log.mean_quality(), [0.5, NAN])
    np.testing.assert_array_equal(log.mean_cost_usd(), [1.0, 2.0])
    assert (log.strongest(), log.texts) == ("a", ("a?", "b?"))
    with pytest.raises(LogError, match="no answer was judged"):
        _export(quality=np.full((2, 2), NAN)).strongest()
    assert make_log([[1.0]]).texts == ("prompt 0",)


def test_what_exports_add_is_selected_with_the_rest() -> None:
    encodings = np.arange(6, dtype=np.float32).reshape(2, 3)
    log = _export(encodings=encodings, left_out=3)
    chosen = log.select([1])
    assert chosen.encodings is not None
    assert chosen.propensities is not None
    assert log.propensities is not None
    np.testing.assert_array_equal(chosen.encodings, encodings[[1]])
    np.testing.assert_array_equal(chosen.propensities, log.propensities[[1]])
    assert (chosen.questions, chosen.encoder, chosen.left_out) == (("b?",), "e", 3)
    turned = log.select_llms(["b", "a"])
    assert turned.propensities is not None
    np.testing.assert_array_equal(turned.propensities, log.propensities[:, ::-1])
    assert (turned.encodings is not None, turned.questions) == (True, log.questions)
    for array in (log.encodings, log.propensities):
        assert array is not None
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"propensities": None}, "cost_usd must be known exactly where quality is"),
        ({"cost_usd": [[NAN, NAN], [NAN, 2.0]]}, "cost_usd must be known wherever quality is"),
        ({"propensities": np.array([[0.5, 0.5], [NAN, NAN]])}, "propensities must be NaN where cost_usd is"),
        ({"propensities": np.array([[0.0, NAN], [NAN, NAN]])}, "propensities must be above 0 and at most 1"),
        ({"propensities": np.array([[1.5, NAN], [NAN, NAN]])}, "propensities must be above 0 and at most 1"),
        ({"propensities": np.array([[0.5, NAN]])}, "propensities must be an array of float64"),
        ({"encoder": None}, "encoder must be given exactly where encodings are"),
        ({"encodings": None}, "encoder must be given exactly where encodings are"),
        ({"encodings": np.ones((2, 3))}, r"encodings must be an array of float32 of shape \(2, d\)"),
        ({"encodings": np.ones((3, 3), dtype=np.float32)}, "encodings must be an array"),
        ({"encodings": np.ones(2, dtype=np.float32)}, "encodings must be an array"),
        ({"encodings": np.full((2, 3), NAN, dtype=np.float32)}, "encodings must be finite"),
        ({"questions": ("a?",)}, "questions must be as long as query_ids"),
        ({"left_out": -1}, "left_out must be >= 0"),
    ],
)
def test_exports_that_do_not_fit(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        _export(**changed)
