"""Proof: routers compared on routing logs, split by split, with everything tuned on the training parts alone.

`run_bench` lets every contender of the registry run on the same splits; a contender predicts quality and cost, the
sweep over trade-offs turns predictions into a frontier, and `Metrics` are read off it. `write_results` and
`write_figures` keep what came of it. scikit-learn and matplotlib are loaded when they are needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixllm.evaluation.bench import BenchSettings, Progress, run_bench
    from mixllm.evaluation.contender import Contender, Predictions, Split, TestData, TrainingData
    from mixllm.evaluation.plots import write_figures
    from mixllm.evaluation.registry import contenders
    from mixllm.evaluation.results import Results, write_results
    from mixllm.evaluation.splits import Dataset, prepare

__all__ = [
    "BenchSettings",
    "Contender",
    "Dataset",
    "Predictions",
    "Progress",
    "Results",
    "Split",
    "TestData",
    "TrainingData",
    "contenders",
    "prepare",
    "run_bench",
    "write_figures",
    "write_results",
]

_MODULES = {
    "mixllm.evaluation.bench": ("BenchSettings", "Progress", "run_bench"),
    "mixllm.evaluation.contender": ("Contender", "Predictions", "Split", "TestData", "TrainingData"),
    "mixllm.evaluation.plots": ("write_figures",),
    "mixllm.evaluation.registry": ("contenders",),
    "mixllm.evaluation.results": ("Results", "write_results"),
    "mixllm.evaluation.splits": ("Dataset", "prepare"),
}
_LOADED_LATER = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    module = _LOADED_LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
