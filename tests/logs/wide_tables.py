"""Small tables as RouterBench writes them."""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["wide_columns", "wide_frame"]


def wide_columns(**changed: Any) -> dict[str, Any]:
    """Return the columns of a good table of three queries and two LLMs; None drops a column.

    In names of `changed`, ``__`` stands for ``|``.
    """
    columns: dict[str, Any] = {
        "sample_id": ["t.0", "t.1", "t.2"],
        "prompt": ["['Shots.\\n\\nWhat is 1 + 1?']", "Plain\n\nthe question?", "['x']"],
        "eval_name": ["arith", "arith", "text"],
        "small": [1.0, 0.0, 0.5],
        "large": [1, 1, 0],
        "small|model_response": ["a", None, "c"],
        "large|model_response": ["A", "B", "C"],
        "small|total_cost": [0.1, 0.2, 0.3],
        "large|total_cost": [1.0, 2.0, 3.0],
        "oracle_model_to_route_to": ["small", "large", "small"],
    }
    columns |= {name.replace("__", "|"): values for name, values in changed.items()}
    return {name: values for name, values in columns.items() if values is not None}


def wide_frame(**changed: Any) -> pd.DataFrame:
    """Return `wide_columns` as pandas' own table."""
    return pd.DataFrame(wide_columns(**changed))
