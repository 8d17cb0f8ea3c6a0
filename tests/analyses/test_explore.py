"""Explore as HTML: works without scripts, keeps its state in the address, stays cheap."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from analyses.models import AnalysisSession
from projects.models import Dataset, Project
from tests.analyses import builders

Queries = Callable[[int], Any]


def url(session: AnalysisSession, query: str = "") -> str:
    return reverse("analyses:explore", args=[session.project.slug, session.number]) + query


def page(client: Client, session: AnalysisSession, query: str = "", **headers: str) -> str:
    answer = client.get(url(session, query), **headers)
    assert answer.status_code == 200
    return answer.content.decode()


def links(html: str, start: str) -> list[str]:
    return [
        link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*)"', html)
        if link.startswith(start)
    ]  # fmt: skip


def test_tree_is_nested_disclosure_with_links(viewer_client: Client, done: AnalysisSession) -> None:
    html = page(viewer_client, done)
    assert html.count("<details open>") == len(builders.THEMES)
    for key in range(builders.leaf_count() - 1):
        assert f"?c={key}" in links(html, "?c=")


def test_panes_alone_for_scripts(viewer_client: Client, done: AnalysisSession) -> None:
    whole = page(viewer_client, done, "?c=1")
    part = page(viewer_client, done, "?c=1", HTTP_X_PANES="1")
    assert "<html" in whole
    assert "<html" not in part
    for name in ("filters", "p-tree", "sel", "p-read"):
        assert f'id="{name}"' in part


def test_a_link_keeps_filters_and_drops_the_open_conversation(
    viewer_client: Client, done: AnalysisSession
) -> None:
    html = page(viewer_client, done, "?f.language=es&i=3&after=2")
    for link in links(html, "?"):
        if "c=" in link.replace("f.language", ""):
            assert "f.language=es" in link
    tree = html[html.index('id="tree"') : html.index('id="sel"')]
    assert all("i=3" not in link for link in links(tree, "?"))


def test_every_row_of_the_list_opens_the_reader(
    viewer_client: Client, done: AnalysisSession
) -> None:
    html = page(viewer_client, done, "?c=1")
    opened = [link for link in links(html, "?") if re.search(r"[?&]i=\d+", link)]
    assert opened
    reader = page(viewer_client, done, opened[0])
    assert "1 of" in reader
    assert "Next conversation (J)" in reader
    assert "Previous conversation (K)" not in reader, "the first has none before it"


def test_phone_opens_the_pane_of_the_address(viewer_client: Client, done: AnalysisSession) -> None:
    shown = re.compile(r'<section id="(p-\w+)"[^>]*class="[^"]*\bshow\b')
    for query, pane in (
        ("", "p-map"), ("?view=tree", "p-tree"), ("?i=2", "p-read"), ("?i=2&view=map", "p-map"),
    ):  # fmt: skip
        assert shown.findall(page(viewer_client, done, query)) == [pane], query


def test_nothing_found_says_what_to_loosen(viewer_client: Client, done: AnalysisSession) -> None:
    html = page(viewer_client, done, "?q=nowhere-to-be-found&f.language=es")
    assert "Nothing matches" in html
    assert "Any language" in html
    assert "Clear filters" in html


def test_few_conversations_and_no_clusters(
    viewer_client: Client, project: Project, make_dataset: Any, analyst: User
) -> None:
    small: Dataset = make_dataset(project, size=3, name="Small")
    session = builders.session_for(small, analyst, status="completed", read_count=3)
    builders.add_items(session, 3, 1)
    html = page(viewer_client, session)
    assert "too few conversations for a group" in html
    assert html.count("data-item=") == 3


def test_nothing_read_yet(viewer_client: Client, larger: Dataset, analyst: User) -> None:
    html = page(viewer_client, builders.session_for(larger, analyst))
    assert "No clusters yet" in html
    assert "No conversations yet" in html


def test_provisional_explore_says_so(viewer_client: Client, going: AnalysisSession) -> None:
    html = page(viewer_client, going)
    assert "names may still change" in html
    assert "So far: 124 of 200 read" in html


@pytest.mark.parametrize(
    ("query", "most"),
    [("", 9), ("?c=1", 11), ("?c=1&i=5", 15), ("?f.sentiment=negative", 11), ("?c=1000000", 11)],
)
def test_number_of_queries(
    viewer_client: Client,
    done: AnalysisSession,
    django_assert_max_num_queries: Queries,
    query: str,
    most: int,
) -> None:
    with django_assert_max_num_queries(most):
        page(viewer_client, done, query, HTTP_X_PANES="1")


def test_queries_do_not_grow_with_the_data(
    viewer_client: Client,
    project: Project,
    make_dataset: Any,
    analyst: User,
    django_assert_max_num_queries: Queries,
) -> None:
    big = builders.finished(make_dataset(project, size=600, name="Big"), analyst)
    with django_assert_max_num_queries(11):
        page(viewer_client, big, "?c=1", HTTP_X_PANES="1")
