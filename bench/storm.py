"""Many calls under a provider's bad day: is everything answered, in what time, at what cost?

``python -m bench.storm [--calls 5000] [--concurrency 50] [--targets 1] [--json FILE]`` sends the
calls twice through the gateway to a scripted server in a process of its own, once undisturbed and
once with 20 % 429s, 5 % 500s, 2 % dropped connections, 2 % malformed answers and 1 % hangs. The
journal is the product's own, in a throw-away SQLite database, and its sums are compared with the
bill that the server keeps. ``--concurrency`` are the calls on the wire at each target. As in an
analysis (:class:`analyses.runner.reading.Reader`), ``AHEAD`` conversations for each of them are in
work, in both runs, and up to as many again while calls wait to be sent once more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench import installation
from bench.scripted import Provider, provider

LATENCY = 0.2
PRICE_IN, PRICE_OUT = 0.1, 0.4
CALM: dict[str, Any] = {"latency": LATENCY}
STORM: dict[str, Any] = {
    **CALM,
    "mix": [
        {"act": "success", "weight": 70},
        {"act": "rate_limit", "weight": 20, "retry_after": 1},
        {"act": "server_error", "weight": 5},
        {"act": "dropped", "weight": 2},
        {"act": "invalid_json", "weight": 1},
        {"act": "wrong_schema", "weight": 1},
        {"act": "hang", "weight": 1},
    ],
}


async def send(
    targets: list[Provider], workspace: int, tag: str, calls: int, concurrency: int
) -> dict[str, Any]:
    """All calls, so many at once; how many were answered and how long that took."""
    from analyses.runner.ports import AHEAD
    from bench.gateway import call, target
    from providers.gateway.errors import CallError
    from providers.gateway.types import CallScope, Route, Timeouts
    from providers.runner import open_gateway

    route = Route(
        tuple(
            target(
                one.url,
                id=str(number),
                concurrency=concurrency,
                price_in=PRICE_IN,
                price_out=PRICE_OUT,
                timeouts=Timeouts(5, 10, 30),
            )
            for number, one in enumerate(targets, 1)
        )
    )
    gateway, scope = open_gateway(workspace), CallScope(workspace=workspace, owner=f"bench:{tag}")
    failed, walls = {}, []
    numbers, tasks = iter(range(calls)), set()
    most = AHEAD * concurrency

    def fill(_done: object = None) -> None:
        tasks.difference_update([task for task in tasks if task.done()])
        while len(tasks) - min(most, gateway.pausing) < most:
            number = next(numbers, None)
            if number is None:
                return
            task = asyncio.create_task(one_call(number))
            tasks.add(task)
            task.add_done_callback(fill)

    async def one_call(number: int) -> None:
        started = time.perf_counter()
        try:
            await gateway.chat(call(f"{tag} {number}"), route, scope)
        except CallError as error:
            failed[error.error_class.value] = failed.get(error.error_class.value, 0) + 1
        walls.append(time.perf_counter() - started)

    started, cpu = time.perf_counter(), time.process_time()
    fill()
    while tasks:
        await asyncio.wait(set(tasks))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    await gateway.aclose()
    walls.sort()
    return {
        "calls": calls,
        "answered": calls - sum(failed.values()),
        "failed": failed,
        "seconds": round(seconds, 2),
        "p50_ms": round(1000 * walls[len(walls) // 2]),
        "p99_ms": round(1000 * walls[int(len(walls) * 0.99)]),
        "cpu_ms_a_call": round(1000 * cpu / calls, 2),
    }


def books(workspace: int, owner: str, targets: list[Provider]) -> dict[str, Any]:
    """The ledger's own sums beside the providers' bills."""
    from django.db.models import Count, Sum

    from providers.models import LlmAttempt, LlmCall

    settled = LlmCall.objects.filter(workspace=workspace, owner=owner, state="ok").aggregate(
        calls=Count("pk"), sent=Sum("tokens_in"), answered=Sum("tokens_out"), cost=Sum("cost")
    )
    doubt = LlmAttempt.objects.filter(call__workspace=workspace, owner=owner, in_doubt=True)
    billed = [line for one in targets for line in one.lines()]
    cost = sum(line["tokens_in"] * PRICE_IN + line["tokens_out"] * PRICE_OUT for line in billed)
    return {
        "ledger_settled": settled["calls"],
        "ledger_in_doubt": doubt.count(),
        "ledger_cost": round(float(settled["cost"] or 0), 6),
        "provider_billed": len(billed),
        "provider_cost": round(cost / 1_000_000, 6),
        "unexplained": max(0, len(billed) - settled["calls"] - doubt.count()),
    }


async def run(options: argparse.Namespace, folder: Path, workspace: int) -> list[dict[str, Any]]:
    """Undisturbed, then under faults."""
    from asgiref.sync import sync_to_async

    rows = []
    for name, scenario in (("undisturbed", CALM), ("storm", STORM)):
        async with AsyncExitStack() as stack:
            targets = [
                await stack.enter_async_context(
                    provider(folder, f"{name}{number}", {**scenario, "seed": 7 + number})
                )
                for number in range(options.targets)
            ]
            row = await send(targets, workspace, name, options.calls, options.concurrency)
            row |= await sync_to_async(books)(workspace, f"bench:{name}", targets)
        rows.append({"what": name, **row})
        print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    ratio = round(rows[1]["seconds"] / rows[0]["seconds"], 2)
    rows.append({"what": "storm / undisturbed", "times": ratio, "bar": 1.5})
    print(rows[-1])
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--targets", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        installation.prepare(folder)
        from accounts.models import Workspace

        workspace = Workspace.objects.create(name="Bench")
        rows = asyncio.run(run(options, Path(folder), workspace.pk))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
