"""The watch outlives what it calls, and does not fill the log with one fault."""

from types import SimpleNamespace

import pytest

from core.supervision import watch


@pytest.fixture
def said(monkeypatch):
    """What was logged."""
    lines = []
    monkeypatch.setattr(watch.logger, "exception", lambda line, *_: lines.append(line))
    return lines


@pytest.mark.django_db(transaction=True)
def test_one_fault_is_said_once_and_again_after_it_was_gone(said):
    faults = [ValueError("a"), ValueError("a"), KeyError("b"), None, ValueError("a")]
    left = iter(faults)

    def tick():
        if fault := next(left):
            raise fault

    guarded = watch._Guard()
    counts = []
    for _ in faults:
        guarded(tick)
        counts.append(len(said))
    assert counts == [1, 1, 2, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_fault_that_stays_is_said_every_minute(said, monkeypatch):
    clock = iter(range(0, 1000, 20))
    # The module's own name only: other threads read the real clock at the same time.
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    guarded = watch._Guard()
    for _ in range(8):
        guarded(full_disk)
    assert 2 <= len(said) <= 4


def full_disk():
    raise OSError("the disk is full")


def test_a_tick_that_cannot_be_imported_is_said_and_left_out(said):
    found = watch._ticks(["core.supervision.watch._ticks", "core.nowhere.at_all"])
    assert found == [watch._ticks]
    assert said == ["The tick %s cannot be imported."]
