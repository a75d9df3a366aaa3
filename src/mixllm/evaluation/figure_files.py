"""Figures as files: the same figure gives the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixllm.errors import ConfigError
from mixllm.evaluation.extra import bench_extra

__all__ = ["write_drawn"]

_SAME_EVERY_TIME: dict[Any, Any] = {"svg.hashsalt": "mixllm", "svg.fonttype": "path"}


def write_drawn(drawn: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write each of matplotlib's figures as ``<name>.svg`` and ``<name>.png`` into `folder`, and return the paths.

    Raises
    ------
    ConfigError
        Where the folder cannot be written.
    """
    with bench_extra("Figures"):
        import matplotlib as mpl
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
                path = folder / f"{name}{suffix}"
                with mpl.rc_context(_SAME_EVERY_TIME):
                    figure.savefig(path, metadata=metadata, dpi=150, bbox_inches="tight")
                paths.append(path)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}). Give another folder.") from error
    return paths
