"""What the gateway adds to a call, beside the bare SDK and LiteLLM's Router.

``python -m bench.gateway [--calls 2000] [--alone] [--json FILE]`` prints a table: CPU a call in
this process, wall time a call against the ideal, answers replayed from the journal, identical
calls at once, and how long going on to the next target takes for each fault. The server is a
loopback one in a process of its own; LiteLLM runs in an environment of its own (``bench/peers.py``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from openai import AsyncOpenAI, DefaultAioHttpClient

from bench import peers
from bench.scripted import provider
from providers.clients.openai_compatible import OpenAICompatibleClient, chat_body
from providers.clients.scripted import Act, Step
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


FAULTS: tuple[tuple[str, Step | None], ...] = (
    ("500", Step(act=Act.SERVER_ERROR)),
    ("429, Retry-After 1", Step(act=Act.RATE_LIMIT, retry_after=1)),
    ("429, Retry-After 20", Step(act=Act.RATE_LIMIT, retry_after=20)),
    ("429, quota code", Step(act=Act.QUOTA)),
    ("429, nothing said", Step(act=Act.RATE_LIMIT)),
    ("refused", None),
    ("dropped", Step(act=Act.DROPPED)),
    ("hang before first byte", Step(act=Act.HANG)),
    ("hang mid-answer", Step(act=Act.HANG_MIDWAY)),
)
"""What the first target does. ``None``: nobody listens at its address."""

FIRST_BYTE = 1.0
"""The first target's limit of silence in seconds, which a hang is expected to take."""

NOBODY = "http://127.0.0.1:9/v1"
"""The port of the discard service (RFC 863), which nobody runs any more."""

GIVE_UP = 90.0
"""Seconds after which the peer is waited for no longer."""


async def failover(url: str, python: Path | None) -> list[dict[str, Any]]:
    """How much longer a call takes whose first target fails: the first such call, and one after
    the breaker opened; the peer's first call beside it."""
    rows = []
    for name, step in FAULTS:
        mix = [step.model_dump(mode="json")] if step else []
        with tempfile.TemporaryDirectory() as folder:
            async with provider(Path(folder), "faulty", {"mix": mix} if mix else {}) as faulty:
                address = faulty.url if step else NOBODY
                row = await _failing(name, address, url)
                if python is not None:
                    row |= await _peer_failing(python, address, url)
        rows.append(row)
        print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    return rows


async def _peer_failing(python: Path, address: str, url: str) -> dict[str, Any]:
    asked = {"what": "failover", "urls": [address, url], "give_up": GIVE_UP}
    peer = await peers.ask(python, {**request(), **asked})
    added = round(1000 * (peer.get("seconds", 0) - LATENCY))
    return {"litellm_ms": added, "litellm": peer.get("outcome", peer.get("error"))}


async def _failing(name: str, address: str, url: str) -> dict[str, Any]:
    door = gateway()
    first = target(address, timeouts=Timeouts(FIRST_BYTE, FIRST_BYTE, 10))
    direct, both = Route((target(url),)), Route((first, target(url)))
    walls = []
    for number, route in enumerate([*[direct] * 6, *[both] * 12]):
        started = time.perf_counter()
        await door.chat(call(f"{name} {number}"), route, SCOPE)
        walls.append(1000 * (time.perf_counter() - started))
    await door.aclose()
    usual = sorted(walls[1:6])[2]
    return {
        "what": f"failover on {name}",
        "added_ms": round(walls[6] - usual, 1),
        "after_opening_ms": round(sorted(walls[-5:])[2] - usual, 1),
    }


def request() -> dict[str, Any]:
    """The benchmark's question as the peer's script wants it; ``{text}`` is filled in there."""
    asked = call("{text}")
    form = {"name": "answer", "schema": SCHEMA, "strict": False}
    return {
        "messages": [{"role": one.role, "content": one.content} for one in asked.messages],
        "response_format": {"type": "json_schema", "json_schema": form},
        "tag": "peer",
    }


async def peer_overhead(url: str, calls: int, python: Path) -> list[dict[str, Any]]:
    """The peer under the loads of :func:`overhead`."""
    rows = []
    for concurrency in (1, 50, 200):
        count = calls if concurrency > 1 else 20
        asked = {"what": "load", "urls": [url], "calls": count, "concurrency": concurrency}
        figures = await peers.ask(python, {**request(), **asked})
        rows.append({"what": "LiteLLM Router", "concurrency": concurrency, **figures})
        print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    before = await _requests(url)
    asked = {"what": "load", "urls": [url], "calls": 50, "concurrency": 50, "same": True}
    await peers.ask(python, {**request(), **asked})
    sent = await _requests(url) - before - 1  # one warms it up
    rows.append({"what": "LiteLLM Router, 50 identical at once", "sent": sent})
    print(rows[-1], flush=True)
    return rows


async def _requests(url: str) -> int:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(url.removesuffix("/v1") + "/stats")
        return int((await answer.json())["requests"])


async def run(calls: int, python: Path | None) -> list[dict[str, Any]]:
    """Everything, in one run on one machine."""
    async with loopback(LATENCY) as url:
        rows = await overhead(url, calls)
        if python is not None:
            rows += await peer_overhead(url, calls, python)
        return [*rows, *await failover(url, python)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--alone", action="store_true", help="without LiteLLM's Router")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    python = None if options.alone else peers.environment()
    rows = asyncio.run(run(options.calls, python))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
