"""How soon a pause takes effect, again and again while an analysis reads.

``python -m bench.pause`` starts the real server with two workers and a provider over HTTP, reads
the shipped sample, and pauses and resumes 20 times. Printed are the seconds from the wish until the
last call was sent and until the analysis says "Paused", beside the latency of a call: calls in
flight are always kept. Results go to ``bench/results/pause.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

from bench import installation

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
BAR = 1.0
"""Seconds from the end of the calls in flight until the analysis is paused."""


def main() -> None:
    """Measure once and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="openclio-bench-") as folder:
        installation.prepare(folder)
        figures = _measure(options)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pause.json").write_text(json.dumps(figures, indent=2))
    _print(figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pauses", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds a call")
    parser.add_argument("--concurrency", type=int, default=8)
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    loopback = subprocess.Popen(
        [sys.executable, "-m", "bench.loopback", "--port", "0", "--latency", str(options.latency)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert loopback.stdout is not None
    address = loopback.stdout.readline().strip()
    session, actor = _start(address, options.concurrency)
    server = installation.serve()
    try:
        rounds = [_round(session, actor, address) for _ in range(options.pauses)]
    finally:
        installation.end(server)
        loopback.terminate()
        loopback.wait()
    return {
        "latency": options.latency,
        "concurrency": options.concurrency,
        "last_call": [last for last, _ in rounds],
        "paused": [paused for _, paused in rounds],
        "load": os.getloadavg(),
    }


def _start(address: str, concurrency: int) -> tuple[Any, Any]:
    from analyses import services
    from projects.runner import ensure_sample
    from providers.models import ModelDeployment, Provider, ProviderKind
    from templates_app.models import TemplateVersion

    actor, _ = installation.owner_and_project()
    dataset = ensure_sample()
    provider = Provider.objects.create(
        workspace=dataset.project.workspace,
        name="Loopback",
        kind=ProviderKind.OPENAI,
        base_url=address,
        concurrency=concurrency,
    )
    chat = ModelDeployment.objects.create(
        provider=provider, model="loopback", price_in="1", price_out="1"
    )
    version = TemplateVersion.objects.filter(template__key="customer-support").latest("number")
    session = services.start_session(
        actor=actor,
        project=dataset.project,
        dataset=dataset,
        template_version=version,
        chat=chat,
    )
    return session, actor


def _round(session: Any, actor: Any, address: str) -> tuple[float, float]:
    """Seconds after the wish: the last call that was sent, and the state "Paused"."""
    from analyses import services
    from analyses.models import SessionStatus

    asked = _requests(address)
    while _requests(address) < asked + 16:
        time.sleep(0.02)
    began, last, seen = time.monotonic(), 0.0, _requests(address)
    services.pause(actor=actor, session=session)
    while True:
        now = time.monotonic() - began
        requests = _requests(address)
        if requests > seen:
            seen, last = requests, now
        session.refresh_from_db()
        if session.status == SessionStatus.PAUSED:
            break
        time.sleep(0.02)
    paused = time.monotonic() - began
    time.sleep(0.5)
    assert _requests(address) == seen, "a call was sent after the pause"
    services.resume(actor=actor, session=session)
    return round(last, 3), round(paused, 3)


def _requests(address: str) -> int:
    with urllib.request.urlopen(address.removesuffix("/v1") + "/stats") as answer:
        found: int = json.load(answer)["requests"]
        return found


def _print(figures: dict[str, Any]) -> None:
    print(f"{'seconds after the wish':24} {'median':>7} {'p95':>7} {'most':>7}")
    for key, name in (("last_call", "last call sent"), ("paused", "paused")):
        values = sorted(figures[key])
        p95 = values[min(len(values) - 1, int(0.95 * len(values)))]
        print(f"{name:24} {median(values):7.3f} {p95:7.3f} {values[-1]:7.3f}")
    beyond = max(figures["paused"]) - figures["latency"]
    verdict = "" if beyond <= BAR else "MISSED"
    print(f"longest beyond a call of {figures['latency']} s: {beyond:.3f} (bar {BAR}) {verdict}")


if __name__ == "__main__":
    main()
