"""The journal's rows: intents, answers, failures, and what had to be asked again."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections

from accounts.models import Workspace
from providers.gateway.journal import GroupCommitJournal, JournalRow
from providers.models import CallState, LlmAttempt, LlmCall
from providers.runner import DatabaseJournal


@pytest.fixture
def journal(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> DatabaseJournal:
    # The test's own connection must stay open inside its transaction.
    monkeypatch.setattr("providers.runner.journal.close_old_connections", lambda: None)
    return DatabaseJournal(workspace.pk)


def sent(key: str = "a", **changes: Any) -> JournalRow:
    values: dict[str, Any] = {
        "fingerprint": key * 64,
        "workspace": 0,
        "session": 9,
        "purpose": "facets",
        "provider": "Test",
        "model": "m",
        "prompt_version": "facets-1",
        "owner": "host:1:1",
    }
    return JournalRow(**{**values, **changes})


def answered(row: JournalRow, **changes: Any) -> JournalRow:
    values: dict[str, Any] = {
        "state": "ok",
        "response": '{"a": 1}',
        "tokens_in": 10,
        "tokens_out": 5,
        "tokens_cached": 2,
        "cost": 0.00001234,
        "latency_ms": 80,
    }
    return replace(row, **{**values, **changes})


def failed(row: JournalRow, **changes: Any) -> JournalRow:
    values = {"state": "failed", "error_class": "timeout", "message": "no answer", "latency_ms": 9}
    return replace(row, **{**values, **changes})


def test_an_intent_is_there_before_its_answer(journal: DatabaseJournal) -> None:
    journal.write([sent()])
    call = LlmCall.objects.get()
    assert (call.state, call.sends, call.owner, call.analysis_id) == (
        CallState.SENT,
        1,
        "host:1:1",
        9,
    )
    assert (call.cost, call.settled_at, call.repeats) == (None, None, 0)
    assert journal.read(["a" * 64]) == {}
    journal.write([answered(sent())])
    call.refresh_from_db()
    assert (call.state, call.tokens_in, call.tokens_out, call.tokens_cached) == ("ok", 10, 5, 2)
    assert call.cost == Decimal("0.00001234")
    assert call.settled_at is not None
    (found,) = journal.read(["a" * 64, "b" * 64]).values()
    assert (found.text, found.model, found.tokens_in, found.cost) == (
        '{"a": 1}',
        "m",
        10,
        0.00001234,
    )


def test_an_unknown_price_stays_unknown_and_nothing_costs_nothing(journal: DatabaseJournal) -> None:
    journal.write([answered(sent("a"), cost=None), answered(sent("b"), cost=0.0)])
    found = journal.read(["a" * 64, "b" * 64])
    assert (found["a" * 64].cost, found["b" * 64].cost) == (None, 0.0)


def test_answers_stay_in_their_workspace(
    journal: DatabaseJournal, other_workspace: Workspace
) -> None:
    journal.write([answered(sent())])
    other = DatabaseJournal(other_workspace.pk)
    assert other.read(["a" * 64]) == {}
    other.write([sent()])
    assert LlmCall.objects.count() == 2
    assert journal.read(["a" * 64])


def test_failures_are_rows_of_their_own(journal: DatabaseJournal) -> None:
    journal.write([sent()])
    journal.write([failed(sent())])
    journal.write([sent(attempt=2)])
    journal.write([failed(sent(attempt=2), error_class="rate_limit", message="x" * 999)])
    journal.write([sent(attempt=3)])
    journal.write([answered(sent(attempt=3))])
    call = LlmCall.objects.get()
    assert (call.state, call.error_class, call.sends, call.repeats) == ("ok", "", 3, 0)
    rows = LlmAttempt.objects.order_by("pk").values_list("error_class", "message")
    assert list(rows) == [("timeout", "no answer"), ("rate_limit", "x" * 300)]


def test_a_group_is_applied_in_order(journal: DatabaseJournal) -> None:
    """The retry's intent comes after the failure, in the same commit: then nothing is settled."""
    journal.write([sent("a"), sent("b"), sent("c")])
    journal.write(
        [
            failed(sent("a")),
            sent("a", attempt=2),
            failed(sent("b")),
            sent("b", attempt=2),
            answered(sent("b", attempt=2)),
            answered(sent("c")),
        ]
    )
    states = dict(LlmCall.objects.values_list("fingerprint", "state"))
    assert [states[key * 64] for key in "abc"] == ["sent", "ok", "ok"]
    assert LlmAttempt.objects.count() == 2
    assert set(LlmCall.objects.values_list("sends", flat=True)) == {1, 2}


