"""What the pages read: trees, maps, lists, progress; with pinned numbers of queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from accounts.models import User
from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind, Cluster, Outcome
from analyses.selectors import facts, mapdata
from analyses.selectors.explore import floor_of, hidden_text
from analyses.selectors.filters import polygon_of
from analyses.selectors.listing import PAGE, ArrayListing, RowListing, item_rows
from analyses.selectors.reading import item_for, reading_of, words
from analyses.selectors.sessions import session_by_pk, session_for
from analyses.selectors.tree import tree_of
from core.errors import NotFound
from projects.models import Dataset
from tests.analyses import builders

Queries = Callable[[int], Any]


# --- Who sees what ------------------------------------------------------------------------------


def test_strangers_learn_nothing(
    done: AnalysisSession, viewer: User, outsider: User, other_owner: User
) -> None:
    assert session_for(viewer, "support", done.number) == done
    for stranger in (outsider, other_owner):
        with pytest.raises(NotFound):
            session_for(stranger, "support", done.number)
        with pytest.raises(NotFound):
            session_by_pk(stranger, done.pk)


# --- The tree -----------------------------------------------------------------------------------


def test_tree_shows_themes_by_size_and_counts_what_is_withheld(
    done: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    with django_assert_num_queries(1):
        tree = tree_of(done)
    assert not tree.provisional
    assert tree.themes == len(builders.THEMES)
    assert tree.groups == builders.leaf_count() - 1
    assert tree.hidden_groups == 1
    sizes = [root.count for root in tree.roots]
    assert sizes == sorted(sizes, reverse=True)
    assert tree.roots[0].bar == 100
    assert all("secret" not in node.cluster.name for node in tree.walk())


def test_what_lies_in_a_withheld_theme_is_withheld(done: AnalysisSession) -> None:
    Cluster.objects.filter(session=done, key=1_000_000).update(shown=False)
    tree = tree_of(done)
    assert tree.themes == len(builders.THEMES) - 1
    assert 0 not in tree.by_key
    assert tree.hidden_groups == 2


def test_reasons_decide_the_words(done: AnalysisSession) -> None:
    tree = tree_of(done)
    assert hidden_text(tree, 25) == "1 hidden below 25 conversations"
    tree.reasons.add("text")
    assert hidden_text(tree, 25) == "1 hidden for privacy"


def test_floor_is_the_one_scaled_to_the_data(done: AnalysisSession) -> None:
    assert floor_of(done) == 2
    done.read_count = 100_000
    assert floor_of(done) == 25


def test_provisional_tree_until_there_is_a_final_one(going: AnalysisSession) -> None:
    assert tree_of(going).provisional
    Cluster.objects.create(session=going, key=1, level=1, leaf=0, name="Final", size=3)
    tree = tree_of(going)
    assert not tree.provisional
    assert [node.cluster.name for node in tree.walk()] == ["Final"]


# --- The map ------------------------------------------------------------------------------------


def decoded(body: bytes) -> dict[str, Any]:
    magic, count, flags, version = mapdata.HEADER.unpack_from(body)
    at = mapdata.HEADER.size
    xy = np.frombuffer(body, "<u2", count * 2, at).reshape(-1, 2)
    index = np.frombuffer(body, "<u2", count, at + 4 * count)
    positions = np.frombuffer(body, "<u4", count, at + 6 * count)
    assert len(body) == at + 10 * count
    return {
        "magic": magic, "flags": flags, "version": version,
        "xy": xy, "index": index, "positions": positions,
    }  # fmt: skip


def test_map_carries_every_dot_and_no_withheld_group(
    done: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    tree = tree_of(done)
    with django_assert_num_queries(3):
        found = mapdata.picture(done, tree)
    assert found is not None
    wire = decoded(mapdata.encode(found, tree, 7))
    assert wire["magic"] == b"OCM1"
    assert (wire["flags"], wire["version"]) == (0, 7)
    assert wire["positions"].tolist() == list(range(200))
    names = [entry["label"] for entry in mapdata.clusters_json(tree)]
    labels = np.asarray(artifacts.load(done, ArtifactKind.LABELS))
    flat = [name for _, inside in builders.THEMES for name in inside]
    hidden = builders.leaf_count() - 1
    for label, index in zip(labels, wire["index"], strict=True):
        expected = None if label == hidden else flat[label]
        assert expected == (None if index == mapdata.NO_CLUSTER else names[index])
    assert "A secret group" not in names


def test_provisional_map_says_so(going: AnalysisSession) -> None:
    tree = tree_of(going)
    wire = decoded(mapdata.encode(mapdata.picture(going, tree), tree, 1))
    assert wire["flags"] == mapdata.PROVISIONAL
    assert len(wire["positions"]) == going.previewed
    assert (wire["index"] != mapdata.NO_CLUSTER).all()


def test_final_clusters_colour_the_old_places_until_the_map_is_drawn(
    going: AnalysisSession,
) -> None:
    labels = builders.planted(going.read_count, 3)
    Cluster.objects.filter(session=going).delete()
    builders.add_clusters(going, labels, provisional=False, hidden=0)
    path = artifacts.write_array(going, ArtifactKind.LABELS, 1, labels.astype(np.int32))
    artifacts.point(going, ArtifactKind.LABELS, path)
    found = mapdata.picture(going, tree_of(going))
    assert found is not None
    assert found.provisional
    assert found.keys.tolist() == labels.tolist()


def test_no_map_yet_is_an_empty_map(larger: Dataset, analyst: User) -> None:
    session = builders.session_for(larger, analyst)
    tree = tree_of(session)
    assert mapdata.map_version(session) == 0
    assert len(decoded(mapdata.encode(mapdata.picture(session, tree), tree, 0))["xy"]) == 0


def test_dots_inside_a_polygon() -> None:
    xy = np.array([[0, 0], [32768, 32768], [65535, 65535], [32768, 65535]], dtype=np.uint16)
    found = mapdata.Picture(xy, np.zeros(4, np.int64), np.array([3, 5, 8, 9]), provisional=False)
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    assert mapdata.positions_inside(found, square).tolist() == [5]
    # A bow tie: its middle belongs to neither wing's inside by the even-odd rule's edge count.
    everything = np.array([[-2.0, -2.0], [2.0, -2.0], [2.0, 2.0], [-2.0, 2.0]])
    assert mapdata.positions_inside(found, everything).tolist() == [3, 5, 8, 9]


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2_3.4", "a.b_c.d_e.f", "_".join(["1.1"] * 65), "1_2_3"]
)
def test_bad_polygons_are_left_out(text: str) -> None:
    assert polygon_of(text) is None


def test_polygon_of_an_address() -> None:
    polygon = polygon_of("500.500_1500.500_1500.2500")
    assert polygon is not None
    assert polygon.tolist() == [[-1.0, -1.0], [0.0, -1.0], [0.0, 1.0]]


# --- Lists --------------------------------------------------------------------------------------


def test_both_kinds_of_list_agree(
    done: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    rows = RowListing(item_rows(done), 200)
    array = ArrayListing(done, np.arange(200))
    for after in (None, PAGE - 1, 170):
        with django_assert_num_queries(1):
            by_rows = rows.page(after)
        with django_assert_num_queries(1):
            by_array = array.page(after)
        assert [item.position for item in by_rows.items] == [
            item.position for item in by_array.items
        ]
        assert by_rows.after == by_array.after
    for position in (0, 57, 199, 500):
        assert rows.place(position) == array.place(position)
    assert rows.count() == array.count() == 200


def test_rows_of_a_list_leave_the_messages_in_the_database(done: AnalysisSession) -> None:
    item = RowListing(item_rows(done)).page(None).items[0]
    assert "messages" in item.conversation.get_deferred_fields()


def test_pages_join_without_gap_or_repeat(done: AnalysisSession) -> None:
    seen: list[int] = []
    after = None
    for _ in range(10):
        page = RowListing(item_rows(done)).page(after)
        seen += [item.position for item in page.items]
        after = page.after
        if after is None:
            break
    assert seen == list(range(200))


# --- Facts, reading -----------------------------------------------------------------------------


def test_facts_of_a_cluster(done: AnalysisSession, django_assert_num_queries: Queries) -> None:
    node = tree_of(done).roots[0]
    assert node.cluster.size >= facts.TOO_FEW
    assert facts.facts_of(done, tree_of(done).by_key[0]) == [], "too few to tell"
    with django_assert_num_queries(2):
        found = {fact.label: fact for fact in facts.facts_of(done, node)}
    resolved = found["Resolved"]
    assert resolved.total == node.cluster.size
    flags = done.items.filter(memberships__cluster__parent=node.cluster, values__flag=True).count()
    assert resolved.count == flags
    assert resolved.share == pytest.approx(flags / node.cluster.size)
    assert found["Sentiment"].value in {"Neutral", "Negative", "Positive"}
    assert found["Concern"].number is not None


def test_breakdowns_add_up(done: AnalysisSession) -> None:
    node = tree_of(done).roots[0]
    for breakdown in facts.breakdowns_of(done, node):
        assert sum(part.count for part in breakdown.slices) == breakdown.total


def test_reader_removes_personal_details(
    done: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    item = item_for(done, 4)
    messages = [{"role": "user", "content": "I am at ann@example.org now"}]
    item.conversation.messages = messages
    item.conversation.save()
    item.spans = [[0, 8, 23, "email"]]
    item.save()
    tree = tree_of(done)
    item = item_for(done, 4)
    with django_assert_num_queries(2):
        reading = reading_of(item, tree)
    parts = [(part.text, part.removed) for part in reading.messages[0].parts]
    assert parts == [("I am at ", ""), ("", "email"), (" now", "")]
    assert "ann@" not in str(reading.messages)
    raw = reading_of(item, tree, raw=True)
    assert raw.messages[0].parts[0].text == "I am at ann@example.org now"


def test_reader_marks_the_words_of_the_clusters_name(done: AnalysisSession) -> None:
    item = done.items.filter(memberships__cluster__key=0).first()
    assert item is not None
    item.conversation.messages = [{"role": "user", "content": "My PASSWORDS are about to reset."}]
    item.conversation.save()
    reading = reading_of(item_for(done, item.position), tree_of(done))
    marked = [part.text for part in reading.messages[0].parts if part.marked]
    assert marked == ["PASSWORDS", "reset"]
    assert "".join(part.text for part in reading.messages[0].parts).startswith("My PASSWORDS are")


def test_reader_shows_long_conversations_in_pages(done: AnalysisSession) -> None:
    item = item_for(done, 0)
    item.conversation.messages = [{"role": "user", "content": str(i)} for i in range(130)]
    item.conversation.save()
    item.kept_to = 100
    item.save()
    tree = tree_of(done)
    first = reading_of(item_for(done, 0), tree)
    assert (len(first.messages), first.following) == (60, 60)
    last = reading_of(item_for(done, 0), tree, start=120)
    assert (len(last.messages), last.following) == (10, None)
    assert first.messages[0].read
    assert not last.messages[0].read


def test_reader_names_no_withheld_cluster(done: AnalysisSession) -> None:
    hidden = builders.leaf_count() - 1
    item = done.items.filter(memberships__cluster__key=hidden).first()
    assert item is not None
    assert reading_of(item_for(done, item.position), tree_of(done)).node is None


def test_failed_conversations_are_not_read(done: AnalysisSession) -> None:
    done.items.filter(position=3).update(outcome=Outcome.FAILED)
    with pytest.raises(NotFound):
        item_for(done, 3)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (None, "text", "Not known"),
        ([], "list", "Not known"),
        (True, "boolean", "Yes"),
        (False, "boolean", "No"),
        (4.0, "score", "4 of 5"),
        (["a", "b"], "list", "a, b"),
        ("account access", "category", "Account access"),
        ("reset it", "text", "reset it"),
    ],
)
def test_answers_in_words(value: object, kind: str, said: str) -> None:
    assert words(value, kind) == said
