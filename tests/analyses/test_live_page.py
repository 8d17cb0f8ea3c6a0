"""The live page: complete as served, and fragments that are the very same partials."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from analyses.events import BatchSaved, ProgressMade
from analyses.models import AnalysisSession, SessionStatus
from analyses.views.live import ALL_PANELS, fragments, may_watch, news_for, panels_for
from core.errors import NotFound
from core.events import last_seq, publish
from core.htmx import STOP_POLLING

Queries = Callable[[int], Any]


def url(session: AnalysisSession, name: str = "live") -> str:
    return reverse(f"analyses:{name}", args=[session.project.slug, session.number])


def page(client: Client, session: AnalysisSession) -> str:
    answer = client.get(url(session))
    assert answer.status_code == 200
    return answer.content.decode()


def roots(html: str) -> list[str]:
    return re.findall(r'\bid="(live-[a-z]+)"', html)


def squeezed(html: str) -> str:
    """Without what only a request or its moment can know: tokens, the curve of the last minute;
    white space is no difference."""
    html = re.sub(r' d="M[^"]*"', "", html)
    html = re.sub(r'<input type="hidden" name="csrfmiddlewaretoken"[^>]*>', "", html)
    return re.sub(r"\s+", " ", html)


def test_page_answers_how_far_and_how_long(viewer_client: Client, going: AnalysisSession) -> None:
    html = page(viewer_client, going)
    assert "124" in html
    assert "of 200 conversations" in html
    assert "62%" in html
    assert "Read and extract · 62%" in html
    assert re.search(r"it goes on at <a [^>]+>batch 13</a>", html)
    assert "Everything up to batch 12 is saved" in html
    assert "Local engine" in html
    assert f'data-topic="analysis:{going.pk}"' in html
    assert f'data-seq="{last_seq(going.topic)}"' in html


def test_controls_belong_to_analysts(
    viewer_client: Client, analyst_client: Client, going: AnalysisSession
) -> None:
    pause = reverse("analyses:act", args=["support", going.number, "pause"])
    assert pause not in page(viewer_client, going)
    assert pause in page(analyst_client, going)


@pytest.mark.parametrize(
    ("status", "there", "gone"),
    [
        (SessionStatus.RUNNING, "/pause/", "/resume/"),
        (SessionStatus.PAUSED, "/resume/", "/pause/"),
        (SessionStatus.BLOCKED, "/resume/", "/pause/"),
        (SessionStatus.CANCELLED, "Open the summary", "/stop/"),
        (SessionStatus.CANCELLING, "Explore so far", "/stop/"),
    ],
)
def test_controls_follow_the_state(
    analyst_client: Client, going: AnalysisSession, status: str, there: str, gone: str
) -> None:
    AnalysisSession.objects.filter(pk=going.pk).update(status=status)
    html = page(analyst_client, going)
    assert there in html
    assert gone not in html


def test_every_panel_of_the_page_has_a_fragment(
    viewer: User, viewer_client: Client, going: AnalysisSession
) -> None:
    whole = fragments(viewer, going.pk, frozenset({"status", "batches", "clusters", "insights"}))
    on_page = [name for name in roots(page(viewer_client, going)) if name != "live-say"]
    assert set(roots(whole)) == set(on_page)
    assert len(set(on_page)) == len(on_page)


@pytest.mark.parametrize("panel", ALL_PANELS)
def test_a_fragment_is_the_very_partial_of_the_page(
    viewer: User, viewer_client: Client, going: AnalysisSession, panel: str
) -> None:
    AnalysisSession.objects.filter(pk=going.pk).update(status=SessionStatus.PAUSED)
    html = squeezed(page(viewer_client, going))
    kind = next(kind for kind in ("status", "batches", "clusters", "insights", "progress")
                if panel in panels_for(frozenset({kind})))  # fmt: skip
    sent = squeezed(fragments(viewer, going.pk, frozenset({kind})))
    start = sent.index(f'id="live-{panel}"')
    following = [sent.find(f'id="live-{other}"', start + 1) for other in ALL_PANELS]
    end = min([place for place in following if place > 0], default=len(sent))
    body = sent[start:end].rsplit("<", 1)[0] if end < len(sent) else sent[start:]
    assert body.strip() in html


def test_kinds_choose_panels() -> None:
    assert panels_for(frozenset({"progress"})) == ("progress", "kpis")
    assert panels_for(frozenset({"map"})) == ("map",)
    # An end changes what the titles say.
    assert {"hint", "map", "kpis"} <= set(panels_for(frozenset({"status"})))
    assert panels_for(frozenset({"something new"})) == ()
    assert set(panels_for(frozenset({"clusters"}))) == {"clusters", "hint", "kpis", "feed", "map"}


def test_polling_answers_like_the_socket(viewer_client: Client, going: AnalysisSession) -> None:
    answer = viewer_client.get(url(going, "fragments"))
    message = json.loads(answer.content)
    assert message["seq"] == last_seq(going.topic)
    assert message["map_version"] > 0
    assert {f"live-{panel}" for panel in ALL_PANELS} <= set(roots(message["html"]))


def test_message_of_the_socket(viewer: User, going: AnalysisSession) -> None:
    message = news_for(viewer, str(going.pk), frozenset({"progress"}))
    assert set(message) == {"html", "map_version"}
    assert "live-progress" in message["html"]
    assert "live-clusters" not in message["html"]


def test_who_may_watch(
    viewer: User, outsider: User, other_owner: User, going: AnalysisSession
) -> None:
    assert may_watch(viewer, str(going.pk))
    assert not may_watch(outsider, str(going.pk))
    assert not may_watch(other_owner, str(going.pk))
    assert not may_watch(viewer, "1; drop table")
    with pytest.raises(NotFound):
        fragments(outsider, going.pk, frozenset({"status"}))


def test_changes_show_in_the_next_fragment(viewer: User, going: AnalysisSession) -> None:
    AnalysisSession.objects.filter(pk=going.pk).update(read_count=130)
    with transaction.atomic():
        publish(
            going.topic,
            ProgressMade(stage="facets", done=130, total=200),
            BatchSaved(seq=12, state="saved", failed=2),
        )
    html = fragments(viewer, going.pk, frozenset({"progress", "batches"}))
    assert ">130<" in html
    assert "Batch 13: 2 conversations skipped." in html


@pytest.mark.parametrize(
    ("kinds", "most"), [({"progress"}, 7), ({"batches"}, 6), ({"clusters"}, 9), ({"map"}, 4)]
)
def test_fragments_are_cheap(
    viewer: User,
    going: AnalysisSession,
    django_assert_max_num_queries: Queries,
    kinds: set[str],
    most: int,
) -> None:
    with django_assert_max_num_queries(most):
        fragments(viewer, going.pk, frozenset(kinds))


def test_page_is_cheap(
    viewer_client: Client, going: AnalysisSession, django_assert_max_num_queries: Queries
) -> None:
    with django_assert_max_num_queries(24):
        page(viewer_client, going)


def test_an_ended_analysis_says_so(viewer_client: Client, done: AnalysisSession) -> None:
    html = page(viewer_client, done)
    assert "data-ended" in html
    assert "Open the summary" in html
    assert "Ended after 20 minutes" in html
    assert "<title>Complete · " in html
    assert "On average while reading" in html
    for early in ("so far", "Places may still move", "Over the last minute", "may still change"):
        assert early not in html, early


def test_the_title_tells_how_far(viewer_client: Client, going: AnalysisSession) -> None:
    assert f"<title>62% · {going.name} · " in page(viewer_client, going)
    AnalysisSession.objects.filter(pk=going.pk).update(status=SessionStatus.PAUSED)
    html = page(viewer_client, going)
    assert f"<title>Paused · {going.name} · " in html
    assert "Nothing is being read now" in html


def test_a_stopped_analysis_promises_nothing(viewer_client: Client, going: AnalysisSession) -> None:
    AnalysisSession.objects.filter(pk=going.pk).update(status=SessionStatus.CANCELLED)
    html = page(viewer_client, going)
    assert "The analysis ended before they were worked out." in html
    for wrong in ("oes on at", "Clusters so far", "still change", "than chance"):
        assert wrong not in html, wrong


def test_the_sidebar_follows_and_ends(
    client: Client, viewer_client: Client, going: AnalysisSession
) -> None:
    address = reverse("projects:running")
    running = viewer_client.get(address).content.decode()
    assert "62%" in running
    assert 'hx-trigger="every 5s, refresh"' in running
    AnalysisSession.objects.filter(pk=going.pk).update(status=SessionStatus.COMPLETED)
    ended = viewer_client.get(address).content.decode()
    assert going.name not in ended
    assert 'hx-trigger="every 60s, refresh"' in ended
    assert client.get(address).status_code == STOP_POLLING
