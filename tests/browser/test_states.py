"""Every state of an analysis in a real browser: one notice, the buttons offered, and a picture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from analyses import plan
from tests.browser.state_rows import EMAIL, PASSWORD, SIZE
from tests.browser.support import needs_chromium
from tests.crash.installation import ROOT, Installation, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]

PICTURES = ROOT / "var" / "screenshots" / "states"
LOOKS = {"light": (1440, "light"), "dark": (1440, "dark"), "phone": (390, "light")}
MAY_LIMIT, MAY_CHANGE = "Raise the limit", "Change provider"

# State: what the notice begins with ("" for none), the buttons that act.
EXPECTED: dict[str, tuple[str, list[str]]] = {
    "queued": ("", ["Pause", "Stop"]),
    "plain-running": ("", ["Pause", "Stop"]),
    "plain-pausing": ("", ["Resume", "Stop"]),
    "plain-paused": ("", ["Resume", MAY_CHANGE, "Stop"]),
    "blocked-budget": ("The limit for this analysis is reached.", [MAY_LIMIT, "Resume", "Stop"]),
    "blocked-quota": ("The account at Anthropic has", ["Resume", MAY_CHANGE, "Stop"]),
    "blocked-key": ("Anthropic refused the key.", ["Resume", MAY_CHANGE, "Stop"]),
    "blocked-provider": ("Anthropic does not answer.", ["Try now", MAY_CHANGE, "Stop"]),
    "blocked-disk": ("The disk is full.", ["Try now", "Stop"]),
    "blocked-errors": (
        "42 conversations failed",
        ["Resume anyway", "Retry what failed", MAY_CHANGE, "Stop"],
    ),
    "blocked-upgrade": ("It was started with another version", ["Try now", "Stop"]),
    "recovered": ("A worker stopped at", ["Pause", "Stop"]),
    "recovered-doubt": ("A worker stopped at", ["Pause", "Stop"]),
    "near": ("81% of the limit for this analysis is used", ["Pause", "Stop"]),
    "doubt": ("3 calls were cut off.", ["Pause", "Stop"]),
    "plain-cancelling": ("", []),
    "plain-cancelled": ("", ["Open the summary"]),
    "partial": ("23 conversations could not be read.", ["Retry what failed", "Open the summary"]),
    "failed": ("The analysis failed at", ["Retry what failed", MAY_CHANGE]),
    "complete": ("", ["Open the summary"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, int]]]:
    """Pages without workers, so that every state stays as it is; and the analyses by state."""
    one = Installation(Path(tmp_path_factory.mktemp("states")))
    one.environment["PYTHONPATH"] = str(ROOT)
    script = "from tests.browser.state_rows import build; build()"
    made = one.manage("shell", "-v", "0", "-c", script, stdout=subprocess.PIPE)
    said, _ = made.communicate(timeout=240)
    assert made.returncode == 0
    numbers = json.loads(said.decode().strip().splitlines()[-1])
    command = [sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(one.port)]
    web = subprocess.Popen(
        [*command, "config.asgi:application"],
        cwd=ROOT,
        env=one.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: answers(one), 60, "the pages")
        yield f"http://127.0.0.1:{one.port}", numbers
    finally:
        web.kill()
        web.wait()


def answers(one: Installation) -> bool:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", one.port, timeout=5)
    try:
        connection.request("GET", "/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def signed(place: tuple[str, dict[str, int]], page: Any) -> Any:
    """A page of somebody who may do everything."""
    site, _ = place
    page.goto(f"{site}/sign-in/")
    page.fill("input[name=username]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(f"{site}/")
    return page


def look(page: Any, site: str, name: str) -> None:
    """One of the three looks."""
    width, theme = LOOKS[name]
    page.set_viewport_size({"width": width, "height": 900})
    page.context.add_cookies([{"name": "theme", "value": theme, "url": site}])


def picture(page: Any, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")


def fits(page: Any) -> None:
    """Nothing is wider than the window."""
    wide = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0, page.evaluate(
        "() => [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right"
        " > innerWidth).map(e => e.outerHTML.slice(0, 80)).slice(0, 5)"
    )


def notices(page: Any) -> list[str]:
    return [
        one.inner_text() for one in page.locator("#live-notice .note").all() if one.is_visible()
    ]


def buttons(page: Any) -> list[str]:
    found = page.locator("#live-actions :is(button, a)").all_inner_texts()
    acts = [text.split("\n")[0].removesuffix(" P").strip() for text in found]
    return [text for text in acts if not text.startswith(("Explore", "Export"))]


@pytest.mark.parametrize("name", LOOKS)
def test_every_state_is_told_once_with_what_can_be_done(
    place: tuple[str, dict[str, int]], signed: Any, name: str
) -> None:
    site, numbers = place
    assert {state for state in numbers if not state.endswith("-spare")} == set(EXPECTED)
    look(signed, site, name)
    for state, (title, acts) in EXPECTED.items():
        signed.goto(f"{site}/p/northwind/analyses/{numbers[state]}/live/")
        signed.wait_for_selector("#connection[data-state]")
        told = notices(signed)
        assert len(told) == (1 if title else 0), (state, told)
        assert all(text.startswith(title) for text in told), (state, told)
        assert buttons(signed) == acts, state
        fits(signed)
        picture(signed, f"{state}-{name}")


@pytest.mark.parametrize("name", LOOKS)
def test_dialogs_and_the_pages_behind_them(
    place: tuple[str, dict[str, int]], signed: Any, name: str
) -> None:
    site, numbers = place
    look(signed, site, name)
    for state, dialog in (
        ("plain-running", "stop"),
        ("blocked-budget", "limit"),
        ("blocked-key", "providers"),
        ("recovered", "recovery"),
        ("recovered-doubt", "recovery"),
    ):
        home = f"{site}/p/northwind/analyses/{numbers[state]}"
        signed.goto(f"{home}/live/")
        signed.locator(f"[data-open={dialog}-dialog]").first.click()
        signed.wait_for_selector(f"#{dialog}-dialog[open]")
        picture(signed, f"dialog-{dialog}-{state}-{name}")
        said = signed.inner_text(f"#{dialog}-dialog h2")
        signed.locator(f"#{dialog}-dialog [data-close]").click()
        assert signed.locator("dialog[open]").count() == 0
        signed.goto(f"{home}/{dialog}/")
        assert signed.inner_text("main h2") == said
        fits(signed)


@pytest.mark.parametrize("name", LOOKS)
def test_batches_and_errors(place: tuple[str, dict[str, int]], signed: Any, name: str) -> None:
    site, numbers = place
    look(signed, site, name)
    home = f"{site}/p/northwind/analyses/{numbers['partial']}"
    signed.goto(f"{home}/batches/")
    assert signed.locator("tbody tr").count() == SIZE // plan.batch_size(SIZE) + bool(
        SIZE % plan.batch_size(SIZE)
    )
    assert "The provider did not answer in time." in signed.inner_text("main")
    fits(signed)
    picture(signed, f"batches-{name}")
    signed.goto(f"{home}/batches/failed/?class=timeout")
    fits(signed)
    picture(signed, f"failed-list-{name}")
    signed.goto(f"{site}/p/northwind/analyses/{numbers['complete']}/batches/?show=failed")
    assert "Nothing failed" in signed.inner_text("main")
    picture(signed, f"batches-empty-{name}")


def test_a_cell_of_the_strip_opens_its_batch(
    place: tuple[str, dict[str, int]], signed: Any
) -> None:
    site, numbers = place
    signed.goto(f"{site}/p/northwind/analyses/{numbers['plain-paused']}/live/")
    signed.click("#b7")
    signed.wait_for_url("**/batches/?batch=7#batch-7")
    assert signed.locator("tr.asked b").inner_text() == "Batch 7"
    signed.go_back()
    signed.click("#live-batches p a")
    signed.wait_for_selector("tr.asked")
    assert "running" not in signed.inner_text("tr.asked").lower()


def test_a_dismissed_notice_stays_away(place: tuple[str, dict[str, int]], signed: Any) -> None:
    site, numbers = place
    signed.goto(f"{site}/p/northwind/analyses/{numbers['recovered']}/live/")
    signed.click("#live-notice [aria-label=Dismiss]")
    assert notices(signed) == []
    signed.reload()
    assert notices(signed) == []
    # Another analysis tells its own.
    signed.goto(f"{site}/p/northwind/analyses/{numbers['recovered-doubt']}/live/")
    assert len(notices(signed)) == 1


# --- Pressing -------------------------------------------------------------------------------------


def opened(page: Any, site: str, number: int) -> None:
    page.goto(f"{site}/p/northwind/analyses/{number}/live/")
    page.wait_for_selector("#connection[data-state=live], #connection[data-state=still]")
    page.evaluate("window.sameDocument = true")


def test_a_higher_limit_is_set_in_place(
    place: tuple[str, dict[str, int]], signed: Any, errors: list[str]
) -> None:
    site, numbers = place
    opened(signed, site, numbers["blocked-budget-spare"])
    signed.click("#live-notice [data-open=limit-dialog]")
    signed.fill("#limit-amount", "-3")
    signed.evaluate("document.querySelector('#limit-dialog form').noValidate = true")
    signed.click("#limit-dialog button.pri")
    signed.wait_for_selector("#limit-dialog[open] .err")
    signed.fill("#limit-amount", "12.50")
    signed.click("#limit-dialog button.pri")
    signed.wait_for_selector("#live-status .pill.run")
    assert signed.locator("dialog[open]").count() == 0
    assert [text.split(".")[0] for text in notices(signed)] == ["2 calls were cut off"]
    assert "$4.01 of $12.50" in signed.inner_text("#live-work")
    assert signed.evaluate("window.sameDocument")
    errors[:] = [text for text in errors if "422" not in text]


def test_what_another_tab_ended_is_said_in_place(
    place: tuple[str, dict[str, int]], signed: Any, errors: list[str]
) -> None:
    site, numbers = place
    number = numbers["plain-running-spare"]
    opened(signed, site, number)
    # The page does not learn of it: no news, no polling.
    signed.route("**/live/fragments/", lambda route: route.abort())
    form = signed.locator("form[action$='/pause/'][data-wish]").first
    form.evaluate("form => { form.action = form.action.replace('pause', 'retry') }")
    signed.keyboard.press("p")
    toast = signed.wait_for_selector(".toast[role=alert]")
    assert "You can pause or stop." in toast.inner_text()
    toast.query_selector("button").click()
    assert signed.locator(".toast[role=alert]").count() == 0
    assert signed.evaluate("window.sameDocument")
    errors[:] = [text for text in errors if "409" not in text and "ERR_FAILED" not in text]


def test_what_had_ended_is_live_again_when_it_is_retried(
    place: tuple[str, dict[str, int]], signed: Any
) -> None:
    site, numbers = place
    opened(signed, site, numbers["partial-spare"])
    assert signed.inner_text("#connection").strip() == "Up to date"
    signed.locator("#live-actions button").dblclick()
    signed.wait_for_selector("#live-status .pill.run")
    signed.wait_for_selector("#connection[data-state=live]")
    signed.keyboard.press("p")
    signed.wait_for_selector("#live-status .pill.warn:has-text('Paused')")
    assert signed.evaluate("window.sameDocument")


# --- Room -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 1440])
def test_filters_lie_side_by_side(
    place: tuple[str, dict[str, int]], signed: Any, width: int
) -> None:
    site, numbers = place
    signed.set_viewport_size({"width": width, "height": 900})
    signed.goto(f"{site}/p/northwind/analyses/{numbers['complete']}/explore/")
    boxes = [one.bounding_box() for one in signed.locator("#filters .pick > summary").all()]
    assert len(boxes) > 3
    for left, right in pairwise(boxes):
        apart = left["x"] + left["width"] <= right["x"]
        assert apart or left["y"] + left["height"] <= right["y"]


def test_a_long_project_name_stays_in_the_sidebar(
    place: tuple[str, dict[str, int]], signed: Any
) -> None:
    site, _ = place
    signed.goto(f"{site}/p/northwind/")
    signed.evaluate("document.querySelector('.proj b').textContent = 'A very long name '.repeat(9)")
    name = signed.locator(".switcher .proj b").bounding_box()
    side = signed.locator("#side").bounding_box()
    assert name["x"] + name["width"] < side["x"] + side["width"]
