"""What must hold after every step, and at the end.

The rules are told from the rows alone, in plain SQL, so that they share nothing with the code that
writes them. The legal edges are those of the design, not the product's own table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from tests.simulation.people import KEY_LENGTHS
from tests.simulation.stage import Violation
from tests.simulation.world import World

EDGES: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "paused", "cancelled"}),
    "running": frozenset(
        {
            "pausing",
            "paused",
            "blocked",
            "cancelling",
            "cancelled",
            "completed",
            "completed_partial",
            "failed",
        }
    ),
    "pausing": frozenset({"paused", "running", "cancelling", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "blocked": frozenset({"queued", "pausing", "paused", "cancelling", "cancelled"}),
    "cancelling": frozenset({"cancelled"}),
    "failed": frozenset({"queued"}),
    "completed_partial": frozenset({"queued"}),
    "completed": frozenset(),
    "cancelled": frozenset(),
}
ENDED = ("completed", "completed_partial", "cancelled", "failed")
QUIET = ("paused", "cancelled", "completed", "completed_partial")
"""Statuses that promise that nothing is at work."""

TINY = 1e-6


class Rules:
    """Watches one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._status: dict[int, str] = {}
        self._seen: dict[int, int] = {}
        self._outcomes: dict[tuple[int, int], str] = {}
        self._fences: dict[int, tuple[int, str]] = {}
        self._changes = -1
        for session in world.analyses:
            self._status[session.pk] = "queued"
            self._seen[session.pk] = 0

    def check(self) -> None:
        """Raise :class:`~tests.simulation.world.Violation` when a rule is broken now."""
        world = self._world
        if world.faults:
            raise Violation(world.faults[0])
        changes = connection.connection.total_changes
        if changes == self._changes:
            return
        self._changes = changes
        for row in self._rows("SELECT * FROM analyses_analysissession"):
            self._session(row)
        self._items()
        self._batches()
        self._bill(world.bills)
        self._doubts()
        self._books()

    def _rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        cursor = connection.connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def _one(self, sql: str, *values: Any) -> Any:
        return connection.connection.execute(sql, values).fetchone()[0]

    # --- one analysis ---------------------------------------------------------------------

    def _session(self, row: dict[str, Any]) -> None:
        pk = row["id"]
        self._events(pk, row["status"])
        self._wishes(row)
        may_run = row["desired"] == "run" and row["status"] in ("queued", "running")
        self._world.note_stop(pk, may_run)
        self._counters(row)
        self._stages(pk)

    def _events(self, pk: int, status: str) -> None:
        """Numbers without gaps, and statuses along legal edges that end where the row is."""
        rows = self._rows(
            "SELECT e.seq, e.kind, e.payload, t.next_seq FROM core_topic t"
            " LEFT JOIN core_event e ON e.topic_id = t.id AND e.seq > ?"
            " WHERE t.name = ? ORDER BY e.seq",
            self._seen[pk],
            f"analysis:{pk}",
        )
        seen = self._seen[pk]
        for row in rows:
            if row["seq"] is None:
                continue
            if row["seq"] != seen + 1:
                raise Violation(f"event {row['seq']} follows event {seen}")
            seen = row["seq"]
            if row["kind"] == "status":
                self._edge(pk, json.loads(row["payload"])["status"])
        self._seen[pk] = seen
        if rows and rows[0]["next_seq"] != seen + 1:
            raise Violation(f"next number is {rows[0]['next_seq']} after event {seen}")
        if self._status[pk] != status:
            raise Violation(f"last event says {self._status[pk]}, the row {status}")

    def _edge(self, pk: int, new: str) -> None:
        old = self._status[pk]
        if new != old and new not in EDGES[old]:
            raise Violation(f"no edge from {old} to {new}")
        self._status[pk] = new

    def _wishes(self, row: dict[str, Any]) -> None:
        status, desired = row["status"], row["desired"]
        if status in ("pausing", "paused") and desired != "pause":
            raise Violation(f"{status} though {desired} is wanted")
        if status in ("cancelling", "cancelled") and desired != "cancel":
            raise Violation(f"{status} though {desired} is wanted")
        if status in ("queued", "running", "blocked") and desired == "cancel":
            raise Violation(f"{status} though it was cancelled")
        leased = self._one(
            "SELECT count(*) FROM analyses_batch WHERE session_id = ? AND status = 'leased'",
            row["id"],
        )
        if leased and status in QUIET:
            raise Violation(f"{status} while {leased} batches are leased")

    def _counters(self, row: dict[str, Any]) -> None:
        """The counters are sums of the rows."""
        counts = dict(
            connection.connection.execute(
                "SELECT outcome, count(*) FROM analyses_analysisitem WHERE session_id = ?"
                " GROUP BY outcome",
                (row["id"],),
            ).fetchall()
        )
        read, failed = counts.get("read", 0), counts.get("failed", 0)
        if row["read_count"] != read or row["failed_count"] != failed:
            raise Violation(
                f"{row['read_count']} read and {row['failed_count']} failed are shown,"
                f" {read} and {failed} are there"
            )
        if sum(counts.values()) > row["total"]:
            raise Violation(f"{sum(counts.values())} outcomes of {row['total']} conversations")

    def _stages(self, pk: int) -> None:
        rows = self._rows(
            "SELECT p.key, p.batches_done, p.batches_total, p.items_done, p.items_total,"
            " (SELECT count(*) FROM analyses_batch b WHERE b.session_id = p.session_id"
            "  AND (b.stage = p.key AND b.status IN ('done', 'quarantined')"
            # What could not be prepared is never handed on to reading.
            "  OR p.key = 'facets' AND b.stage = 'prepare' AND b.status = 'quarantined')) AS over"
            " FROM analyses_stageprogress p WHERE p.session_id = ?",
            pk,
        )
        for row in rows:
            if row["batches_done"] > row["batches_total"] > 0:
                raise Violation(f"{row['key']}: {row['batches_done']} of {row['batches_total']}")
            if row["batches_done"] > row["over"]:
                raise Violation(
                    f"{row['key']}: {row['batches_done']} batches counted, {row['over']} are over"
                )
            if row["items_done"] > row["items_total"]:
                raise Violation(f"{row['key']}: {row['items_done']} of {row['items_total']} items")

    def _items(self) -> None:
        """An outcome stays what it was, unless somebody asked to try a failed one again."""
        rows = connection.connection.execute(
            "SELECT session_id, position, outcome FROM analyses_analysisitem"
            " WHERE outcome <> 'waiting'"
        ).fetchall()
        now = {(session, position): outcome for session, position, outcome in rows}
        for key, outcome in self._outcomes.items():
            if outcome == "read" and now.get(key) != "read":
                raise Violation(f"conversation {key} was read and is {now.get(key)} now")
        self._outcomes = now

    def _batches(self) -> None:
        """Fences only grow, what was saved stays saved, and a lease has an owner and an end."""
        for row in self._rows(
            "SELECT id, stage, status, fence, attempt, owner, lease_until FROM analyses_batch"
        ):
            old = self._fences.get(row["id"])
            if old is not None and row["fence"] < old[0]:
                raise Violation(f"the fence of batch {row['id']} fell to {row['fence']}")
            ranged = row["stage"] in ("prepare", "facets")
            if old is not None and ranged and old[1] == "done" and row["status"] != "done":
                raise Violation(f"batch {row['id']} was saved and is {row['status']} now")
            leased = row["status"] == "leased"
            if leased != bool(row["owner"]) or leased != bool(row["lease_until"]):
                raise Violation(f"batch {row['id']} is {row['status']}, owner {row['owner']!r}")
            self._fences[row["id"]] = (row["fence"], row["status"])

    # --- money ----------------------------------------------------------------------------

    def _bill(self, billed: int) -> None:
        """Whatever was paid for is settled, in doubt, or still out."""
        settled = self._one("SELECT count(*) FROM providers_llmcall WHERE state = 'ok'")
        doubt = self._one("SELECT count(*) FROM providers_llmattempt WHERE in_doubt")
        out = self._one("SELECT count(*) FROM providers_llmcall WHERE state = 'sent'")
        if billed > settled + doubt + out:
            raise Violation(
                f"the provider billed {billed} calls; {settled} are settled, {doubt} in doubt"
                f" and {out} out"
            )

    def _doubts(self) -> None:
        """What never left, or came back with an error, costs nothing and is in no doubt."""
        wrong = self._rows(
            "SELECT message FROM providers_llmattempt"
            " WHERE in_doubt AND (message = 'refused' OR message LIKE 'HTTP %')"
        )
        if wrong:
            raise Violation(f"a send that ended with {wrong[0]['message']!r} is in doubt")

    def _books(self) -> None:
        """Books are sums of the rows, never negative, and within their limits."""
        rows = {
            scope: (spent, doubt, reserved)
            for scope, spent, doubt, reserved in connection.connection.execute(
                "SELECT 'analysis:' || c.analysis_id, sum(coalesce(c.cost, 0)),"
                " sum((SELECT coalesce(sum(a.cost), 0) FROM providers_llmattempt a"
                "      WHERE a.call_id = c.id AND a.in_doubt)), sum(c.reserved)"
                " FROM providers_llmcall c GROUP BY c.analysis_id"
            )
        }
        books = self._rows("SELECT * FROM providers_spendbook")
        sums: dict[int, list[float]] = {7: [0.0] * 3, 10: [0.0] * 3}
        for book in books:
            kept = [float(book[name]) for name in ("spent", "doubt", "reserved")]
            if min(kept) < 0:
                raise Violation(f"the book of {book['scope']} is below zero")
            if book["scope"].startswith("analysis:"):
                self._same(book["scope"], kept, rows.get(book["scope"], (0, 0, 0)))
            elif book["scope"].startswith("project:"):
                total = sums[len(book["key"])]
                sums[len(book["key"])] = [a + b for a, b in zip(total, kept, strict=True)]
        whole = [sum(column) for column in zip(*rows.values(), strict=True)] or [0.0] * 3
        for length, total in sums.items():
            self._same("days" if length == 10 else "months", total, whole)
        self._limits()

    def _same(self, name: str, kept: Sequence[float], rows: Sequence[float]) -> None:
        if any(abs(a - b) > TINY for a, b in zip(kept, rows, strict=True)):
            raise Violation(f"the book of {name} says {kept}, its calls {list(rows)}")

    def _limits(self) -> None:
        over = self._rows(
            "SELECT b.scope, b.key, b.spent, b.doubt, b.reserved, l.amount, l.period"
            " FROM providers_spendbook b JOIN providers_spendlimit l ON l.scope = b.scope"
        )
        for row in over:
            if len(row["key"]) != KEY_LENGTHS[row["period"]]:
                continue
            used = float(row["spent"]) + float(row["doubt"]) + float(row["reserved"])
            bound = max(float(row["amount"]), self._world.used_when_limited.get(row["scope"], 0.0))
            if used > bound + TINY:
                raise Violation(f"{row['scope']}: {used:.6f} of at most {bound:.6f} is used")

    # --- the end --------------------------------------------------------------------------

    def check_end(self) -> None:
        """Everything ended: nothing is held, and every conversation has its outcome."""
        self._changes = -1
        self.check()
        for row in self._rows("SELECT * FROM analyses_analysissession"):
            if row["status"] not in ENDED:
                raise Violation(f"it never ends: {row['status']} {row['reason']}")
            if row["status"] in ("completed", "completed_partial"):
                self._all_have_outcomes(row)
        leased = self._one("SELECT count(*) FROM analyses_batch WHERE status = 'leased'")
        if leased:
            raise Violation(f"{leased} batches are still leased at the end")

    def _all_have_outcomes(self, row: dict[str, Any]) -> None:
        if row["read_count"] + row["failed_count"] != row["total"]:
            raise Violation(
                f"{row['read_count']} read and {row['failed_count']} failed of {row['total']}"
            )
        if (row["status"] == "completed_partial") != (row["failed_count"] > 0):
            raise Violation(f"{row['status']} with {row['failed_count']} failed")

    def check_settled(self) -> None:
        """Some time after the end no reservation is left and no call is open."""
        self._changes = -1
        self.check()
        reserved = self._one("SELECT coalesce(sum(reserved), 0) FROM providers_spendbook")
        if float(reserved) > TINY:
            raise Violation(f"{float(reserved):.6f} is still reserved at the end")
        shown = self._rows(
            "SELECT s.cost, s.in_doubt, b.spent, b.doubt FROM analyses_analysissession s"
            " JOIN providers_spendbook b ON b.scope = 'analysis:' || s.id AND b.key = 'all'"
        )
        for row in shown:
            self._same("the page", (row["cost"], row["in_doubt"]), (row["spent"], row["doubt"]))
        lost = self._one("SELECT count(*) FROM providers_llmcall WHERE state = 'sent'")
        if lost:
            raise Violation(f"{lost} calls are out for ever")
