"""The whole analysis against a loopback provider of fixed latency.

``python -m bench.pipeline`` imports 2,000 conversations of the shipped sample's generator, runs
``manage.py analyze`` on them in a fresh data folder with 50 calls at once of 200 ms each, and
compares the seconds with the ideal (calls × latency ÷ concurrency). Results go to
``bench/results/pipeline.json``.
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
import urllib.request
from pathlib import Path

from projects.sample import generate

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
BARS = {"first_provisional": 3.0, "facets": 10.0, "total": 25.0}
"""Seconds that must be reached on two quiet cores."""


def main() -> None:
    """Run once and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="openclio-bench-") as folder:
        figures = measure(Path(folder), options)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pipeline.json").write_text(json.dumps(figures, indent=2))
    _print(figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds a call")
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--file", type=Path, help="read this file instead of the sample")
    parser.add_argument("--cold", action="store_true", help="do not compile the map beforehand")
    return parser.parse_args()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Figures of one analysis in a data folder of its own."""
    source = options.file or _sample(folder, options.conversations)
    environment = {**os.environ, "OPENCLIO_DATA_DIR": str(folder / "data")}
    if not options.cold:
        subprocess.run(  # what set-up does in the background
            [sys.executable, "manage.py", "warm"],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.loopback", "--port", "0", "--latency", str(options.latency)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        began, used = time.perf_counter(), _children_cpu()
        subprocess.run(
            [
                sys.executable,
                "manage.py",
                "analyze",
                str(source),
                "--base-url",
                address,
                "--model",
                "loopback",
                "--embedding-model",
                "loopback-vectors",
                "--concurrency",
                str(options.concurrency),
                "--limit",
                str(options.conversations),
                "--out",
                str(folder / "out"),
            ],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall, cpu = time.perf_counter() - began, _children_cpu() - used
        with urllib.request.urlopen(address.removesuffix("/v1") + "/stats") as answer:
            served = json.load(answer)
    finally:
        server.terminate()
        server.wait()
    run = json.loads((folder / "out" / "run.json").read_text())
    return {
        "run": run,
        "served": served,
        "wall_seconds": round(wall, 2),
        "cpu_ms_per_call": round(1000 * cpu / max(1, run["calls"]), 2),
        "ideal_facets": options.conversations * options.latency / options.concurrency,
        "load": os.getloadavg(),
    }


def _sample(folder: Path, count: int) -> Path:
    path = folder / "sample.jsonl"
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in generate(count=count))
    return path


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _print(figures: dict[str, object]) -> None:
    run = figures["run"]
    assert isinstance(run, dict)
    seconds = run["seconds"]
    reached = {
        "first_provisional": seconds["first_provisional"],
        "facets": seconds["stages"]["facets"],
        "total": seconds["total"],
    }
    print(f"{'':20} {'seconds':>8} {'bar':>6}")
    for key, bar in BARS.items():
        print(f"{key:20} {reached[key]:8.2f} {bar:6.1f}  {'' if reached[key] <= bar else 'MISSED'}")
    print(f"{'ideal facets':20} {figures['ideal_facets']:8.2f}")
    print(f"calls {run['calls']}, repeated {run['repeated_calls']}, failures {run['failures']}")
    print(f"CPU per call, everything included: {figures['cpu_ms_per_call']} ms")
    print(f"load average {figures['load']}")


if __name__ == "__main__":
    main()
