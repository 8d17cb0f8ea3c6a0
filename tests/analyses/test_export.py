"""What leaves an analysis as data: clusters, conversations, the run's own figures."""

from __future__ import annotations

import csv
import io

import pytest

from analyses import export
from analyses.models import AnalysisItem, AnalysisSession, Cluster, Outcome
from projects.models import Conversation

FIELDS = {"id", "parent", "level", "name", "description", "size", "model"}


def table(session: AnalysisSession) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(export.conversations_csv(session)))))


def test_clusters_come_parents_first_and_withheld_ones_not_at_all(done):
    rows = export.clusters_json(done)
    shown = Cluster.objects.filter(session=done, shown=True)
    assert len(rows) == shown.count()
    assert all(set(row) == FIELDS for row in rows)
    seen = {None}
    for row in rows:
        assert row["parent"] in seen
        assert (row["parent"] is None) == (row["level"] == 1)
        seen.add(row["id"])
    assert "A secret group" not in str(rows)


def test_nothing_below_a_withheld_theme_is_named(done):
    theme = Cluster.objects.filter(session=done, level=1).first()
    Cluster.objects.filter(pk=theme.pk).update(shown=False)
    below = set(theme.children.values_list("name", flat=True))
    assert below.isdisjoint(row["name"] for row in export.clusters_json(done))
    assert below.isdisjoint(row["cluster"] for row in table(done))


def test_provisional_clusters_say_so(going):
    rows = export.clusters_json(going)
    assert rows
    assert all(row["provisional"] for row in rows)


def test_every_conversation_has_a_row_in_the_order_of_the_file(done):
    rows = table(done)
    ids = done.dataset.conversations.order_by("position").values_list("external_id", flat=True)
    assert [row["id"] for row in rows] == list(ids)
    keys = list(done.template_version.facets.values_list("key", flat=True))
    assert list(rows[0]) == ["id", "theme", "cluster", *keys, "x", "y", "model"]
    assert all(-1 <= float(row["x"]) <= 1 for row in rows)
    names = {cluster.name for cluster in Cluster.objects.filter(session=done, shown=True)}
    assert {row["cluster"] for row in rows} - {""} <= names
    hidden = Cluster.objects.get(session=done, shown=False)
    assert sum(row["cluster"] == "" for row in rows) == hidden.size > 0


def test_a_row_belongs_to_its_own_conversation_though_others_failed(done):
    before = {row["id"]: row for row in table(done)}
    skipped = AnalysisItem.objects.filter(session=done, position__in=(3, 4))
    skipped.update(outcome=Outcome.FAILED)
    skipped.first().values.all().delete()
    rows = {row["id"]: row for row in table(done)}
    assert len(rows) == len(before)
    assert set(rows["c-3"].values()) == {"c-3", ""}
    answers = [key for key in before["c-9"] if key not in ("theme", "cluster", "x", "y", "model")]
    assert [rows["c-9"][key] for key in answers] == [before["c-9"][key] for key in answers]


def test_conversations_not_read_yet_have_a_row_too(going):
    rows = table(going)
    assert len(rows) == going.total
    assert set(rows[-1].values()) == {rows[-1]["id"], ""}
    assert rows[0]["summary"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("c-1", "c-1"),
        ("-17", "-17"),
        ("+49 123", "'+49 123"),
        ("@person", "@person"),
        ("../../a?x=%00#", "../../a?x=%00#"),
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("ÜÖ 1", "ÜÖ 1"),
    ],
)
def test_ids_stay_as_they_are_unless_a_spreadsheet_would_run_them(done, given, written):
    Conversation.objects.filter(dataset=done.dataset, position=0).update(external_id=given)
    assert table(done)[0]["id"] == written


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1", "＝1"])
def test_names_and_answers_cannot_be_formulas(done, name):
    cluster = Cluster.objects.filter(session=done, leaf=0).get()
    Cluster.objects.filter(pk=cluster.pk).update(name=name)
    cells = {row["cluster"] for row in table(done)}
    assert f"'{name}" in cells
    assert name not in cells


def test_the_run_is_told_in_seconds_from_its_start(done, going):
    run = export.run_json(done)
    assert run["status"] == "completed"
    assert run["engine"] == "local engine"
    assert (run["conversations"], run["read"], run["failures"]) == (200, 200, 0)
    assert run["withheld"] == 1
    assert all(seconds > 0 for seconds in run["seconds"]["stages"].values())
    assert run["seconds"]["total"] > 0
    assert (run["calls"], run["repeated_calls"], run["retries"]) == (0, 0, 0)
    early = export.run_json(going)
    assert early["seconds"]["first_provisional"] > 0
    assert early["seconds"]["stages"]["map"] is None
