"""Sign in, start an analysis, watch it, explore it: a real server, real workers, a real browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.support import needs_chromium
from tests.crash.installation import Installation, wait_for

EMAIL, PASSWORD = "mara@example.org", "a long enough password"
FIRST_CLUSTERS = 15_000
"""Milliseconds from opening the page to the sample's first clusters."""
TO_THE_END = 240_000
"""Milliseconds; the map's code may have to be compiled first."""

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    """A new installation that serves, and the first owner's link."""
    one = Installation(Path(tmp_path_factory.mktemp("journey")))
    setup = one.manage("setup", stdout=subprocess.PIPE)
    said, _ = setup.communicate(timeout=180)
    assert setup.returncode == 0
    link = re.search(r"/welcome/[^/\s]+/", said.decode())
    assert link
    one.start()
    wait_for(one.beat, 60, "a worker to take its first task")
    yield one, f"http://127.0.0.1:{one.port}{link[0]}"
    one.end()


def test_from_sign_in_to_explore(place: tuple[Installation, str], page: object) -> None:
    one, link = place
    site = f"http://127.0.0.1:{one.port}"
    claims_and_sees_the_sample_grow(page, link)
    pauses_and_goes_on(page)
    signs_out_and_in(page, site)
    number = starts_an_analysis(page, site)
    watches_it_end(page)
    explores(page, f"{site}/p/sample/analyses/{number}/explore/")


def claims_and_sees_the_sample_grow(page, link) -> None:
    page.goto(link)
    page.fill("input[name=name]", "Mara Okafor")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("main button.pri, .gate button.pri")
    page.wait_for_url("**/analyses/1/live/")
    page.wait_for_selector("#live-clusters [role=treeitem]", timeout=FIRST_CLUSTERS)
    page.wait_for_selector("#connection[data-state=live]")
    seen = count(page)
    page.wait_for_function(
        "before => Number(document.querySelector('#live-progress .big b').textContent"
        ".replace(/,/g, '')) > before || document.querySelector('#live .pill.ok')",
        arg=seen,
        timeout=60_000,
    )


def pauses_and_goes_on(page) -> None:
    """In place: a closed row stays closed, and the page is never loaded again."""
    page.evaluate("window.sameDocument = true")
    branch = page.locator("#live-clusters [aria-expanded=true]").first
    branch.locator(".tw").click()
    closed = page.locator("#live-clusters [aria-expanded=false]")
    assert closed.count() == 1
    page.keyboard.press("p")
    page.wait_for_selector("#live-status .pill.warn:has-text('Paused')", timeout=FIRST_CLUSTERS)
    assert page.title().startswith("Paused · ")
    assert "Paused" in page.inner_text(".side .mini")
    page.keyboard.press("p")
    page.wait_for_selector("#live-status .pill.run", timeout=FIRST_CLUSTERS)
    assert re.match(r"\d+% · ", page.title())
    assert closed.count() == 1
    assert page.evaluate("window.sameDocument")


def count(page) -> int:
    return int(page.inner_text("#live-progress .big b").replace(",", ""))


def signs_out_and_in(page, site) -> None:
    page.click("[aria-label='Sign out']")
    page.goto(f"{site}/p/sample/analyses/new/")
    assert "/sign-in/" in page.url
    page.fill("input[name=username]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/analyses/new/")


def starts_an_analysis(page, site) -> int:
    assert "Costs nothing" in page.inner_text("fieldset")
    page.fill("input[name=limit]", "120")
    page.fill("input[name=name]", "Journey")
    page.dblclick("button:has-text('Start the analysis')")
    page.wait_for_url("**/live/")
    assert page.inner_text("h1") == "Journey"
    assert page.locator("#side-running .mini:has-text('Journey')").count() == 1
    return int(page.url.rstrip("/").split("/")[-2])


def watches_it_end(page) -> None:
    """Everything arrives over the socket: the page is never loaded again."""
    page.evaluate("window.sameDocument = true")
    page.wait_for_selector("#live-status .pill.ok", timeout=TO_THE_END)
    assert page.evaluate("window.sameDocument")
    assert count(page) == 120
    assert page.inner_text("#connection").strip() == "Up to date"
    assert page.locator("#live-progress li.done").count() == 10
    assert page.title().startswith("Complete · ")
    assert "so far" not in page.inner_text(".grid-live header >> nth=0")
    page.wait_for_function("!document.querySelector('#side-running').innerText.includes('Journey')")
    page.wait_for_selector("[data-tab=insights][aria-pressed=true]")
    page.click("text=Open the summary")
    page.wait_for_selector("text=What people ask for")


def explores(page, url) -> None:
    page.goto(url)
    page.wait_for_function("document.querySelector('#map canvas')?.width > 0")
    rows = page.locator("#tree [role=treeitem]")
    assert rows.count() > 2
    rows.nth(1).click()
    page.wait_for_url(re.compile(r"\?c=\d+$"))
    name = rows.nth(1).locator(".nm").inner_text()
    assert page.inner_text("#sel h2") == name
    page.locator("#p-read .convs a").first.click()
    page.wait_for_selector("#reader-scroll .msg")
    first = page.get_attribute("#reader-scroll", "data-position")
    page.keyboard.press("j")
    page.wait_for_function(
        "old => document.querySelector('#reader-scroll').dataset.position !== old", arg=first
    )
    page.go_back()
    page.wait_for_function(
        "old => document.querySelector('#reader-scroll').dataset.position === old", arg=first
    )
    opened = page.url
    page.reload()
    assert page.url == opened
    assert page.get_attribute("#reader-scroll", "data-position") == first
