"""What must hold after any number of crashes: RELIABILITY's I1 to I9, one function each.

Each takes the book of a disturbed stack and returns a list of what is wrong, in words.
"""

import json
from collections import Counter, defaultdict
from decimal import Decimal

from analyses.services.quarantine import SUSPECT
from tests.crash.adversary import IN_FLIGHT
from tests.crash.database import moment

PRICES = (1, 2)
"""US dollars per million tokens in and out, as the person entered them; vectors have none out."""


class Book:
    """All that is asked about one stack after the adversary has ended."""

    def __init__(self, stack, adversary, undisturbed):
        self.stack = stack
        self.adversary = adversary
        self.undisturbed = undisturbed
        self.rows = stack.rows
        lines = [json.loads(line) for line in stack.bill.read_text().splitlines()]
        self.bill = defaultdict(list)
        for line in lines:
            line["kind"], _, rest = line["model"].partition("-")
            number = int(rest)
            line["asked"] = stack.reconciles(number) and line["kind"] == "script"
            tokens = zip((line["tokens_in"], line["tokens_out"]), PRICES, strict=True)
            line["cost"] = sum(Decimal(count * price) for count, price in tokens) / 10**6
            self.bill[stack.sessions[number]].append(line)

    def each(self):
        """The primary keys of all analyses."""
        return self.stack.sessions

    def one(self, query, *values):
        """The first column of the only row."""
        return self.rows(query, *values)[0][0]

    def settled(self, session):
        """Calls that were answered."""
        return self.one(
            "SELECT count(*) FROM providers_llmcall WHERE analysis_id = ? AND state = 'ok'", session
        )

    def doubts(self, session):
        """Sends of an analysis that were cut off, those of calls still open included."""
        return self.one(
            "SELECT count(*) FROM providers_llmattempt a"
            " JOIN providers_llmcall c ON c.id = a.call_id"
            " WHERE c.analysis_id = ? AND a.in_doubt",
            session,
        )

    def paid_twice(self, session):
        """Requests on the bill beyond the first of each, but for those that were asked anew."""
        distinct = len({line["sha256"] for line in self.bill[session]})
        return len(self.bill[session]) - distinct - self.anew(session)[0]

    def anew(self, session):
        """Number and cost of answers that were bought a second time on purpose.

        When a person has skipped conversations read again, the vectors are made anew; answers
        about vectors are dropped once they are saved, and their calls give up the fingerprint.
        """
        if self.retries(session):
            return self.rows(
                "SELECT count(*), coalesce(sum(cost), 0) FROM providers_llmcall"
                " WHERE analysis_id = ? AND purpose = 'embeddings' AND state = 'ok'"
                " AND fingerprint LIKE ?",
                session,
                "%~%",
            )[0]
        return 0, 0

    def retries(self, session):
        """How often a person had it try again what was skipped."""
        statuses = [payload["status"] for payload in events(self, session, "status")]
        return statuses.count("completed_partial")

    def twice(self, *, asked):
        """The same over all analyses, for calls that the provider can, or cannot, be asked for."""
        lines = [line for some in self.bill.values() for line in some if line["asked"] == asked]
        return len(lines) - len({(line["model"], line["sha256"]) for line in lines})


def money(value):
    return Decimal(str(value or 0))


def i1_every_conversation_has_one_outcome(book):
    wrong = []
    for session in book.each():
        total, status, read, failed = book.rows(
            "SELECT total, status, read_count, failed_count FROM analyses_analysissession"
            " WHERE id = ?",
            session,
        )[0]
        outcomes = dict(
            book.rows(
                "SELECT outcome, count(*) FROM analyses_analysisitem WHERE session_id = ?"
                " GROUP BY outcome",
                session,
            )
        )
        if status != "completed":
            wrong.append(f"{session} is {status}")
        if outcomes != {"read": total} or (read, failed) != (total, 0):
            wrong.append(f"{session}: {outcomes}, counted {read} + {failed} of {total}")
        unfinished = book.one(
            "SELECT count(*) FROM analyses_stageprogress WHERE session_id = ?"
            " AND (finished_at IS NULL OR items_done <> items_total"
            " OR batches_done <> batches_total)",
            session,
        )
        if unfinished:
            wrong.append(f"{session}: {unfinished} stages are not counted to their end")
    return wrong


def i2_results_are_unique_and_of_the_claim_that_finished(book):
    wrong = []
    for table, columns in (
        ("analyses_analysisitem", "session_id, position"),
        ("analyses_facetvalue", "item_id, facet_id"),
        ("analyses_batch", "session_id, stage, seq"),
        ("providers_llmcall", "workspace_id, fingerprint"),
    ):
        doubles = book.rows(
            f"SELECT {columns}, count(*) FROM {table} GROUP BY {columns} HAVING count(*) > 1"
        )
        wrong += [f"{table} has {row} twice" for row in doubles]
    wrong += _saved_twice(book)
    for path, stage_fences in _artifacts(book):
        if "preview-kept-" in path:  # the last picture, kept by a person's retry: no claim's
            continue
        fence = int(path.rpartition("-")[2].partition(".")[0])
        if fence not in stage_fences:
            wrong.append(f"{path} is not of a claim that finished ({sorted(stage_fences)})")
    for one in book.adversary.frozen:
        for batch, fence, owner in one.lost:
            now = book.rows("SELECT status, fence FROM analyses_batch WHERE id = ?", batch)
            if now and now[0] == ("done", fence):
                wrong.append(f"batch {batch} was finished by {owner}, which had lost it")
    return wrong


