"""Kills a real installation again and again; nothing is lost, doubled or paid for without a trace.

``CRASH_KILLS`` says how often (default 200), ``CRASH_SEED`` repeats a sequence, ``DATABASE_URL``
names a PostgreSQL server to use instead of SQLite.
"""

import os
import random
import sys
import time

import pytest

from tests.crash.adversary import RECOVERY_SECONDS, Adversary
from tests.crash.installation import wait_for
from tests.crash.invariants import Book, broken, content
from tests.crash.stack import Stack
from tests.crash.table import text

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)"),
]

KILLS = int(os.environ.get("CRASH_KILLS", "200"))
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture
def stack(tmp_path, request):
    """A stack at work with one analysis that nobody disturbed."""
    options = getattr(request, "param", {})
    one = Stack(tmp_path, os.environ.get("DATABASE_URL", ""), **options)
    try:
        one.serve("main")
        one.serve("side")
        wait_for(one.ready, 90, "the first readiness")
        first = one.begin()
        wait_for(lambda: one.status(first) not in ("queued", "running"), 240, "the first analysis")
        assert one.status(first) == "completed"
        yield one
    finally:
        one.end()


def disturb(stack, kills, seed, capsys):
    """Run the loop; the book of it, with the table printed."""
    begun = time.monotonic()
    with capsys.disabled():
        print(f"\nSeed {seed}: CRASH_SEED={seed} repeats it.", flush=True)  # noqa: T201
    undisturbed = content(stack.rows, stack.sessions[0])
    adversary = Adversary(stack, seed)
    adversary.run(kills)
    book = Book(stack, adversary, undisturbed)
    with capsys.disabled():
        print(text(book, seed, time.monotonic() - begun), flush=True)  # noqa: T201
    return book


@pytest.mark.parametrize(
    ("stack", "kills"),
    [
        pytest.param({}, KILLS, id="plain"),
        pytest.param({"reconciles": True}, max(10, KILLS // 5), id="reconciling"),
    ],
    indirect=["stack"],
)
def test_any_number_of_kills_loses_nothing(stack, kills, capsys):
    book = disturb(stack, kills, SEED, capsys)
    wrong = broken(book)
    left = stack.stop()
    if left:
        wrong.append(f"i7: {left} processes are left after the stop")
    slow = [
        kill
        for kill in book.adversary.kills
        if not kill.disturbed and (kill.seconds or 0) > RECOVERY_SECONDS
    ]
    wrong += [f"recovery: {kill}" for kill in slow]
    assert not wrong, "\n".join(wrong)
