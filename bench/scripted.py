"""A scripted provider in a process of its own, for benchmarks, with the bill it keeps."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.installation import ROOT


@dataclass(frozen=True, slots=True)
class Provider:
    """A scripted provider in its own process, and the file of its bill."""

    url: str
    bill: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it charges, a line a request."""
        text = self.bill.read_text("utf-8") if self.bill.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


@asynccontextmanager
async def provider(folder: Path, name: str, scenario: dict[str, Any]) -> AsyncIterator[Provider]:
    """Start one; it ends with the block."""
    script, bill = folder / f"{name}.json", folder / f"{name}.bill"
    script.write_text(json.dumps(scenario))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "providers.clients.scripted_server", "--port=0"),
        *(f"--scenario={script}", f"--bill={bill}"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield Provider(next(word for word in line.split() if word.startswith("http")), bill)
    finally:
        process.terminate()
        await process.wait()
