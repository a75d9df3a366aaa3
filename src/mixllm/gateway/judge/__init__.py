"""An LLM that judges a share of the answers in the background, for scores that people rarely give."""

from mixllm.gateway.judge.judge import Judge, JudgeCounts
from mixllm.gateway.judge.prompt import RUBRIC, Sample, judge_request
from mixllm.gateway.judge.verdict import read_verdict

__all__ = ["RUBRIC", "Judge", "JudgeCounts", "Sample", "judge_request", "read_verdict"]
