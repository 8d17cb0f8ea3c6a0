"""The peer that the gateway is compared with and checked against, in an environment of its own.

``python -m bench.peers`` installs it.

LiteLLM needs other versions of packages that the product pins, so it never enters the product's
environment: it is installed under ``var/bench`` when a benchmark asks for it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.installation import ROOT

LITELLM = "litellm[proxy]==1.80.0"
FOLDER = ROOT / "var" / "bench" / "litellm"
SCRIPT = Path(__file__).with_name("peer_router.py")


def environment(package: str = LITELLM, folder: Path = FOLDER) -> Path | None:
    """The environment's Python, made on first use; ``None`` when it cannot be installed."""
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == package:
        return python
    print(f"installing {package} into {folder.relative_to(ROOT)}", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", package]
        subprocess.run(install, check=True, timeout=600)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"the peer could not be installed: {type(error).__name__}")
        return None
    stamp.write_text(package)
    return python


async def ask(python: Path, request: dict[str, Any]) -> dict[str, Any]:
    """One measurement by the peer; an ``error`` instead when its process failed."""
    process = await asyncio.create_subprocess_exec(
        *(str(python), str(SCRIPT)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate(json.dumps(request).encode())
    for line in said.decode("utf-8", "replace").splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    return {"error": f"ended with {process.returncode}"}


if __name__ == "__main__":
    sys.exit(environment() is None)
