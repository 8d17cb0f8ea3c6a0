"""What hostile answers become on pages: text, and nothing that a browser fetches or runs."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse

from analyses import export
from analyses.models import AnalysisSession, Cluster
from analyses.report_file import report_html
from tests.analyses.injection.models import ATTEMPTS

CHANNELS = [one["text"] for one in ATTEMPTS if one["kind"] == "channel"]
ADDRESSES = frozenset(
    {"src", "srcset", "href", "xlink:href", "action", "formaction", "poster", "data", "style"}
)


class Danger(HTMLParser):
    """Finds attributes that make a browser fetch from the attacker or run his words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            said = (value or "").lower()
            # An address of our own may carry his words in its query, never as its host.
            host = said.split("?")[0].split("#")[0]
            leads = name in ADDRESSES and ("evil.example" in host or "javascript:" in host)
            if leads or name.startswith("on") or (name == "style" and "url(" in said):
                self.found.append(f"{tag} {name}={value}")


def dangers(html: str) -> list[str]:
    parser = Danger()
    parser.feed(html)
    return parser.found


def test_the_check_finds_what_it_looks_for() -> None:
    assert len(dangers("".join(CHANNELS))) >= 3


def poisoned(session: AnalysisSession) -> AnalysisSession:
    """Names, descriptions, titles, summaries and insights as an attacker would have them."""
    rows = list(session.clusters.filter(provisional=False))
    for number, cluster in enumerate(rows):
        text = CHANNELS[number % len(CHANNELS)]
        cluster.name, cluster.description = text[:160], text
    Cluster.objects.bulk_update(rows, ["name", "description"])
    session.insights.update(title=CHANNELS[3], text=CHANNELS[4])
    session.items.update(title=CHANNELS[0][:300], summary=CHANNELS[3])
    return session


@pytest.mark.parametrize("name", ["summary", "live", "explore", "insights", "compare"])
def test_no_answer_is_fetched_or_run(
    done: AnalysisSession, analyst_client: Client, name: str
) -> None:
    session = poisoned(done)
    url = reverse(f"analyses:{name}", args=[session.project.slug, session.number])
    answer = analyst_client.get(url, follow=True)
    assert answer.status_code == 200
    html = answer.content.decode()
    assert dangers(html) == []
    policy = answer.headers["Content-Security-Policy"]
    assert "img-src 'self' data:" in policy
    assert "default-src 'self'" in policy
    assert "script-src 'self'" in policy
    assert "evil.example" not in policy
    if name in ("summary", "live", "explore"):
        assert "evil.example" in html  # shown as the text it is


def test_a_conversation_is_shown_as_text(done: AnalysisSession, analyst_client: Client) -> None:
    session = poisoned(done)
    url = reverse("analyses:conversation", args=[session.project.slug, session.number, 3])
    html = analyst_client.get(url).content.decode()
    assert dangers(html) == []


def test_files_hold_nothing_that_runs(done: AnalysisSession) -> None:
    session = poisoned(done)
    html = report_html(session)
    assert dangers(html) == []
    for line in "".join(export.conversations_csv(session)).splitlines():
        assert ',"=HYPERLINK' not in line
        assert ",=HYPERLINK" not in line