def test_a_final_failure_is_not_an_answer(journal: DatabaseJournal) -> None:
    journal.write([sent(), failed(sent(), error_class="auth")])
    call = LlmCall.objects.get()
    assert (call.state, call.error_class) == (CallState.FAILED, "auth")
    assert journal.read(["a" * 64]) == {}


def test_what_another_process_left_unanswered_counts_as_repeated(journal: DatabaseJournal) -> None:
    journal.write([sent("a", open_for=0), sent("b"), sent("c")])
    journal.write([answered(sent("b"), response=""), failed(sent("c"))])
    journal.write([sent(key, owner="host:2:2", open_for=0) for key in "ac"])
    repeats = dict(LlmCall.objects.values_list("fingerprint", "repeats"))
    assert [repeats[key * 64] for key in "abc"] == [1, 0, 0]
    assert journal.read(["b" * 64]) == {}
    journal.write([sent("a", owner="host:3:3")])
    assert LlmCall.objects.get(fingerprint="a" * 64).repeats == 2
    journal.write([answered(sent("a", owner="host:3:3"))])
    assert LlmCall.objects.get(fingerprint="a" * 64).repeats == 2


def test_hostile_answers_are_kept_as_text(journal: DatabaseJournal) -> None:
    hostile = "a\x00b'); DROP TABLE providers_llmcall; -- 💩\ud800"
    journal.write([sent(model="m" * 500, provider="p" * 500, purpose="x" * 50)])
    journal.write([answered(sent(), response=hostile)])
    journal.write([failed(sent("b"), message=hostile, error_class="c" * 50)])
    text = journal.read(["a" * 64])["a" * 64].text
    assert text.startswith("ab'); DROP TABLE")
    assert "\x00" not in LlmAttempt.objects.get().message


def test_nothing_is_written_when_a_row_of_the_group_cannot_be(
    journal: DatabaseJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(rows: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr("providers.runner.journal.Ledger.save", away)
    with pytest.raises(DatabaseError):
        journal.write([sent("a"), failed(sent("b"))])
    assert not LlmCall.objects.exists()


def test_empty_groups(journal: DatabaseJournal) -> None:
    journal.write([])
    assert journal.read([]) == {}


@pytest.mark.django_db(transaction=True)
def test_two_processes_may_write_the_same_call(workspace: Workspace) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(2)

    def work(owner: str) -> None:
        journal = DatabaseJournal(workspace.pk)
        try:
            barrier.wait(5)
            for number in range(20):
                rows = [sent(key, owner=owner) for key in ("abcd" if number % 2 else "dcba")]
                journal.write(rows)
                journal.write([answered(row) for row in rows])
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(f"host:{n}:1",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert LlmCall.objects.count() == 4
    assert set(LlmCall.objects.values_list("state", flat=True)) == {"ok"}


@pytest.mark.django_db(transaction=True)
def test_grouped_commits_reach_the_table(workspace: Workspace) -> None:
    async def work() -> None:
        journal = GroupCommitJournal(DatabaseJournal(workspace.pk), linger=0.01)
        rows = [sent(f"{number:x}", fingerprint=f"{number:064x}") for number in range(100)]
        await asyncio.gather(*(journal.write(row) for row in rows))
        for row in rows:
            journal.post(answered(row))
        found = await journal.lookup([f"{number:064x}" for number in range(3)])
        assert len(found) in (0, 3)
        await journal.aclose()

    asyncio.run(work())
    connections.close_all()
    assert LlmCall.objects.filter(state=CallState.OK).count() == 100
