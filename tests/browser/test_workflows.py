"""Three whole workflows in a real browser, against real servers, workers and providers over HTTP."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.support import needs_chromium
from tests.crash.installation import Installation, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]

EMAIL, PASSWORD = "mara@example.org", "a long enough password"
SIZE = 240
TO_THE_END = 240_000
"""Milliseconds; the map's code may have to be compiled first."""
SOON = 20_000
UNANSWERED = ("ERR_CONNECTION_REFUSED", "htmx:afterRequest", "htmx:sendError")


class Model:
    """A scripted provider in a process of its own."""

    def __init__(self, one: Installation, folder: Path, *, seconds: float) -> None:
        scenario = folder / "scenario.json"
        scenario.write_text(json.dumps({"latency": seconds}))
        self.process = one.manage(
            "scripted_provider", f"--scenario={scenario}", stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()

    def stats(self) -> dict[str, int]:
        """What it was asked so far."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=5)
        connection.request("GET", "/stats")
        found: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def kill(self) -> None:
        """Gone, as when a provider's machine dies."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Installation, str]]:
    """A new installation that serves, and the first owner's link."""
    one = Installation(tmp_path)
    setup = one.manage("setup", stdout=subprocess.PIPE)
    said, _ = setup.communicate(timeout=180)
    link = re.search(r"/welcome/[^/\s]+/", said.decode())
    assert link
    one.start()
    wait_for(one.beat, 60, "a worker to take its first task")
    yield one, f"http://127.0.0.1:{one.port}{link[0]}"
    one.end()


@pytest.fixture
def models(place: tuple[Installation, str], tmp_path: Path) -> Iterator[list[Model]]:
    """Two providers with the same answers."""
    found = [Model(place[0], tmp_path, seconds=0.15) for _ in range(2)]
    yield found
    for model in found:
        model.kill()


def test_pause_after_two_batches_restart_the_server_resume(place, models, page, errors) -> None:
    one, link = place
    site = enters(page, one, link)
    adds_provider(page, site, "Near", models[0])
    starts(page, site, "Near", name="Restarted")
    page.wait_for_function("() => document.querySelectorAll('#live-batches .d').length >= 2")
    page.keyboard.press("p")
    page.wait_for_selector("#live-status .pill:has-text('Paused')", timeout=SOON)
    kept = page.locator("#live-batches i.d, #live-batches i.t").count()
    asked = models[0].stats()["requests"]
    assert asked < SIZE

    one.supervisor.send_signal(signal.SIGTERM)
    assert one.supervisor.wait(20) == 0
    one.start()

    page.reload()
    # While the server was away, the browser said of every question that nobody answered.
    assert [text for text in errors if not any(part in text for part in UNANSWERED)] == []
    errors.clear()
    assert "Paused" in page.inner_text("#live-status")
    assert page.locator("#live-batches i.d, #live-batches i.t").count() == kept
    assert models[0].stats()["requests"] == asked
    page.keyboard.press("p")
    page.wait_for_selector("#live-status .pill.ok", timeout=TO_THE_END)
    assert count(page) == SIZE
    assert models[0].stats()["repeated"] == 0


def test_the_first_provider_dies_and_the_second_goes_on_with_the_same_results(
    place, models, page
) -> None:
    one, link = place
    site = enters(page, one, link)
    first, second = models
    adds_provider(page, site, "First", first)
    adds_provider(page, site, "Second", second)
    adds_provider(page, site, "Undisturbed", second)
    starts(page, site, "Undisturbed", name="Undisturbed")
    page.wait_for_selector("#live-status .pill.ok", timeout=TO_THE_END)
    expected = exported(page)

    before = second.stats()["requests"]
    starts(page, site, "First", name="Disturbed", fallback="Second")
    page.wait_for_function("() => document.querySelectorAll('#live-batches .d').length >= 2")
    first.kill()
    page.wait_for_selector("#live-status .pill.ok", timeout=TO_THE_END)
    assert second.stats()["requests"] > before
    assert count(page) == SIZE
    assert exported(page) == expected


def test_partial_results_appear_grow_and_can_be_exported(place, models, page) -> None:
    one, link = place
    site = enters(page, one, link)
    adds_provider(page, site, "Near", models[0])
    starts(page, site, "Near", name="Growing")
    page.evaluate("window.sameDocument = true")
    page.wait_for_selector("#live-clusters [role=treeitem]", timeout=TO_THE_END)
    seen = count(page)
    assert 0 < seen < SIZE
    rows = exported(page)
    read = [row for row in rows if any(list(row.values())[1:])]
    assert 0 < len(read) < SIZE
    page.wait_for_function(
        "before => Number(document.querySelector('#live-progress .big b').textContent) > before",
        arg=seen,
        timeout=SOON,
    )
    page.wait_for_selector("#live-status .pill.ok", timeout=TO_THE_END)
    assert page.evaluate("window.sameDocument")
    done = exported(page)
    assert [row["id"] for row in done] == [row["id"] for row in rows]
    answers = [key for key in rows[0] if key not in {"id", "theme", "cluster", "x", "y"}]
    later = {row["id"]: row for row in done}
    assert all(row[key] == later[row["id"]][key] for row in read for key in answers)


def enters(page, one: Installation, link: str) -> str:
    """Claim the installation; its sample analysis is stopped, so that nothing else works."""
    page.goto(link)
    page.fill("input[name=name]", "Mara Okafor")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("main button.pri, .gate button.pri")
    page.wait_for_url("**/analyses/1/live/")
    page.wait_for_selector("#live-status .pill.ok", timeout=TO_THE_END)
    return f"http://127.0.0.1:{one.port}"


def adds_provider(page, site: str, name: str, model: Model) -> None:
    page.goto(f"{site}/providers/new/?preset=compatible")
    page.click("summary:has-text('Limits, timeouts')")
    page.fill("input[name=name]", name)
    page.fill("input[name=base_url]", model.url)
    page.fill("input[name=chat_model]", "scripted-1")
    page.fill("input[name=price_in]", "1")
    page.fill("input[name=price_out]", "2")
    page.fill("input[name=concurrency]", "8")
    page.click("button.pri:has-text('Save and test')")
    page.wait_for_selector("text=The connection works", timeout=SOON)


def starts(page, site: str, reader: str, *, name: str, fallback: str = "") -> None:
    page.goto(f"{site}/p/sample/analyses/new/")
    page.fill("input[name=limit]", str(SIZE))
    page.fill("input[name=name]", name)
    page.check(f"label.option:has(b:text-is('{reader}')) input")
    if fallback:
        page.wait_for_selector("select[name=fallback]", timeout=SOON)
        options = page.locator("select[name=fallback] option")
        label = next(text for text in options.all_inner_texts() if text.startswith(fallback))
        page.select_option("select[name=fallback]", label=label)
    page.click("button:has-text('Start the analysis')")
    page.wait_for_url("**/live/")


def count(page) -> int:
    return int(page.inner_text("#live-progress .big b").replace(",", ""))


def exported(page) -> list[dict[str, str]]:
    """What the export on the page gives now."""
    with page.expect_download() as download:
        page.click("#live-actions a[download]")
    with download.value.path().open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
