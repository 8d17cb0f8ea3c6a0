"""What a crash loop found, as a table."""

from collections import Counter

from tests.crash.adversary import RECOVERY_SECONDS
from tests.crash.invariants import zombie_writes


def percentile(values, share):
    """The smallest value that so large a share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def rows(book):
    """Lines of the table: what, and how much."""
    adversary, stack = book.adversary, book.stack
    kills = adversary.kills
    hit = Counter(kill.victim for kill in kills)
    points = Counter(kill.point for kill in kills if kill.point)
    status = Counter(stack.status(session) for session in stack.sessions)
    calm = [kill.seconds for kill in kills if kill.seconds is not None and not kill.disturbed]
    storm = [kill.seconds for kill in kills if kill.seconds is not None and kill.disturbed]
    twice = book.twice(asked=False)
    doubts = sum(book.doubts(session) for session in stack.sessions)
    items = sum(
        book.one("SELECT count(*) FROM analyses_analysisitem WHERE session_id = ?", session)
        for session in stack.sessions
    )
    wanted = sum(
        book.one("SELECT total FROM analyses_analysissession WHERE id = ?", session)
        for session in stack.sessions
    )
    resumed = ", ".join(f"{n} after {why}" for why, n in adversary.resumed.items())
    yield "kills", len(kills)
    yield "  by victim", ", ".join(f"{name} {n}" for name, n in hit.most_common())
    yield "  by point", ", ".join(f"{name} {n}" for name, n in sorted(points.items()))
    yield "hosts frozen past their leases", len(adversary.frozen)
    yield "writes by them afterwards", len(zombie_writes(book))
    yield "analyses", len(stack.sessions)
    yield "  survivors", f"{status['completed']} of {len(stack.sessions)}"
    yield "  resumed by a person", resumed or "none"
    yield "conversations", items
    yield "  lost", wanted - items
    yield "requests on the bill", sum(len(lines) for lines in book.bill.values())
    yield "  in doubt", doubts
    yield "  paid twice", f"{twice} ({twice / max(1, len(kills)):.2f} for each kill)"
    yield "  where the provider can be asked", book.twice(asked=True)
    for name, seconds in (("recovery", calm), ("  beside a frozen host", storm)):
        if seconds:
            shown = [percentile(seconds, share) for share in (0.5, 0.95, 1.0)]
            yield f"{name}, p50 / p95 / longest", " / ".join(f"{one:.1f} s" for one in shown)
    late = sum(second > RECOVERY_SECONDS for second in calm)
    yield f"recoveries over {RECOVERY_SECONDS} s", late


def text(book, seed, seconds):
    """The whole table."""
    head = f"Crash loop on {book.stack.database.name}, seed {seed}, {seconds / 60:.1f} min"
    lines = [f"  {name:<48}{value}" for name, value in rows(book)]
    return "\n".join(["", head, *lines])
