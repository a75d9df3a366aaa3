"""Renew ``docs/openapi.json`` from the table of operations."""

from __future__ import annotations

import json
from pathlib import Path

from mixllm import __version__
from mixllm.gateway.openapi import describe

PAGE = Path(__file__).parents[1] / "docs" / "openapi.json"


def main() -> None:
    PAGE.write_text(json.dumps(describe(__version__), indent=2) + "\n")


if __name__ == "__main__":
    main()
