"""The router: route · record · feedback · add_llm · remove_llm, on protocols alone."""

from mixllm.router.budget import Budget, BudgetStatus
from mixllm.router.budget_limits import BudgetLimits, KeyLimits
from mixllm.router.core import RouterCore
from mixllm.router.cost_share import CostShare, CostShareStatus
from mixllm.router.decision_ids import decided_at_s
from mixllm.router.pool import PoolDifference
from mixllm.router.shadows import Shadow, ShadowCounts, Shadows

__all__ = [
    "Budget",
    "BudgetLimits",
    "BudgetStatus",
    "CostShare",
    "CostShareStatus",
    "KeyLimits",
    "PoolDifference",
    "RouterCore",
    "Shadow",
    "ShadowCounts",
    "Shadows",
    "decided_at_s",
]
