"""The meta decision maker: hard constraints, then a score per LLM, then a policy that turns scores into a choice."""

from mixllm.decision.arrivals import Arrivals
from mixllm.decision.bounds import ExplorationBounds
from mixllm.decision.constraints import Refusal, why_ineligible
from mixllm.decision.cost_share import SharePacer
from mixllm.decision.forecasts import Forecasts
from mixllm.decision.greedy import GreedyPolicy
from mixllm.decision.maker import Choice, DecisionMaker, pick
from mixllm.decision.out_of_domain import OutOfDomainRule, Outside
from mixllm.decision.pacing import Pacer
from mixllm.decision.period import Period
from mixllm.decision.score import ScoreWeights, score
from mixllm.decision.squarecb import SquareCBPolicy
from mixllm.decision.thompson import ThompsonPolicy
from mixllm.decision.ucb import UCBPolicy
from mixllm.decision.warmup import WarmUpPolicy

__all__ = [
    "Arrivals",
    "Choice",
    "DecisionMaker",
    "ExplorationBounds",
    "Forecasts",
    "GreedyPolicy",
    "OutOfDomainRule",
    "Outside",
    "Pacer",
    "Period",
    "Refusal",
    "ScoreWeights",
    "SharePacer",
    "SquareCBPolicy",
    "ThompsonPolicy",
    "UCBPolicy",
    "WarmUpPolicy",
    "pick",
    "score",
    "why_ineligible",
]
