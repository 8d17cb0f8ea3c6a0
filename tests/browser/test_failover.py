"""A provider is added by its card, put in order by keys, and dies while an analysis reads by it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.support import needs_chromium
from tests.browser.test_main_journey import EMAIL, PASSWORD
from tests.crash.installation import Installation, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]

COUNT = 400
"""Conversations: enough that the server dies long before the end."""
SOON = 20_000
"""Milliseconds."""


@pytest.fixture
def servers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Providers that were started; whatever is left of them ends with the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()


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
    yield one, link[0]
    one.end()


def test_a_server_dies_and_the_work_goes_on_elsewhere(
    place: tuple[Installation, str], servers: list[subprocess.Popen[bytes]], page: Any
) -> None:
    one, link = place
    site = f"http://127.0.0.1:{one.port}"
    page.goto(f"{site}{link}")
    page.fill("input[name=name]", "Mara Okafor")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("main button.pri, .gate button.pri")
    page.wait_for_url("**/live/")
    for name in ("Steady", "Mortal"):
        adds(page, site, name, serves(one, servers))
    puts_first(page, site, "Mortal")
    live = starts(page, site)
    page.wait_for_function(READ, arg=10, timeout=2 * SOON)
    servers[1].kill()
    page.goto(f"{site}/providers/")
    mortal = page.locator("#providers-order .chain li", has_text="Mortal")
    mortal.get_by_text(re.compile("Resting|Skipped|Not answering")).wait_for(timeout=SOON)
    steady = page.locator("#providers-order .chain li", has_text="Steady")
    steady.get_by_text("In use").wait_for(timeout=SOON)
    assert "Mortal" in page.locator("#providers-feed").inner_text()
    page.goto(live)
    before = page.evaluate(NOW)
    page.wait_for_function(READ, arg=before, timeout=2 * SOON)
    page.locator("#live-work", has_text="Steady").wait_for(timeout=SOON)


NOW = "() => Number(document.querySelector('#live-progress .big b').textContent.replace(/,/g, ''))"
READ = f"before => ({NOW})() > before || document.querySelector('#live .pill.ok')"


def serves(one: Installation, servers: list[subprocess.Popen[bytes]]) -> str:
    """Start a provider that answers at the pace of a real one; its address."""
    started = one.manage(
        "scripted_provider", "--scenario", "calm", "--port", "0", stdout=subprocess.PIPE
    )
    servers.append(started)
    return str(started.stdout.readline().decode().strip())


def adds(page: Any, site: str, name: str, address: str) -> None:
    """By the card of compatible servers: load its models, choose one, save and test."""
    page.goto(f"{site}/providers/new/")
    page.get_by_role("link", name="Any OpenAI-compatible server").click()
    page.fill("input[name=name]", name)
    page.fill("input[name=base_url]", address)
    page.get_by_role("button", name="Load models").click()
    page.check("input[name=chat][value=scripted-1]")
    page.get_by_role("button", name="Save and test").last.click()
    page.get_by_text("The connection works.").wait_for(timeout=SOON)


def puts_first(page: Any, site: str, name: str) -> None:
    """With the arrow keys, on the handle of the last model."""
    page.goto(f"{site}/providers/")
    names = page.locator("#providers-order .chain b")
    assert names.all_inner_texts() == ["Steady", name]
    page.locator("#providers-order .grab").nth(1).focus()
    with page.expect_response(lambda answer: answer.url.endswith("/change/")):
        page.keyboard.press("ArrowUp")
    page.reload()
    assert names.all_inner_texts() == [name, "Steady"]


def starts(page: Any, site: str) -> str:
    """An analysis in the workspace's order; the address of its live page."""
    page.goto(f"{site}/p/sample/analyses/new/")
    page.locator("label", has_text="In the workspace's order").click()
    page.fill("input[name=limit]", str(COUNT))
    page.get_by_role("button", name="Start the analysis").click()
    page.wait_for_url("**/analyses/2/live/")
    return str(page.url)
