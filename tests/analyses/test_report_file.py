"""The report as one file: complete, closed to the network, and safe whatever a model named."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analyses.models import AnalysisSession, Cluster, Insight
from analyses.report_file import report_html, write_results
from tests.analyses import builders

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7|add:7 }}\u2028'\""


class Page(HTMLParser):
    """Tags, attributes and the texts of scripts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


def test_the_page_needs_nothing_from_the_network(done):
    html = report_html(done)
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert not any(name in attrs for _, attrs in page.tags for name in ("src", "href", "action"))
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert set(re.findall(r"url\((.{5})", styles)) == {"data:"}
    assert "@import" not in styles


def test_only_the_pages_own_script_may_run(done):
    page = Page(report_html(done))
    (policy,) = [
        attrs["content"]
        for tag, attrs in page.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert kinds == ["application/json", None]


def test_hostile_names_stay_text(done):
    before = Page(report_html(done)).tags
    Cluster.objects.filter(session=done, shown=True).update(name=HOSTILE[:160], description=HOSTILE)
    Insight.objects.filter(session=done).update(title=HOSTILE, text=HOSTILE)
    AnalysisSession.objects.filter(pk=done.pk).update(
        name=HOSTILE[:160], notice=HOSTILE, warnings=[HOSTILE], detail=HOSTILE
    )
    done.refresh_from_db()
    done.dataset.name = HOSTILE
    page = Page(report_html(done))
    assert {tag for tag, _ in page.tags} - {"p"} == {tag for tag, _ in before} - {"p"}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert len(page.scripts) == 2
    names = {cluster["name"] for cluster in json.loads(page.scripts[0])["clusters"]}
    assert names == {HOSTILE[:160]}


def test_withheld_groups_and_conversations_are_not_in_it(done):
    html = report_html(done)
    assert "A secret group" not in html
    assert "About the last group" not in html
    assert "1 hidden" in html
    for message in done.dataset.conversations.first().messages:
        assert message["content"] not in html
    for title in done.items.values_list("title", flat=True)[:20]:
        assert title not in html


def test_the_map_holds_a_place_and_a_group_for_every_dot(done):
    data = json.loads(Page(report_html(done)).scripts[0])
    places = base64.b64decode(data["xy"])
    groups = memoryview(base64.b64decode(data["groups"])).cast("H")
    assert (len(places) // 4, len(groups), data["count"]) == (200, 200, 200)
    sizes = {cluster["key"]: cluster["size"] for cluster in data["clusters"]}
    drawn = [data["clusters"][group]["key"] for group in groups if group != 0xFFFF]
    for key in set(drawn):
        assert drawn.count(key) == sizes[key]
    assert len(drawn) < 200


def test_it_is_honest_about_the_engine_and_unfinished_work(done, going):
    assert "local engine, no model" in report_html(done)
    assert "results so far" not in report_html(done)
    assert "results so far" in report_html(going)


def test_too_few_for_a_map(dataset, analyst):
    html = report_html(builders.finished(dataset, analyst, hidden=0))
    assert "from 50 conversations on" in html
    assert 'id="map-data"' not in html


def test_files_appear_whole_or_not_at_all(done, tmp_path: Path):
    write_results(done, tmp_path / "deep" / "out")
    found = {path.name: path.stat().st_size for path in (tmp_path / "deep" / "out").iterdir()}
    assert set(found) == {"report.html", "clusters.json", "conversations.csv", "run.json"}
    assert all(found.values())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_results(done, tmp_path / "file")
