"""Kills a real installation again and again; nothing is lost, doubled or paid for without a trace.

``CRASH_KILLS`` says how often (default 200), ``CRASH_SEED`` repeats a sequence, ``DATABASE_URL``
names a PostgreSQL server to use instead of SQLite.
"""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.crash.adversary import RECOVERY_SECONDS, Adversary
from tests.crash.installation import wait_for
from tests.crash.invariants import (
    Book,
    broken,
    content,
    i1_every_conversation_has_one_outcome,
    i4_paid_twice_is_bounded_and_each_has_its_row,
)
from tests.crash.stack import Stack
from tests.crash.table import text

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)"),
]

KILLS = int(os.environ.get("CRASH_KILLS", "200"))
SMOKE = 20
MUTANTS = Path(__file__).with_name("mutants")
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture
def stack(tmp_path, request):
    """A stack at work with one analysis that nobody disturbed."""
    one = Stack(tmp_path, os.environ.get("DATABASE_URL", ""), **getattr(request, "param", {}))
    try:
        one.serve("main")
        one.serve("side")
        wait_for(one.ready, 120, "the first readiness")
        first = one.begin()
        wait_for(lambda: one.status(first) not in ("queued", "running"), 300, "the first analysis")
        assert one.status(first) == "completed"
        yield one
    finally:
        one.end()


def disturb(stack, kills, capsys, **options):
    """Run the loop; the book of it, with the table printed."""
    begun = time.monotonic()

    def say(line):
        with capsys.disabled():
            print(line, flush=True)  # noqa: T201

    say(f"\nSeed {SEED}: CRASH_SEED={SEED} repeats it.")
    undisturbed = content(stack.rows, stack.sessions[0])
    adversary = Adversary(stack, SEED, **options)
    adversary.run(kills, say)
    book = Book(stack, adversary, undisturbed)
    say(text(book, SEED, time.monotonic() - begun))
    return book


@pytest.mark.parametrize("stack", [{"limit": None if KILLS > SMOKE else 400}], indirect=True)
def test_any_number_of_kills_loses_nothing(stack, capsys):
    book = disturb(stack, KILLS, capsys)
    wrong = broken(book)
    left = stack.stop()
    if left:
        wrong.append(f"i7: {left} processes are left after the stop")
    wrong += [f"recovery: {kill}" for kill in slow(book.adversary.kills)]
    assert not wrong, "\n".join(wrong)


def slow(kills):
    """Those after which work stood still too long, though no frozen host held a lock."""
    return [one for one in kills if not one.disturbed and (one.seconds or 0) > RECOVERY_SECONDS]


@pytest.mark.parametrize(
    "stack",
    [{"limit": 300, "CRASH_MUTANT": "no_journal", "PYTHONPATH": str(MUTANTS)}],
    indirect=True,
)
def test_the_loop_notices_a_product_that_forgets_what_it_paid_for(stack, capsys):
    book = disturb(stack, 6, capsys, victims={"point": 1}, points={"before_finish"})
    assert i4_paid_twice_is_bounded_and_each_has_its_row(book)
    assert not i1_every_conversation_has_one_outcome(book)
