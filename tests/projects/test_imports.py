"""Importing a file: everything or nothing becomes visible, and what is refused is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import connection

from core import work
from core.models import WorkStatus
from projects.models import Conversation, Dataset, DatasetStatus, Import
from projects.runner import imports as runner
from projects.runner import run_import
from projects.services import upload

NESTED = json.loads("[" * 300 + "]" * 300)


class Killed(BaseException):
    """The process ends here, whatever the code would like to do about it."""


def row(number: int, **values: object) -> dict[str, object]:
    said = [{"role": "customer", "content": f"hello {number}", "ts": 1717750800 + number}]
    return {"id": f"c{number}", "messages": said, **values}


@pytest.fixture
def send(tmp_path: Path, project, analyst, settings):
    """``send(text)``: an uploaded file, not yet read."""
    settings.MEDIA_ROOT = tmp_path / "media"

    def go(text: str) -> Import:
        path = tmp_path / "up.jsonl"
        path.write_text(text, encoding="utf-8")
        return upload(actor=analyst, project=project, file=path, wake=False)

    return go


def lines(rows) -> str:
    return "".join(json.dumps(item) + "\n" for item in rows)


def fresh(record: Import) -> Import:
    record.refresh_from_db()
    record.dataset.refresh_from_db()
    return record


def test_conversations_keep_the_order_ids_and_times_of_the_file(send, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK", 7)
    record = send(lines(row(n, metadata={"user": f"u{n % 4}"}) for n in range(30)))
    assert run_import(record.pk)
    dataset = fresh(record).dataset
    assert (record.status, record.accepted, record.rejected) == (WorkStatus.DONE, 30, 0)
    assert (dataset.status, dataset.conversation_count) == (DatasetStatus.READY, 30)
    assert (dataset.user_count, dataset.message_count) == (4, 30)
    found = dataset.conversations.order_by("position").values_list("position", "external_id")
    assert list(found) == [(n, f"c{n}") for n in range(30)]
    assert dataset.first_at.timestamp() == 1717750800
    assert not run_import(record.pk)


def test_lines_not_taken_are_kept_with_number_and_reason(send, monkeypatch):
    monkeypatch.setattr(runner, "MAX_PROBLEMS", 3)
    record = send(lines([row(0)]) + "oops\n" * 5 + lines([row(1)]))
    run_import(record.pk)
    assert (fresh(record).accepted, record.rejected) == (2, 5)
    assert [problem.line for problem in record.problems.all()] == [2, 3, 4]
    assert all("not JSON" in problem.reason for problem in record.problems.all())


@pytest.mark.parametrize(
    "values",
    [
        {"metadata": {"n": float("inf")}},
        {"metadata": {"s": "\ud83d", "z": "\x00"}},
        {"metadata": {"deep": NESTED}},
        {"metadata": "words", "labels": None},
        {"id": 12},
        {"id": "=cmd|' /C calc'!A0"},
        {"messages": [{"role": "\x00", "content": "\ud800 and \x00", "ts": "0001-01-01T00:00:00"}]},
    ],
)
def test_hostile_values_are_stored_in_a_form_the_database_gives_back(send, values):
    text = json.dumps(row(0, **values)).replace("Infinity", "1e999")
    record = send(lines([row(1)]) + text + "\n")
    run_import(record.pk)
    assert fresh(record).accepted == 2
    stored = Conversation.objects.get(dataset=record.dataset, position=1)
    json.dumps([stored.messages, stored.metadata], allow_nan=False).encode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM projects_conversation")
        assert cursor.fetchone() == (2,)


def test_a_file_that_breaks_off_leaves_nothing_behind(send, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK", 5)
    text = json.dumps([row(n) for n in range(40)])
    record = send(text[:-200])
    run_import(record.pk)
    assert fresh(record).dataset.status == DatasetStatus.FAILED
    assert "Nothing was imported" in record.error
    assert record.accepted == 0
    assert not record.dataset.conversations.exists()


def test_a_file_without_one_conversation_says_why(send):
    record = send('{"id": "a", "messages": [{"role": "x", "content": " "}]}\n')
    run_import(record.pk)
    assert fresh(record).dataset.status == DatasetStatus.FAILED
    assert "Line 1: No message says anything." in record.error


def test_an_import_whose_worker_died_begins_again(send, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK", 5)
    record = send(lines(row(n) for n in range(20)))

    def dies(accepted: int, rejected: int) -> None:
        if accepted >= 10:
            raise Killed

    with pytest.raises(Killed):
        run_import(record.pk, dies)
    Import.objects.filter(pk=record.pk).update(owner=f"{work.owner_name().split(':')[0]}:999999:1")
    assert Dataset.objects.get(pk=record.dataset_id).status == DatasetStatus.IMPORTING
    assert not run_import(record.pk)
    work.reap(Import.objects.all())
    assert run_import(record.pk)
    assert fresh(record).accepted == 20
    assert record.dataset.conversations.count() == 20
