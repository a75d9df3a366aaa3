"""Offline learning: regressors fitted by scikit-learn and frozen into arrays, chosen per LLM, and their calibration.

scikit-learn is imported where a family that needs it is fitted (extra ``train``), and never on the request path.
"""

from mixllm.learning.offline.appraisal import Appraisal, LLMAppraisal, appraise
from mixllm.learning.offline.batch_forecast import BatchForecast, forecast_batch
from mixllm.learning.offline.binned_coverage import binned_coverage, mean_interval_scale, quality_coverage_by_llm
from mixllm.learning.offline.calibration import coverage, coverage_by_llm, interval_scale
from mixllm.learning.offline.calibration_values import (
    BinnedCoverage,
    Coverage,
    CoverageTable,
    IntervalScale,
    Reliability,
    ReliabilityBin,
)
from mixllm.learning.offline.families import (
    ForestParameters,
    KNNParameters,
    MLPParameters,
    fit_forest,
    fit_knn,
    fit_mlp,
    fit_ridge,
    freeze_forest,
    freeze_mlp,
    paper_fitters,
)
from mixllm.learning.offline.family import Family, FitOne, FittedPool, PoolRegressor, per_llm
from mixllm.learning.offline.reliability import equal_mass_bins, reliability
from mixllm.learning.offline.selection import (
    FamilyChoice,
    FamilyScore,
    OutOfFold,
    choose_families,
    choose_from,
    cross_validate,
    fit_chosen,
)
from mixllm.learning.offline.shrinkage import Shrinkage, ShrinkageScore, tune_shrinkage
from mixllm.learning.offline.training import MIXLLM, PAPER, TrainedModel, TrainingRecipe, train
from mixllm.learning.offline.training_set import TrainingSet

__all__ = [
    "MIXLLM",
    "PAPER",
    "Appraisal",
    "BatchForecast",
    "BinnedCoverage",
    "Coverage",
    "CoverageTable",
    "Family",
    "FamilyChoice",
    "FamilyScore",
    "FitOne",
    "FittedPool",
    "ForestParameters",
    "IntervalScale",
    "KNNParameters",
    "LLMAppraisal",
    "MLPParameters",
    "OutOfFold",
    "PoolRegressor",
    "Reliability",
    "ReliabilityBin",
    "Shrinkage",
    "ShrinkageScore",
    "TrainedModel",
    "TrainingRecipe",
    "TrainingSet",
    "appraise",
    "binned_coverage",
    "choose_families",
    "choose_from",
    "coverage",
    "coverage_by_llm",
    "cross_validate",
    "equal_mass_bins",
    "fit_chosen",
    "fit_forest",
    "fit_knn",
    "fit_mlp",
    "fit_ridge",
    "forecast_batch",
    "freeze_forest",
    "freeze_mlp",
    "interval_scale",
    "mean_interval_scale",
    "paper_fitters",
    "per_llm",
    "quality_coverage_by_llm",
    "reliability",
    "train",
    "tune_shrinkage",
]
