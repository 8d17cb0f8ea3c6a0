"""How close estimates come: tokens expected before the start against those of the journal.

Usage: ``python -m bench.estimates [SET …]``. Reads sets beside the repository (``../shared/data``),
at most 300 conversations of each, and runs every one from end to end against the scripted provider
in this process, which counts real tokens of its prompts and answers. The first analysis of a set
is estimated without any history, the second with the answers of the first, of other conversations.
Writes ``bench/results/estimates.json``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "bench" / "results"
SETS = ("support_sgd", "llm_chat", "multilingual")
MOST = 300
BAR = 0.10
"""Largest error of all tokens together."""
PRICES = ("0.15", "0.60")
"""US dollars per million tokens in and out, as of a small hosted model."""


def main() -> int:
    """Run every set, print the table, write the figures; 1 when a set misses the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--limit", type=int, default=MOST)
    options = parser.parse_args()
    absent = [name for name in options.sets if not _path(name).exists()]
    if absent:
        print(f"Not measured: {', '.join(absent)} would have to lie in {DATA}.")
        return 0
    with tempfile.TemporaryDirectory(prefix="openclio-bench-") as folder:
        os.environ["OPENCLIO_DATA_DIR"] = folder
        figures = {name: _measured(Path(folder), name, options.limit) for name in options.sets}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "estimates.json").write_text(json.dumps(figures, indent=2))
    worst = max(abs(row["error"]) for runs in figures.values() for row in runs)
    print(f"largest error of all tokens: {worst:.1%} (bar {BAR:.0%})")
    return int(worst > BAR)


def _path(name: str) -> Path:
    return DATA / f"{name}.jsonl.gz"


def _measured(folder: Path, name: str, limit: int) -> list[dict[str, Any]]:
    """The set in two halves: one without history, one with the first half's."""
    with gzip.open(_path(name), "rt", encoding="utf-8") as file:
        lines = list(islice(file, 2 * limit))
    half = min(limit, len(lines) // 2)
    parts = (lines[:half], lines[half : 2 * half])
    runs = []
    for number, part in enumerate(parts):
        path = folder / f"{name}-{number}.jsonl"
        path.write_text("".join(part), encoding="utf-8")
        runs.append(_run(path, name, "with history" if number else "no history"))
    return runs


def _run(path: Path, name: str, kind: str) -> dict[str, Any]:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.core.management import call_command

    from analyses.models import AnalysisSession
    from analyses.selectors.estimates import stored

    call_command("migrate", verbosity=0, interactive=False)
    _provider(name)
    began = time.perf_counter()
    call_command(
        "analyze", str(path), "--provider", name, "--out", str(path.parent / "out"), stdout=_Quiet()
    )
    session = AnalysisSession.objects.latest("pk")
    estimate = stored(session)
    assert estimate is not None
    rows = list(_rows(session, estimate))
    total = {side: sum(row[side] for row in rows) for side in ("expected", "actual")}
    result = {
        "kind": kind,
        "conversations": session.total,
        "rendered": estimate.sampled,
        "stages": rows,
        **total,
        "error": total["expected"] / max(1, total["actual"]) - 1,
        "within": estimate.tokens_in.low + estimate.tokens_out.low
        <= total["actual"]
        <= estimate.tokens_in.high + estimate.tokens_out.high,
        "cost": {"expected": estimate.cost, "actual": f"{session.cost:.4f}"},
        "seconds": round(time.perf_counter() - began, 1),
    }
    _print(name, result)
    return result


class _Quiet:
    def write(self, text: str) -> int:
        """Swallow what the command would say."""
        return len(text)

    def flush(self) -> None:
        """Nothing is held."""


def _provider(name: str) -> None:
    """A scripted provider of this name with a chat and an embedding model."""
    from decimal import Decimal

    from accounts.services import ensure_workspace
    from providers.models import ModelDeployment, Provider, ProviderKind

    provider, made = Provider.objects.get_or_create(
        workspace=ensure_workspace(), name=name, defaults={"kind": ProviderKind.SCRIPTED}
    )
    if made:
        prices = dict(zip(("price_in", "price_out"), map(Decimal, PRICES), strict=True))
        ModelDeployment.objects.create(provider=provider, model="scripted", **prices)
        ModelDeployment.objects.create(
            provider=provider, model="vectors", embeds=True, price_in=Decimal("0.02")
        )


def _rows(session: Any, estimate: Any) -> Iterator[dict[str, Any]]:
    from django.db.models import Count, Sum

    from providers.models import LlmCall

    actual = {
        row["purpose"]: row
        for row in LlmCall.objects.filter(analysis_id=session.pk)
        .order_by()
        .values("purpose")
        .annotate(calls=Count("pk"), asked=Sum("tokens_in"), answered=Sum("tokens_out"))
    }
    for stage in estimate.stages:
        found = actual.get(stage.key, {"calls": 0, "asked": 0, "answered": 0})
        yield {
            "stage": stage.key,
            "calls": [round(stage.calls.likely), found["calls"]],
            "tokens_in": [round(stage.tokens_in.likely), found["asked"]],
            "tokens_out": [round(stage.tokens_out.likely), found["answered"]],
            "expected": round(stage.tokens_in.likely + stage.tokens_out.likely),
            "actual": found["asked"] + found["answered"],
        }


def _print(name: str, result: dict[str, Any]) -> None:
    print(
        f"\n{name}, {result['kind']}: {result['conversations']} conversations, "
        f"{result['rendered']} rendered, {result['seconds']} s"
    )
    print(f"{'stage':12} {'calls':>12} {'in: expected':>13} {'actual':>9} {'out':>8} {'actual':>8}")
    for row in result["stages"]:
        calls = f"{row['calls'][0]} / {row['calls'][1]}"
        print(
            f"{row['stage']:12} {calls:>12} {row['tokens_in'][0]:13,} {row['tokens_in'][1]:9,}"
            f" {row['tokens_out'][0]:8,} {row['tokens_out'][1]:8,}"
        )
    inside = "inside" if result["within"] else "OUTSIDE"
    print(
        f"all tokens: expected {result['expected']:,}, actual {result['actual']:,}, "
        f"error {result['error']:+.1%}, {inside} the range; "
        f"cost {result['cost']['expected']}, actual ${result['cost']['actual']}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
