"""The state machine of an analysis: the only table of its legal edges.

What a person wants is ``desired``; what is, is ``status``, written by ``analyses.services.advance``
alone. The machine of a batch is ``core.work.EDGES``.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyses.models import SessionStatus

S = SessionStatus

EDGES: Mapping[str, frozenset[str]] = {
    S.QUEUED: frozenset({S.RUNNING, S.PAUSED, S.CANCELLED}),
    S.RUNNING: frozenset(
        {
            S.PAUSING,
            S.PAUSED,
            S.BLOCKED,
            S.CANCELLING,
            S.CANCELLED,
            S.COMPLETED,
            S.PARTIAL,
            S.FAILED,
        }
    ),
    # Never back to waiting: a batch may still be paying, and "paused" would be shown beside it.
    S.PAUSING: frozenset({S.PAUSED, S.RUNNING, S.CANCELLING, S.CANCELLED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLED}),
    # A block finds calls in flight, so a pause or a stop may have to wait for them.
    S.BLOCKED: frozenset({S.QUEUED, S.PAUSING, S.PAUSED, S.CANCELLING, S.CANCELLED}),
    S.CANCELLING: frozenset({S.CANCELLED}),
    S.FAILED: frozenset({S.QUEUED}),
    S.PARTIAL: frozenset({S.QUEUED}),
    S.COMPLETED: frozenset(),
    S.CANCELLED: frozenset(),
}
"""From each status to those that may follow it."""

RETRYABLE = frozenset({S.PARTIAL, S.FAILED})
"""Ended, with work left that may be tried again."""


class IllegalEdge(Exception):
    """A change of status that the machine does not have."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(f"There is no edge from {old!r} to {new!r}.")
        self.old, self.new = old, new


class StatusMoved(Exception):
    """Another transaction changed the status first; roll back and look again."""


def check(old: str, new: str) -> None:
    """Raise :class:`IllegalEdge` unless ``new`` may follow ``old``."""
    if new not in EDGES.get(old, frozenset()):
        raise IllegalEdge(old, new)
