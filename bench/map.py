"""How long the map takes, what it costs in CPU, and whether neighbours stay neighbours.

``python -m bench.map --sizes 10000 100000 --out map.json`` prints a table and writes JSON. The
first line is the one-time compilation, measured in a process of its own with an empty cache. The
bar is 20 s of CPU for 100,000 points, where UMAP took 85 on the same two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.manifold import trustworthiness

from analyses.pipeline.base import Labels, Matrix
from analyses.pipeline.map import MapParams, draw, warm

BARS = {100_000: 20.0}
"""Most seconds of CPU, by number of points."""

SAMPLE = 2_000
"""Points whose neighbourhoods are compared; the measure is quadratic."""


def blobs(size: int, width: int = 100, groups: int = 60, seed: int = 0) -> tuple[Matrix, Labels]:
    """Noisy groups on the unit sphere, of uneven size as themes are."""
    dice = np.random.default_rng(seed)
    centres = dice.normal(size=(groups, width)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = dice.choice(groups, size, p=dice.dirichlet(np.full(groups, 2.0))).astype(np.int32)
    rows = centres[labels] + 0.09 * dice.normal(size=(size, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def compile_seconds() -> float:
    """Seconds until the map is ready in a new process with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "analyses.pipeline.map"], env=environment, check=True)
        return time.perf_counter() - start


def measure(size: int) -> dict[str, Any]:
    """One map of ``size`` points."""
    vectors, _ = blobs(size)
    chosen = np.random.default_rng(1).permutation(size)[:SAMPLE]
    cpu, start = _cpu(), time.perf_counter()
    layout = draw(vectors, MapParams(), 7)
    seconds, cpu = time.perf_counter() - start, _cpu() - cpu
    kept = trustworthiness(vectors[chosen], layout.xy[chosen], n_neighbors=10)
    bar = BARS.get(size)
    return {
        "points": size,
        "method": layout.method,
        "seconds": round(seconds, 2),
        "cpu": round(cpu, 2),
        "bar_cpu": bar,
        "met": None if bar is None else bool(cpu <= bar),
        "trustworthiness": round(float(kept), 4),
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    first = round(compile_seconds(), 1)
    print(f"first use on a machine: {first} s")
    start = time.perf_counter()
    warm()
    again = round(time.perf_counter() - start, 1)
    print(f"ready in this process:  {again} s")
    print(f"{'points':>9} {'seconds':>8} {'cpu':>7} {'bar':>6} {'trust':>7}  method")
    rows = []
    for size in options.sizes:
        row = measure(size)
        rows.append(row)
        print(
            f"{size:>9,} {row['seconds']:>8} {row['cpu']:>7} {row['bar_cpu'] or '-':>6} "
            f"{row['trustworthiness']:>7}  {row['method']}"
        )
    if options.out:
        result = {"first_use_seconds": first, "ready_seconds": again, "maps": rows}
        options.out.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
