"""Time of one LLM's answers: shape, recent level, calls at the same time, spread; and all LLMs' together, frozen."""

from mixllm.predictors.latency.bank import LatencyBank, LatencyColumns
from mixllm.predictors.latency.calls import TimedCall
from mixllm.predictors.latency.forecast import LatencyForecast
from mixllm.predictors.latency.pace import PaceBank, bounded_log_pace
from mixllm.predictors.latency.predictor import LatencyPredictor, are_time_sums, is_former_state
from mixllm.predictors.latency.shape import TimeShape
from mixllm.predictors.latency.wait import expected_wait_s

__all__ = [
    "LatencyBank",
    "LatencyColumns",
    "LatencyForecast",
    "LatencyPredictor",
    "PaceBank",
    "TimeShape",
    "TimedCall",
    "are_time_sums",
    "bounded_log_pace",
    "expected_wait_s",
    "is_former_state",
]
