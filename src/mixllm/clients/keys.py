"""The key that an LLM is called with."""

from __future__ import annotations

from collections.abc import Mapping

from mixllm.errors import UpstreamError
from mixllm.types import LLMSpec, Secret

__all__ = ["key_for"]


def key_for(spec: LLMSpec, *, secrets: Mapping[str, Secret], environ: Mapping[str, str]) -> str | None:
    """Return the key of `spec`; None where it has none.

    Parameters
    ----------
    spec
        The LLM.
    secrets
        Literal keys by the LLM's name; they go before ``spec.api_key_env``.
    environ
        Where ``spec.api_key_env`` is looked up.

    Raises
    ------
    UpstreamError
        Where the key is missing, or no header can carry it.
    """
    secret = secrets.get(spec.name)
    if secret is not None:
        source, key = "secrets", secret.reveal().strip()
    elif spec.api_key_env is not None:
        source = f"the environment variable {spec.api_key_env}"
        key = environ.get(spec.api_key_env, "").strip()
        if not key:
            raise UpstreamError(spec.name, f"its key is missing. Set {source}.")
    else:
        return None
    if not (key.isascii() and key.isprintable()):
        raise UpstreamError(spec.name, f"its key holds characters that no header can carry. Correct {source}.")
    return key
