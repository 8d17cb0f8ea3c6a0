"""LiteLLM's Router under the same loads as the gateway; runs in an environment of its own.

Called by :mod:`bench.peers`; reads a JSON request on standard input and prints a JSON answer.
It imports nothing of the product. Deployments get the same model, the Router's own defaults apply
(retries, cooldown, timeouts) but for what the request names.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import litellm
from litellm import Router

litellm.suppress_debug_info = True


def router(request: dict) -> Router:
    """A first deployment and, where a second is named, a fallback to it."""
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/m", "api_base": url, "api_key": "k"},
        }
        for name, url in zip(("first", "second"), request["urls"], strict=False)
    ]
    more = {"fallbacks": [{"first": ["second"]}]} if len(models) > 1 else {}
    if request.get("timeout"):
        more["timeout"] = request["timeout"]
    return Router(model_list=models, **more)


async def load(request: dict) -> dict:
    """So many calls, so many at once; CPU of this process a call."""
    door = router(request)
    numbers = iter(range(request["calls"]))
    walls = []

    async def worker() -> None:
        for number in numbers:
            text = "the same" if request.get("same") else f"{request['tag']} {number}"
            started = time.perf_counter()
            await ask(door, request, text)
            walls.append(time.perf_counter() - started)

    await ask(door, request, "warm up")
    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(request["concurrency"])])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - started
    walls.sort()
    return {
        "cpu_ms": round(1000 * cpu / request["calls"], 3),
        "p50_ms": round(1000 * walls[len(walls) // 2], 1),
        "p99_ms": round(1000 * walls[int(len(walls) * 0.99)], 1),
        "seconds": round(wall, 2),
    }


async def failover(request: dict) -> dict:
    """One call whose first deployment is faulty: how long until an answer, or what error."""
    door = router(request)
    started = time.perf_counter()
    try:
        await asyncio.wait_for(ask(door, request, request["tag"]), request["give_up"])
        outcome = "answered"
    except Exception as error:  # noqa: BLE001 - whatever it was is the outcome
        outcome = type(error).__name__
    return {"seconds": round(time.perf_counter() - started, 3), "outcome": outcome}


async def ask(door: Router, request: dict, text: str) -> object:
    messages = [dict(message) for message in request["messages"]]
    messages[-1]["content"] = messages[-1]["content"].replace("{text}", text)
    return await door.acompletion(
        model="first",
        messages=messages,
        max_tokens=800,
        temperature=0,
        response_format=request["response_format"],
    )


def main() -> None:
    request = json.load(sys.stdin)
    work = {"load": load, "failover": failover}[request["what"]]
    asyncio.run(answer(work, request))


async def answer(work: Any, request: dict) -> None:
    """Print the figures and leave at once: the Router's own tasks do not end when asked to."""
    print("RESULT " + json.dumps(await work(request)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
