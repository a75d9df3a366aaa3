"""LiteLLM as a library: loaded when it is first needed, without its network calls, its advertising and its logs."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from functools import cache
from typing import Any

from mixllm.errors import MissingExtraError

__all__ = ["has_litellm", "load_litellm"]

_LOCAL_PRICES = "LITELLM_LOCAL_MODEL_COST_MAP"
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


@cache
def has_litellm() -> bool:
    """Return whether LiteLLM is installed; it is not loaded."""
    return importlib.util.find_spec("litellm") is not None


@cache
def load_litellm(feature: str = "This") -> Any:
    """Return the module ``litellm``; the first call takes seconds.

    Parameters
    ----------
    feature
        What needs it, for the words of the error.

    Raises
    ------
    MissingExtraError
        Where it is not installed.
    """
    # Without this, importing it fetches a price list from the network.
    os.environ.setdefault(_LOCAL_PRICES, "True")
    try:
        litellm: Any = importlib.import_module("litellm")
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, "providers") from error
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    for name in _LOGGERS:
        # It logs what fails, and with it prompts; what fails is reported by us.
        logging.getLogger(name).disabled = True
    return litellm
