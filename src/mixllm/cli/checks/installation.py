"""Checks of the installation: which optional dependencies are there, in which version."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from mixllm import __version__
from mixllm.cli.checks.finding import Finding, ok, warn

__all__ = ["EXTRAS", "check_installation"]

EXTRAS = {
    "prices": ("genai-prices",),
    "logs": ("pyarrow",),
    "cli": ("click", "pyyaml", "rich"),
    "gateway": ("aiohttp", "httptools", "prometheus-client", "starlette", "uvicorn", "uvloop"),
    "demo": ("openai",),
    "train": ("sentence-transformers", "torch"),
    "fit": ("scikit-learn", "scipy"),
    "bench": ("matplotlib",),
}
"""The packages of each extra, as pyproject.toml has them."""

_NOT_ON_WINDOWS = frozenset({"uvloop"})


def check_installation() -> Iterator[Finding]:
    """Look up the version of every optional dependency."""
    yield ok("version", f"mixllm {__version__}, Python {platform.python_version()} on {platform.system()}")
    for extra, packages in EXTRAS.items():
        found, missing = [], []
        for package in packages:
            if sys.platform == "win32" and package in _NOT_ON_WINDOWS:
                continue
            try:
                found.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                missing.append(package)
        if missing:
            yield warn(
                f"extra {extra}", f"not installed: {', '.join(missing)}", f"Where needed: pip install 'mixllm[{extra}]'"
            )
        else:
            yield ok(f"extra {extra}", ", ".join(found))
