"""The reconciliation report: what was used, whether the books agree, what a provider says."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from accounts.models import Workspace
from core.errors import Invalid
from providers.models import LlmAttempt, LlmCall, SpendBook
from providers.readers import UsageLine, read_usage
from providers.runner import DatabaseJournal
from providers.selectors.reconciling import Line, Sums, against, checks, report
from tests.providers.books import intent
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]

TODAY = date(2026, 11, 20)


@pytest.fixture
def paid(journal: DatabaseJournal) -> DatabaseJournal:
    """Three answers, one of them unpriced and one in a batch, a doubt, and a call still out."""
    rows = [intent(ticket=n, fingerprint=f"{n:064x}", batched=n == 2) for n in range(1, 6)]
    journal.write(rows)
    journal.write(
        [
            answered(rows[0], cost=0.1, tokens_reasoning=3),
            answered(rows[1], cost=0.05),
            answered(rows[2], cost=None),
            failed(rows[3], in_doubt=True),
        ]
    )
    return journal


def today() -> date:
    return timezone.now().date()


def test_lines_say_what_was_used_and_paid(paid: DatabaseJournal, workspace: Workspace) -> None:
    found = report(workspace, today(), today())
    (line,) = found.lines
    assert (line.day, line.provider, line.model, line.purpose) == (today(), "Test", "m", "facets")
    assert line.sums == Sums(
        calls=3,
        tokens_in=30,
        tokens_cached=6,
        tokens_out=15,
        tokens_reasoning=3,
        settled=Decimal("0.15"),
        unpriced=1,
        batched=1,
        doubts=1,
        in_doubt=Decimal("0.4"),
    )
    assert found.total == line.sums
    assert found.sound
    assert [check.ok for check in found.checks] == [True] * 4


def test_days_are_days_of_utc_and_both_ends_count(
    paid: DatabaseJournal, workspace: Workspace, other_workspace: Workspace
) -> None:
    LlmCall.objects.filter(ticket=1).update(sent_at=F("sent_at") - timedelta(days=2))
    before = today() - timedelta(days=2)
    assert report(workspace, before, before).total.calls == 1
    assert report(workspace, before, today()).total.calls == 3
    assert report(workspace, before + timedelta(days=1), today()).total.calls == 2
    assert report(other_workspace, before, today()).lines == ()


@pytest.mark.parametrize(
    ("change", "position"),
    [
        (lambda: SpendBook.objects.filter(scope="project:3").update(spent=F("spent") + 1), 0),
        (lambda: LlmCall.objects.filter(ticket=1).update(cost=9), 0),
        (lambda: LlmAttempt.objects.update(cost=9), 1),
        (lambda: LlmAttempt.objects.update(in_doubt=False), 1),
        (lambda: LlmCall.objects.filter(ticket=5).update(reserved=0), 2),
        (lambda: SpendBook.objects.filter(scope="analysis:9").delete(), 0),
        (lambda: SpendBook.objects.filter(scope="analysis:9").update(doubt=-1), 3),
    ],
)
def test_books_that_do_not_agree_are_found(
    paid: DatabaseJournal, workspace: Workspace, change: Any, position: int
) -> None:
    change()
    found = checks(workspace)
    assert not found[position].ok
    assert found[position].text
    with pytest.raises(CommandError, match="difference"):
        call_command("reconcile_spending", stdout=StringIO())


EXPORTS = {
    "plain": "date,model,requests,input_tokens,output_tokens,cost\n2026-11-20,m,3,30,15,0.15\n",
    "openai": (
        "start_time,end_time,start_time_iso,model,num_model_requests,input_tokens,output_tokens,"
        "input_cached_tokens\n1795132800,,2026-11-20T00:00:00+00:00,m,3,30,15,6\n"
    ),
    "activity": (
        "\ufefftimestamp,model,n_requests,n_context_tokens_total,n_generated_tokens_total\n"
        "1795132800,m,3,30,15\n\n"
    ),
    "anthropic": (
        "usage_date_utc,model_version,usage_input_tokens_no_cache,"
        "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_read,usage_output_tokens\n"
        "2026-11-20,m,20,4,6,15\n"
    ),
    "openrouter": (
        '"Created At","Model Permaslug","Tokens Prompt","Tokens Completion","Cost Total"\n'
        '"2026-11-20 23:59:59","m","10","5","$0.10"\n"2026-11-20T10:00:00Z","m","20","10","0.05"\n'
    ),
}
LINE = Line(TODAY, "P", "m", "facets", Sums(3, 30, 6, 15, 0, Decimal("0.15")))


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_read_by_the_names_of_their_columns(name: str) -> None:
    rows = read_usage(StringIO(EXPORTS[name]))
    assert {(row.day, row.model) for row in rows} == {(TODAY, "m")}
    assert sum(row.tokens_in or 0 for row in rows) == 30
    assert sum(row.tokens_out or 0 for row in rows) == 15
    assert against([LINE], rows) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Columns found: none"),
        ("date,requests\n", "Columns found: date, requests"),
        ("date,model\n2026-11-20,m\n", "must name"),
        ("date,model,cost\n2026-11-20,m,1\nyesterday,m,1\n", "Line 3"),
        ("date,model,cost\n2026-11-20,m,NaN\n", "Line 2"),
        ("date,model,cost\n2026-11-20,m,1e999\n", "Line 2"),
        ("date,model,requests\n2026-11-20,m,many\n", "Line 2"),
        ("date,model,requests\n99999999999,m,1\n2026-11-20\n", "Line 3"),
        ("date,model,cost\n" + "x" * 200_000, "not CSV"),
    ],
)
def test_what_is_no_export_is_refused_by_line(text: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_usage(StringIO(text))
    assert said in caught.value.text


def usage(**changes: Any) -> UsageLine:
    values = {"day": TODAY, "model": "m", "requests": 3, "tokens_in": 30, "tokens_out": 15}
    return UsageLine(**{**values, "cost": Decimal("0.15"), **changes})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"requests": 4}, ["requests:"]),
        ({"requests": 2}, ["requests:"]),
        ({"tokens_in": 31}, ["tokens in:"]),
        ({"tokens_out": 14}, ["tokens out:"]),
        ({"cost": Decimal("0.20")}, ["cost:"]),
        ({"cost": Decimal("0.155")}, []),
        ({"cost": None, "requests": None}, []),
        ({"model": "m-2026-01-01"}, []),
        ({"model": "mm"}, ["requests:", "tokens in:", "tokens out:"] * 2),
    ],
)
def test_differences_are_named(changes: dict[str, Any], what: list[str]) -> None:
    found = [one.what for one in against([LINE], [usage(**changes)])]
    assert [one for one in found if one != "cost:" or what == ["cost:"]] == what


def test_a_call_in_doubt_may_have_been_counted_there_or_not() -> None:
    sums = Sums(3, 30, 6, 15, 0, Decimal("0.15"), doubts=1, in_doubt=Decimal("0.4"))
    line = Line(TODAY, "P", "m", "facets", sums)
    more = usage(requests=4, tokens_in=40, tokens_out=20, cost=Decimal("0.25"))
    assert against([line], [usage()]) == against([line], [more]) == []
    assert against([line], [usage(requests=5)])
    assert against([line], [usage(tokens_in=29)])
    assert against([line], [usage(cost=Decimal("0.60"))])


def test_a_day_that_the_export_lacks_is_a_difference_within_its_time() -> None:
    days = [TODAY - timedelta(days=n) for n in range(4)]
    lines = [Line(day, "P", "m", "facets", LINE.sums) for day in days]
    said = [usage(day=days[0]), usage(day=days[2])]
    assert {one.day for one in against(lines, said)} == {days[1]}
    assert against(lines, []) == []


def test_the_command_prints_both_and_ends_by_what_it_found(
    paid: DatabaseJournal, workspace: Workspace, tmp_path: Path
) -> None:
    def said(*options: str) -> str:
        out = StringIO()
        call_command("reconcile_spending", *options, stdout=out)
        return out.getvalue()

    text = said("--workspace", "Northwind")
    assert "Test · m: 3 calls, 30 tokens in (6 cached), 15 out (3 reasoning)" in text
    assert "$0.15 settled, $0.40 in doubt for 1 send, 1 unpriced, 1 in batches" in text
    assert text.endswith("Everything agrees.\n")
    file = tmp_path / "usage.csv"
    head = "date,model,requests,input_tokens,output_tokens\n"
    file.write_text(f"{head}{today()},m,4,40,20\n")
    assert "Everything agrees." in said("--against", str(file))
    file.write_text(f"{head}{today()},m,9,40,20\n")
    with pytest.raises(CommandError, match="1 difference found"):
        said("--against", str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match=r"cannot be read: usage\.csv"):
        said("--against", str(file))
    with pytest.raises(CommandError, match="There is no workspace"):
        said("--workspace", "Nowhere")
