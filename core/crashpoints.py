"""Named points at which a process can be made to kill itself, so that recovery can be tested.

Nothing happens unless ``OPENCLIO_CRASH_AT`` is set, and only tests set it. Its value is a list of
points separated by commas: ``name`` dies at the first passing, ``name:4`` at the fourth of a
process, ``name:0.2`` at any with that chance. ``@path`` reads the list from a file at each
passing, and only the process that takes the file away dies: one order, one death.

Plain Python, because the gateway passes such points as well.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "OPENCLIO_CRASH_AT"

POINTS = frozenset(
    {
        "after_claim",  # a batch was claimed, nothing of it begun
        "before_intent",  # a call is about to be journaled
        "after_intent",  # its intent is committed, nothing was sent
        "after_send",  # its bytes have left, no answer yet
        "after_response",  # it was answered, the answer is not committed
        "after_settle",  # the answer is committed, nobody has read it
        "before_finish",  # a batch is complete, its transaction not begun
        "in_finish",  # all is written, nothing committed
        "after_finish",  # the batch is committed, the worker does not know
        "after_stage_open",  # inside the transaction that opens a stage
        "before_artifact",  # a file of numbers is made, not written
        "after_artifact",  # it is written and in its place, no row points at it
        "during_renew",  # leases were prolonged, the holder does not know
        "before_release",  # work is about to be given back
        "bulk_opened",  # calls belong to a provider batch that was not handed over yet
        "bulk_submitted",  # the provider took it, its number is not committed
        "bulk_stored",  # its number is committed, nobody waits for it yet
        "bulk_kept",  # a first part of its answers is committed
        "bulk_collected",  # all of its answers are, but not that it has ended
    }
)

SEND_SECONDS = 0.02
"""How long after its start a call counts as sent."""


def parse(text: str) -> dict[str, float]:
    """Points with their number or chance. Raises ``ValueError`` for a name that does not exist."""
    wanted: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, when = part.partition(":")
        if name not in POINTS:
            raise ValueError(f"{VARIABLE}: there is no point {name!r}; known: {sorted(POINTS)}.")
        wanted[name] = float(when or 1)
    return wanted


_value = os.environ.get(VARIABLE, "").strip()
_armed = bool(_value)
_order = Path(_value[1:]) if _value.startswith("@") else None
_wanted: Mapping[str, float] = {} if _order else parse(_value)
_passed: Counter[str] = Counter()
_chance = random.SystemRandom()


def reach(name: str) -> None:
    """Die here if that was asked for."""
    if _armed:
        _consider(name)


def reach_soon(name: str) -> None:
    """Die here when the request just begun has left; call it from the event loop."""
    if _armed:
        asyncio.get_running_loop().call_later(SEND_SECONDS, _consider, name)


def _consider(name: str) -> None:
    wanted = _wanted if _order is None else _ordered(_order)
    when = wanted.get(name)
    if when is None:
        return
    _passed[name] += 1
    due = _chance.random() < when if when < 1 else _passed[name] >= when
    if due and (_order is None or _taken(_order)):
        os.kill(os.getpid(), signal.SIGKILL)


def _ordered(path: Path) -> dict[str, float]:
    try:
        return parse(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}


def _taken(path: Path) -> bool:
    """Whether this process is the one that took the order away."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