def _saved_twice(book):
    """Ranges saved more often than they were tried again after the end of the analysis."""
    for session in book.each():
        again = book.retries(session)
        told = Counter(
            payload["seq"]
            for payload in events(book, session, "batches")
            if payload["state"] == "saved"
        )
        for seq, times in told.items():
            if times > 1 + again:
                yield f"{session}: batch {seq} was saved {times} times"


STAGE_OF = {
    "vectors": "embed",
    "labels": "cluster",
    "centroids": "cluster",
    "names": "name",
    "tree": "hierarchy",
    "map": "map",
    "preview": "preview",
}


def _artifacts(book):
    for session in book.each():
        fences = defaultdict(set)
        for stage, fence in book.rows(
            "SELECT stage, fence FROM analyses_batch WHERE session_id = ? AND status = 'done'",
            session,
        ):
            fences[stage].add(fence)
        for kind, path in book.rows(
            "SELECT kind, path FROM analyses_artifact WHERE session_id = ?", session
        ):
            if kind in STAGE_OF:
                yield path, fences[STAGE_OF[kind]]


def i3_the_books_agree(book):
    wrong = []
    for session in book.each():
        cost, doubt = map(
            money,
            book.rows("SELECT cost, in_doubt FROM analyses_analysissession WHERE id = ?", session)[
                0
            ],
        )
        calls = money(
            book.one("SELECT sum(cost) FROM providers_llmcall WHERE analysis_id = ?", session)
        )
        attempts = money(
            book.one(
                "SELECT sum(a.cost) FROM providers_llmattempt a JOIN providers_llmcall c"
                " ON c.id = a.call_id WHERE c.analysis_id = ? AND a.in_doubt",
                session,
            )
        )
        each = {}
        for line in book.bill[session]:
            each.setdefault(line["sha256"], line["cost"])
        billed = sum(each.values(), money(book.anew(session)[1]))
        books = book.rows(
            "SELECT spent, doubt FROM providers_spendbook WHERE scope = ? AND key = 'all'",
            f"analysis:{session}",
        )
        spent, unsure = map(money, books[0]) if books else (None, None)
        tiny = Decimal("0.000005")
        if abs(cost - calls) > tiny:
            wrong.append(f"{session}: shown {cost}, calls {calls}")
        if abs(calls - billed) > tiny:
            wrong.append(f"{session}: calls {calls}, billed once {billed}")
        if abs(doubt - attempts) > tiny:
            wrong.append(f"{session}: in doubt shown {doubt}, attempts {attempts}")
        if spent is None or abs(spent - calls) > tiny or abs(unsure - attempts) > tiny:
            wrong.append(f"{session}: book {spent} + {unsure}, calls {calls} + {attempts}")
    return wrong


def i4_paid_twice_is_bounded_and_each_has_its_row(book):
    wrong = []
    for session in book.each():
        twice, doubts = book.paid_twice(session), book.doubts(session)
        if len(book.bill[session]) - twice != book.settled(session):
            wrong.append(f"{session}: {book.settled(session)} answers are kept")
        if twice > doubts:
            wrong.append(f"{session}: {twice} requests too many, {doubts} attempts in doubt")
    total, bound = book.twice(asked=False), IN_FLIGHT * book.adversary.workers_lost
    if total > bound:
        wrong.append(f"{total} requests too many; in flight at kills were at most {bound}")
    if found := book.twice(asked=True):
        wrong.append(f"{found} paid twice although the provider can be asked")
    return wrong


def i5_events_are_numbered_without_gap_and_end_with_the_status(book):
    wrong = []
    for name, next_seq, count, low, high in book.rows(
        "SELECT t.name, t.next_seq, count(e.id), min(e.seq), max(e.seq) FROM core_topic t"
        " JOIN core_event e ON e.topic_id = t.id GROUP BY t.name, t.next_seq"
    ):
        if (low, high, next_seq) != (1, count, count + 1):
            wrong.append(f"{name}: {count} events numbered {low} to {high}, next {next_seq}")
    for session in book.each():
        payload = events(book, session, "status")[-1]
        if payload.get("status") != book.stack.status(session):
            wrong.append(f"{session}: {book.stack.status(session)}, but last told {payload}")
    return wrong


def events(book, session, kind):
    """Payloads of an analysis's events of a kind, in order."""
    found = book.rows(
        "SELECT e.payload FROM core_event e JOIN core_topic t ON t.id = e.topic_id"
        " WHERE t.name = ? AND e.kind = ? ORDER BY e.seq",
        f"analysis:{session}",
        kind,
    )
    return [json.loads(row) if isinstance(row, str) else row for (row,) in found]


