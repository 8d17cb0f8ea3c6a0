"""What Explore reads: groups, filters, a lasso, and never a withheld group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind
from analyses.selectors.explore import cluster_page, explore
from analyses.selectors.filters import filters_of
from analyses.selectors.listing import PAGE
from core.errors import NotFound
from tests.analyses import builders

Queries = Callable[[int], Any]


# --- Explore ------------------------------------------------------------------------------------


def test_explore_reads_what_its_address_says(
    done: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    with django_assert_num_queries(6):
        view = explore(done, {"c": "0"})
    assert view.node is not None
    assert view.node.key == 0
    assert view.page is not None
    assert view.total == view.node.cluster.size
    labels = builders.planted(200, 3)
    assert {labels[item.position] for item in view.page.items} == {0}


def test_explore_opens_a_conversation_with_its_place(done: AnalysisSession) -> None:
    labels = builders.planted(200, 3)
    members = np.flatnonzero(labels == 0)
    view = explore(done, {"c": "0", "i": str(members[2])})
    assert view.reading is not None
    assert view.place is not None
    assert (view.place.ordinal, view.place.before, view.place.after) == (
        3, members[1], members[3],
    )  # fmt: skip
    assert view.pane == "read"


def test_no_conversation_of_a_withheld_group_under_a_group(done: AnalysisSession) -> None:
    hidden = builders.leaf_count() - 1
    theme = 1_000_000 + len(builders.THEMES) - 1
    labels = builders.planted(200, 3)
    view = explore(done, {"c": str(theme)})
    assert view.page is not None
    assert hidden not in {labels[item.position] for item in view.page.items}
    assert explore(done, {"c": str(hidden)}).node is None
    with pytest.raises(NotFound):
        cluster_page(done, hidden, None)


@pytest.mark.parametrize(
    ("params", "condition"),
    [
        ({"f.language": "es"}, lambda i: builders.LANGUAGES[i % 5] == "es"),
        ({"f.sentiment": "negative"}, lambda i: builders.SENTIMENTS[i % 4] == "negative"),
        ({"f.resolved": "no"}, lambda i: i % 4 == 0),
        ({"f.concern": "4"}, lambda i: 1 + i % 5 >= 4),
        ({"q": "case 17"}, lambda i: str(i).startswith("17")),
        ({"f.language": "es", "f.resolved": "no"}, lambda i: i % 5 == 3 and i % 4 == 0),
    ],
)
def test_filters_keep_what_matches(
    done: AnalysisSession, params: dict[str, str], condition: Callable[[int], bool]
) -> None:
    expected = [i for i in range(200) if condition(i)]
    view = explore(done, params)
    assert view.page is not None
    assert view.total == len(expected)
    assert [item.position for item in view.page.items] == expected[:PAGE]


def test_filtered_counts_hide_what_is_too_small(done: AnalysisSession) -> None:
    view = explore(done, {"q": "case 17"})
    counts = {node.key: (node.count, node.few) for node in view.tree.walk()}
    labels = builders.planted(200, 3)
    for key, (count, few) in counts.items():
        if key >= 1_000_000:
            continue
        expected = sum(labels[i] == key for i in range(200) if str(i).startswith("17"))
        assert count == expected
        assert few == (0 < expected < view.floor)


@pytest.mark.parametrize(
    "params",
    [
        {"c": "x"}, {"c": "99"}, {"i": "9999"}, {"after": "-1"}, {"f.sentiment": "made up"},
        {"f.nothing": "x"}, {"lasso": "rubbish"}, {"view": "moon"},
    ],
)  # fmt: skip
def test_nonsense_in_an_address_is_left_out(done: AnalysisSession, params: dict[str, str]) -> None:
    view = explore(done, params)
    assert view.total == 200
    assert view.page is not None
    assert len(view.page.items) == PAGE


def test_lasso_lists_the_dots_inside(done: AnalysisSession) -> None:
    everything = "0.0_3000.0_3000.3000_0.3000"
    assert explore(done, {"lasso": everything}).total == 200
    left = explore(done, {"lasso": "0.0_1500.0_1500.3000_0.3000"})
    xy = np.asarray(artifacts.load(done, ArtifactKind.MAP)).astype(float) / 65535 * 2 - 1
    assert left.total == int((xy[:, 0] < 0).sum())
    narrowed = explore(done, {"lasso": everything, "c": "0", "f.resolved": "no"})
    labels = builders.planted(200, 3)
    assert narrowed.total == sum(labels[i] == 0 for i in range(0, 200, 4))


def test_provisional_groups_list_their_conversations(going: AnalysisSession) -> None:
    labels = builders.planted(going.read_count, 3)
    view = explore(going, {"c": "2"})
    assert view.page is not None
    assert view.total == int((labels == 2).sum())
    assert {labels[item.position] for item in view.page.items} == {2}
    theme = explore(going, {"c": "1000000"})
    assert theme.total == int((labels < len(builders.THEMES[0][1])).sum())


def test_filters_offer_what_can_be_asked(done: AnalysisSession) -> None:
    offered = {facet.key: [c.value for c in facet.choices] for facet in filters_of(done, {}).facets}
    assert offered["language"] == ["en", "de", "es"]
    assert offered["concern"] == ["5", "4", "3", "2"]
    assert offered["resolved"] == ["yes", "no"]
    assert "summary" not in offered
