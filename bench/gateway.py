"""What the gateway adds to a call, beside the bare SDK, against a loopback server of its own.

``python -m bench.gateway [--calls 2000] [--json FILE]`` prints a table: CPU a call in this
process, wall time a call against the ideal, answers replayed from the journal, identical calls
at once, and how long going on to the next target takes for each fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, DefaultAioHttpClient

from providers.clients.openai_compatible import OpenAICompatibleClient, chat_body
from providers.clients.scripted import Act, Scenario, Step
from providers.clients.scripted_server import ScriptedServer
from providers.gateway.gateway import Gateway
from providers.gateway.journal import GroupCommitJournal, MemoryStore
from providers.gateway.types import (
    CallScope,
    ChatCall,
    ChatMessage,
    Deployment,
    Route,
    Timeouts,
    WireChat,
)
from providers.prices import cost_of

LATENCY = 0.2
SCOPE = CallScope(workspace=1, session=1, owner="bench")
TURN = "| I ordered two lamps last week and one of them arrived broken, what can I do about it?"
SCHEMA = {
    "type": "object",
    "properties": {
        "request": {"type": "string", "maxLength": 600},
        "task": {"type": "string", "maxLength": 600},
        "summary": {"type": "string", "maxLength": 600},
        "language": {"type": "string", "maxLength": 60},
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "concern": {"type": "integer", "minimum": 1, "maximum": 5},
        "resolved": {"type": ["boolean", "null"]},
    },
    "required": ["request", "task", "summary", "language", "sentiment", "concern", "resolved"],
    "additionalProperties": False,
}

Work = Callable[[int], Awaitable[Any]]


def call(text: str) -> ChatCall:
    """A facets call of ordinary size: about 3,000 characters of rules, 2,000 of conversation."""
    turns = "\n".join(f"{i}. user:\n{TURN}" for i in range(1, 20))
    return ChatCall(
        purpose="facets",
        messages=(
            ChatMessage("system", "You read one conversation and answer questions. " * 60),
            ChatMessage("user", f"<talk>\n1. user:\n| {text}\n{turns}\n</talk>"),
        ),
        schema=SCHEMA,
        prompt_version="bench-1",
    )


async def measure(name: str, work: Work, calls: int, concurrency: int) -> dict[str, Any]:
    """Run ``work`` so often, so many at once; CPU is this process's, per call."""
    numbers = iter(range(calls))
    walls: list[float] = []

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            await work(number)
            walls.append(time.perf_counter() - started)

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(concurrency)])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - started
    walls.sort()
    row = {
        "what": name,
        "concurrency": concurrency,
        "calls": calls,
        "cpu_ms": round(1000 * cpu / calls, 3),
        "p50_ms": round(1000 * walls[len(walls) // 2], 1),
        "p99_ms": round(1000 * walls[int(len(walls) * 0.99)], 1),
        "seconds": round(wall, 2),
    }
    print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    return row


@asynccontextmanager
async def loopback(latency: float) -> AsyncIterator[str]:
    """The loopback server in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.loopback",
        "--latency",
        str(latency),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


def target(url: str, **changes: Any) -> Deployment:
    values: dict[str, Any] = {
        "id": url,
        "provider": url,
        "kind": "openai",
        "model": "m",
        "base_url": url,
        "embedding_model": "e",
        "allow_private": True,
        "concurrency": 200,
        "price_in": 0.1,
        "price_out": 0.4,
    }
    return Deployment(**{**values, **changes})


def gateway() -> Gateway:
    journal = GroupCommitJournal(MemoryStore())
    return Gateway({"openai": OpenAICompatibleClient()}, journal, price=cost_of)


async def overhead(url: str, calls: int) -> list[dict[str, Any]]:
    """Bare SDK and gateway, side by side."""
    rows = []
    sdk = AsyncOpenAI(
        api_key="k", base_url=url, max_retries=0, http_client=DefaultAioHttpClient(timeout=30)
    )
    door = gateway()
    route = Route((target(url),))

    def bare(tag: str) -> Work:
        async def work(i: int) -> None:
            asked = call(f"{tag} {i}")
            wire = WireChat(asked.messages, asked.max_tokens, schema=asked.schema)
            answer = await sdk.chat.completions.create(**chat_body("m", wire))
            json.loads(answer.choices[0].message.content or "")

        return work

    def ours(tag: str) -> Work:
        async def work(i: int) -> None:
            await door.chat(call(f"{tag} {i}"), route, SCOPE)

        return work

    await bare("warm")(0)
    await ours("warm up")(0)
    for concurrency in (1, 50, 200):
        count = calls if concurrency > 1 else 20
        rows.append(await measure("bare SDK", bare(f"a{concurrency}"), count, concurrency))
        rows.append(await measure("gateway", ours(f"b{concurrency}"), count, concurrency))
    rows.append(await measure("replayed", ours("b200"), calls, 50))
    same = [door.chat(call("the same"), route, SCOPE) for _ in range(50)]
    asked = sum(not result.replayed for result in await asyncio.gather(*same))
    rows.append({"what": "50 identical at once", "sent": asked})
    started = time.perf_counter()
    vectors = await door.embed([f"text {i}" for i in range(2000)], route, SCOPE)
    seconds = round(time.perf_counter() - started, 2)
    rows.append({"what": "2,000 texts embedded", "calls": vectors.calls, "seconds": seconds})
    print(*rows[-2:], sep="\n")
    await sdk.close()
    await door.aclose()
    return rows


async def failover(url: str) -> list[dict[str, Any]]:
    """How much longer a call takes when the first target fails."""
    rows = []
    for act in (Act.SERVER_ERROR, Act.RATE_LIMIT, Act.UNAUTHORIZED, Act.DROPPED, Act.HANG):
        server, door = ScriptedServer(Scenario(mix=(Step(act=act, retry_after=20),))), gateway()
        first = target(await server.start(), timeouts=Timeouts(1, 1, 5))
        route = Route((first, target(url)))
        await door.chat(call(f"warm up {act}"), route, SCOPE)
        started = time.perf_counter()
        await door.chat(call(f"failover {act}"), route, SCOPE)
        added = time.perf_counter() - started - LATENCY
        rows.append({"what": f"failover on {act}", "added_ms": round(1000 * added, 1)})
        print(rows[-1], flush=True)
        await server.stop()
        await door.aclose()
    return rows


async def run(calls: int) -> list[dict[str, Any]]:
    async with loopback(LATENCY) as url:
        return [*await overhead(url, calls), *await failover(url)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    rows = asyncio.run(run(options.calls))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
