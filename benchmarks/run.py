"""Every benchmark of speed, one after the other; ``make bench``."""

from __future__ import annotations

import subprocess
import sys

_MODULES = ("benchmarks.library", "benchmarks.gateway_latency")


def main() -> None:
    for module in _MODULES:
        subprocess.run([sys.executable, "-m", module], check=True)


if __name__ == "__main__":
    main()
