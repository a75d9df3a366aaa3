"""Where an LLM answers: what is learned of its times is that endpoint's."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mixllm.types import LLMSpec

__all__ = ["endpoint_code", "same_endpoint"]

_CODE_BYTES = 6
"""Whole numbers of 48 bits are exact in a float64."""


def same_endpoint(one: LLMSpec, other: LLMSpec) -> bool:
    """Return whether both answer at the same address under the same name.

    Examples
    --------
    >>> here = LLMSpec(name="a", api_base="http://here/v1")
    >>> same_endpoint(here, LLMSpec(name="a", api_base="http://there/v1"))
    False
    """
    return (one.api_base, one.upstream_model) == (other.api_base, other.upstream_model)


def endpoint_code(spec: LLMSpec) -> NDArray[np.float64]:
    """Return a number, shape (1,), that tells the endpoint of `spec` from others and cannot be read back."""
    digest = hashlib.sha256(f"{spec.api_base}\n{spec.upstream_model}".encode()).digest()
    return np.array([float(int.from_bytes(digest[:_CODE_BYTES], "big"))])