def i6_nothing_is_held(book):
    wrong = []
    leased = book.rows("SELECT id, stage, owner FROM analyses_batch WHERE status = 'leased'")
    wrong += [f"batch {row} is still leased" for row in leased]
    for session in book.each():
        open_calls = book.rows(
            "SELECT state, count(*), sum(reserved) FROM providers_llmcall WHERE analysis_id = ?"
            " AND (state <> 'ok' OR reserved <> 0) GROUP BY state",
            session,
        )
        wrong += [f"{session}: calls {row} are open" for row in open_calls]
    for row in book.rows(
        "SELECT scope, key, reserved FROM providers_spendbook WHERE reserved <> 0"
    ):
        wrong.append(f"{row} is still reserved")
    return wrong


def i8_the_result_is_that_of_an_undisturbed_analysis(book):
    wrong = []
    for session in book.each():
        found = content(book.rows, session)
        for part, expected in book.undisturbed.items():
            if found[part] != expected:
                extra = list((Counter(found[part]) - Counter(expected)).items())[:2]
                missing = list((Counter(expected) - Counter(found[part])).items())[:2]
                wrong.append(f"{session}: {part} differ: {extra} instead of {missing}")
    return wrong


def i9_attempts_are_explained_by_crashes(book):
    """Each claim but the last was taken back from somebody dead. Halves of a suspect begin with
    its attempts.

    A claim raises the fence by one, and so does taking it back: so ``n`` claims of which all but
    one were taken back leave a fence of ``2 n - 1`` or, with claims given back untried, more.
    """
    wrong = []
    usual = book.one("SELECT max(last - first) FROM analyses_batch WHERE stage = 'prepare'")
    for stage, seq, attempt, fence, size in book.rows(
        "SELECT stage, seq, attempt, fence, last - first FROM analyses_batch WHERE attempt > 1"
    ):
        claims = attempt - (SUSPECT if size < usual else 0)
        if 2 * claims - 1 > fence:
            wrong.append(f"{stage} {seq}: {attempt} attempts, fence {fence}")
    return wrong


def content(rows, session):
    """What an analysis found, in a form to compare; rows in a fixed order."""
    return {
        "clusters": rows(
            "SELECT level, name, description, size, users, shown, hue FROM analyses_cluster"
            " WHERE session_id = ? ORDER BY 1, 2, 3, 4",
            session,
        ),
        "members": rows(
            "SELECT i.position, c.level, c.name FROM analyses_clustermembership m"
            " JOIN analyses_cluster c ON c.id = m.cluster_id"
            " JOIN analyses_analysisitem i ON i.id = m.item_id WHERE c.session_id = ?"
            " ORDER BY 1, 2, 3",
            session,
        ),
        "answers": rows(
            "SELECT i.position, v.facet_id, v.text, v.number, v.flag FROM analyses_facetvalue v"
            " JOIN analyses_analysisitem i ON i.id = v.item_id WHERE i.session_id = ?"
            " ORDER BY 1, 2",
            session,
        ),
        "items": rows(
            "SELECT position, outcome, title, text, tokens, language FROM analyses_analysisitem"
            " WHERE session_id = ? ORDER BY position",
            session,
        ),
        "insights": rows(
            "SELECT rank, kind, title, text, count FROM analyses_insight WHERE session_id = ?"
            " ORDER BY rank",
            session,
        ),
    }


def zombie_writes(book):
    """What hosts wrote after they had been frozen past their leases: it must be nothing."""
    found = []
    for one in book.adversary.frozen:
        for batch, fence, owner in one.lost:
            now = book.rows("SELECT status, fence FROM analyses_batch WHERE id = ?", batch)
            if now and now[0] == ("done", fence):
                found.append(f"batch {batch} by {owner}")
        for owner in {owner for _, _, owner in one.claims}:
            late = _calls_of_lost_work(book, owner, one.woken)
            found += [f"{owner} sent {late} calls for work it had lost"] * bool(late)
    return found


def _calls_of_lost_work(book, owner, woken):
    """Calls sent after a process went on and before it claimed anything new."""
    claims = book.adversary.sampler.claims[owner].values()
    new = min((claimed for claimed in claims if claimed > woken), default=None)
    sent = [
        moment(when)
        for (when,) in book.rows("SELECT sent_at FROM providers_llmcall WHERE owner = ?", owner)
    ]
    return sum(when > woken and (new is None or when < new) for when in sent)


INVARIANTS = (
    i1_every_conversation_has_one_outcome,
    i2_results_are_unique_and_of_the_claim_that_finished,
    i3_the_books_agree,
    i4_paid_twice_is_bounded_and_each_has_its_row,
    i5_events_are_numbered_without_gap_and_end_with_the_status,
    i6_nothing_is_held,
    i8_the_result_is_that_of_an_undisturbed_analysis,
    i9_attempts_are_explained_by_crashes,
)
"""I7, that no process is left, is looked at when the stack is stopped."""


def broken(book):
    """Everything that does not hold, with the name of its invariant."""
    return [f"{check.__name__}: {what}" for check in INVARIANTS for what in check(book)[:6]] + [
        f"zombie: {what}" for what in zombie_writes(book)
    ]
