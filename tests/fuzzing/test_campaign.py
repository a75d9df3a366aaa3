"""The fuzzers' own machinery: what goes wrong is noticed, and a run goes on where it stopped."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks.fuzzing import campaign as machinery
from benchmarks.fuzzing.campaign import attempt, campaign


class Fragile:
    """Raises, hangs or dies at chosen cases."""

    name = "fragile"

    def __init__(self, *, raises: int = -1, hangs: int = -1, dies: int = -1) -> None:
        self.raises, self.hangs, self.dies = raises, hangs, dies
        self.number = 0

    def make(self, rng: np.random.Generator) -> bytes:
        return bytes([int(rng.integers(256))])

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        del case, rng
        number, self.number = self.number, self.number + 1
        if number == self.raises:
            raise KeyError("found")
        if number == self.hangs:
            time.sleep(30)
        if number == self.dies:
            os._exit(3)
        return "fine"

    def close(self) -> None: ...


def test_an_error_is_kept_with_its_case(tmp_path: Path) -> None:
    run = campaign(Fragile(raises=4), seed=1, cases=20, partial=tmp_path / "run.json")
    (fault,) = run["mended"].values()  # A second time it does not raise.
    assert (fault["error"], fault["case"], fault["count"]) == ("KeyError", 4, 1)
    assert run["outcomes"] == {"fine": 19, "fault": 1}


def test_a_hang_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machinery, "LIMIT_S", 0.05)
    outcome, fault = attempt(Fragile(hangs=0), seed=1, number=0)
    assert outcome == "fault"
    assert fault is not None
    assert fault["error"] == "_TooSlowError"


def test_a_process_that_dies_is_a_fault_and_the_run_goes_on(tmp_path: Path) -> None:
    run = campaign(Fragile(dies=3), seed=1, cases=6, partial=tmp_path / "run.json")
    (fault,) = run["faults"].values()
    assert (fault["error"], fault["case"], run["done"]) == ("Died", 3, 6)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    partial = tmp_path / "run.json"
    campaign(Fragile(), seed=1, cases=5, partial=partial)
    run = campaign(Fragile(), seed=1, cases=8, partial=partial)
    assert (run["done"], run["outcomes"]) == (8, {"fine": 8})
    assert campaign(Fragile(), seed=2, cases=1, partial=partial)["done"] == 1  # Another seed is another run.
