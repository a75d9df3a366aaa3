from __future__ import annotations

import subprocess
import sys

import pytest

import mixllm.evaluation


def test_the_room_loads_neither_scikit_learn_nor_matplotlib() -> None:
    code = (
        "import sys, mixllm.evaluation as room\n"
        "[getattr(room, name) for name in room.__all__]\n"
        "print(sorted({'sklearn', 'matplotlib', 'scipy', 'pyarrow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_refused() -> None:
    assert set(mixllm.evaluation.__all__) <= set(dir(mixllm.evaluation))
    with pytest.raises(AttributeError, match="nothing"):
        _ = mixllm.evaluation.nothing
