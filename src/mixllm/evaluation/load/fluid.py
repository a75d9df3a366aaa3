"""What is possible at all under a load: the best assignment of a steady flow of queries to LLMs of bounded capacity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.extra import bench_extra

__all__ = ["fluid_assignment"]


def fluid_assignment(
    quality: NDArray[np.float64],
    cost: NDArray[np.float64],
    work_s: NDArray[np.float64],
    *,
    rate_per_s: float,
    servers: NDArray[np.intp],
    trade_off: float,
) -> NDArray[np.float64]:
    """Return how much of each query goes to each LLM, shape (m, K), each row's sum at most 1.

    Parameters
    ----------
    quality, cost, work_s
        Of each query at each LLM, shape (m, K): what it is worth, what it costs as a share of c_ref, and how long a
        server is busy with it.
    rate_per_s
        Arrivals per second, all queries equally often.
    servers
        Of each LLM, shape (K,).
    trade_off
        v >= 0: the mean of v·quality − cost is the largest possible, and as few queries as possible are turned away.

    Raises
    ------
    InvalidValueError
        Where no assignment is found.

    Notes
    -----
    A linear program: Σ_l x_nl <= 1, rate · mean_n(x_nl work_nl) <= servers_l. With true qualities it bounds every
    router from above, up to the randomness of a stream: it knows all answers and all arrivals, and nobody waits. With a
    router's predictions it is what they are worth under perfect control.
    """
    with bench_extra("The bound"):
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, vstack

    m, llms = quality.shape
    places = np.arange(m * llms)
    once = csr_array((np.ones(m * llms), (places // llms, places)), shape=(m, m * llms))
    busy = csr_array(((rate_per_s / m) * work_s.ravel(), (places % llms, places)), shape=(llms, m * llms))
    # Turning a query away is worse than any answer: all are served where the pool can.
    worth = trade_off * quality - cost
    worth = worth - worth.min() + 1.0 + (worth.max() - worth.min())
    found = linprog(
        -worth.ravel() / m,
        A_ub=vstack([once, busy]),
        b_ub=np.concatenate([np.ones(m), servers.astype(np.float64)]),
        bounds=(0.0, 1.0),
        method="highs",
    )
    if found.x is None:
        raise InvalidValueError("rate_per_s", rate_per_s, f"one with an assignment ({found.message})")
    return np.asarray(found.x, np.float64).reshape(m, llms)
