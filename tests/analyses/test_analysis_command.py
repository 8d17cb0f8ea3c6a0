"""``manage.py analysis``: the wishes of the live page in a terminal."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from analyses import services
from analyses.management.commands import analysis
from analyses.models import AnalysisSession, BlockReason, Outcome, SessionStatus


def run(*arguments: object, **options: Any) -> str:
    out = StringIO()
    call_command("analysis", *map(str, arguments), stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def change(session: AnalysisSession, **values: Any) -> None:
    AnalysisSession.objects.filter(pk=session.pk).update(**values)


def test_list_names_every_analysis(going: AnalysisSession, done: AnalysisSession) -> None:
    text = run("list")
    assert "support  " in text
    assert "124 of 200 read" in text
    assert "Complete" in text
    assert text == run("list", "support")
    assert "There is no analysis." in run("list", "elsewhere")
    rows = json.loads(run("list", "--json"))
    assert [(row["project"], row["number"]) for row in rows] == [("support", 2), ("support", 1)]


def test_trash_is_not_listed(going: AnalysisSession) -> None:
    from django.utils import timezone

    change(going, deleted_at=timezone.now())
    assert "There is no analysis." in run("list")
    with pytest.raises(CommandError, match="There is no analysis"):
        run("status", "support", going.number)


def test_status_says_what_the_api_says(going: AnalysisSession, analyst_client: Client) -> None:
    told = json.loads(run("status", "support", going.number, "--json"))
    url = f"/api/v1/projects/support/sessions/{going.number}"
    assert told == analyst_client.get(url).json()
    assert "You can pause or stop." in run("status", "support", going.number)


def test_wishes_in_turn(going: AnalysisSession) -> None:
    going.batches.filter(status="leased").update(status="pending")
    for action, status in (("pause", "paused"), ("resume", "running"), ("stop", "cancelled")):
        told = json.loads(run(action, "support", going.number, "--json"))
        assert told["status"] == status
    with pytest.raises(CommandError, match=r"^Stopped\. The analysis is already stopped") as no:
        run("resume", "support", going.number)
    assert no.value.returncode == analysis.REFUSED


def test_retry_reads_what_failed_again(done: AnalysisSession) -> None:
    with pytest.raises(CommandError) as no:
        run("retry", "support", done.number)
    assert no.value.returncode == analysis.REFUSED
    done.items.filter(position__lt=3).update(outcome=Outcome.FAILED, error_class="timeout")
    change(done, status=SessionStatus.PARTIAL, failed_count=3, read_count=197)
    told = json.loads(run("retry", "support", done.number, "--json"))
    assert (told["status"], told["failed"]) == ("running", 0)


def test_one_conversation_is_read_again_by_its_id(done: AnalysisSession) -> None:
    done.items.filter(position__lt=3).update(outcome=Outcome.FAILED, error_class="worker")
    change(done, status=SessionStatus.PARTIAL, failed_count=3, read_count=197)
    names = list(
        done.items.order_by("position").values_list("conversation__external_id", flat=True)
    )
    for action, name in (("retry", names[5]), ("retry", "nobody"), ("pause", names[1])):
        with pytest.raises(CommandError):
            run(action, "support", done.number, "--conversation", name)
    asked = ["--conversation", names[1], "--conversation", names[2]]
    told = json.loads(run("retry", "support", done.number, "--json", *asked))
    assert (told["status"], told["failed"]) == ("running", 1)
    assert done.items.get(outcome=Outcome.FAILED).position == 0


@pytest.mark.parametrize("words", [["status"], ["pause", "support"], ["stop", "support", "77"]])
def test_it_says_what_is_missing(done: AnalysisSession, words: list[str]) -> None:
    with pytest.raises(CommandError) as wrong:
        run(*words)
    assert wrong.value.returncode == 1


def test_a_blocked_analysis_has_a_status_of_its_own(going: AnalysisSession) -> None:
    change(going, status=SessionStatus.BLOCKED, reason=BlockReason.DISK, detail="Full.")
    with pytest.raises(CommandError, match=r"Blocked\. The disk is full\.") as stopped:
        run("status", "support", going.number)
    assert stopped.value.returncode == analysis.BLOCKED


def test_waiting_ends_when_the_analysis_rests(
    going: AnalysisSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:  # the workers give back what they held
            going.batches.filter(status="leased").update(status="pending")
            services.tick()

    monkeypatch.setattr(analysis.time, "sleep", sleep)
    told = json.loads(run("pause", "support", going.number, "--json", "--wait"))
    assert told["status"] == "paused"
    assert looks == [analysis.LOOK_EVERY] * 3
