"""Off-policy evaluation: what another policy would have done with the queries that one policy has answered.

`decisions_of_store` and `decisions_of_export` read what was decided as `LoggedDecisions`; a `TargetPolicy` recomputes
its choices from the logged forecasts, and `shadow_of_store` reads those that a shadow logged; `what_if` estimates the
quality, cost and score of either by IPS, SNIPS and DR, with intervals and effective sample size, and raises
`mixllm.errors.NoSupportError` where the log cannot tell.
"""

from __future__ import annotations

from mixllm.evaluation.offpolicy.estimators import ESTIMATORS, Ratio, doubly_robust, ips, logged_value, snips
from mixllm.evaluation.offpolicy.export_source import decisions_of_export
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.evaluation.offpolicy.report import WhatIfReport
from mixllm.evaluation.offpolicy.samples import Sample, sample_of
from mixllm.evaluation.offpolicy.shadow import LoggedShadow, ShadowAgreement, shadow_of_store
from mixllm.evaluation.offpolicy.store_source import decisions_of_store
from mixllm.evaluation.offpolicy.support import Support, SupportLimits
from mixllm.evaluation.offpolicy.target import TargetPolicy
from mixllm.evaluation.offpolicy.whatif import Settings, what_if

__all__ = [
    "ESTIMATORS",
    "LoggedDecisions",
    "LoggedShadow",
    "Ratio",
    "Sample",
    "Settings",
    "ShadowAgreement",
    "Support",
    "SupportLimits",
    "TargetPolicy",
    "WhatIfReport",
    "decisions_of_export",
    "decisions_of_store",
    "doubly_robust",
    "ips",
    "logged_value",
    "sample_of",
    "shadow_of_store",
    "snips",
    "what_if",
]
