"""Every router that can enter the benchmark, by its name in the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixllm.errors import InvalidValueError
from mixllm.evaluation.baselines.at_random import AtRandom
from mixllm.evaluation.baselines.carrot import Carrot
from mixllm.evaluation.baselines.cheapest import Cheapest
from mixllm.evaluation.baselines.forest import Forest
from mixllm.evaluation.baselines.irt import ItemResponse
from mixllm.evaluation.baselines.kmeans import Clusters
from mixllm.evaluation.baselines.knn import Neighbours
from mixllm.evaluation.baselines.mf import MatrixFactorisation
from mixllm.evaluation.baselines.mlp import Perceptron
from mixllm.evaluation.baselines.oracle import Oracle
from mixllm.evaluation.baselines.single import Single
from mixllm.evaluation.baselines.tag_mean import TagMean
from mixllm.evaluation.baselines.zero import Zero
from mixllm.evaluation.contender import Contender
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.learning.offline import PAPER

__all__ = ["ROUTERS", "SINGLE", "contenders"]

SINGLE = "single"
"""Stands for every LLM alone; ``single:<llm>`` for one."""

ROUTERS: dict[str, Callable[[], Contender]] = {
    "mixllm": MixLLMRouter,
    "mixllm-paper": lambda: MixLLMRouter(name="mixllm-paper", recipe=PAPER),
    "oracle": Oracle,
    "knn": Neighbours,
    "tag-mean": TagMean,
    "kmeans": Clusters,
    "rf": Forest,
    "mlp": Perceptron,
    "mf": MatrixFactorisation,
    "irt": ItemResponse,
    "carrot": Carrot,
    "zero": Zero,
    "random": AtRandom,
    "cheapest": Cheapest,
}
"""What makes a router, by its name; `single` aside."""


def contenders(names: Sequence[str] | None, *, llms: Sequence[str]) -> list[Contender]:
    """Return new routers.

    Parameters
    ----------
    names
        Their names, each once: those of `ROUTERS`, ``single:<llm>``, or ``single`` for every LLM alone. None takes
        all that there are.
    llms
        LLMs of the log.

    Raises
    ------
    InvalidValueError
        Where a name is not known, or comes twice.

    Examples
    --------
    >>> [contender.name for contender in contenders(["zero", "single"], llms=["small", "large"])]
    ['zero', 'single:small', 'single:large']
    """
    wanted: list[str] = []
    for name in names if names is not None else (*ROUTERS, SINGLE):
        wanted += [f"{SINGLE}:{llm}" for llm in llms] if name == SINGLE else [name]
    if not wanted:
        raise InvalidValueError("routers", names, "one name or more")
    for place, name in enumerate(wanted):
        if name in wanted[:place]:
            raise InvalidValueError("routers", name, "names that come once each")
    return [_made(name, llms) for name in wanted]


def _made(name: str, llms: Sequence[str]) -> Contender:
    if name in ROUTERS:
        return ROUTERS[name]()
    alone = {f"{SINGLE}:{llm}": llm for llm in llms}
    if name in alone:
        return Single(llm=alone[name])
    known = ", ".join([*ROUTERS, SINGLE, *alone])
    raise InvalidValueError("routers", name, f"names out of: {known}")
