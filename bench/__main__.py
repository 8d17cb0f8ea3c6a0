"""``python -m bench``: all benchmarks one after the other, or those named."""

from __future__ import annotations

import subprocess
import sys

ALL = ("quality", "map", "gateway", "storm", "pipeline", "estimates", "resume", "pause")


def main() -> int:
    """Run each in a process of its own; returns the number that failed."""
    chosen = sys.argv[1:] or ALL
    unknown = sorted(set(chosen) - set(ALL))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}. Known: {', '.join(ALL)}.")
        return 2
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
