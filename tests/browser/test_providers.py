"""The providers page in a real browser: pictures, order by keys and drag, switches, live news."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.provider_rows import EMAIL, PASSWORD
from tests.browser.support import needs_chromium
from tests.browser.test_states import answers, fits
from tests.crash.installation import ROOT, Installation, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]

PICTURES = ROOT / "var" / "screenshots" / "providers"
LOOKS = {
    "light": (1440, "light"),
    "dark": (1440, "dark"),
    "390-light": (390, "light"),
    "390-dark": (390, "dark"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Installation]]:
    """Pages without workers, with providers in every state."""
    one = Installation(Path(tmp_path_factory.mktemp("providers")))
    one.environment["PYTHONPATH"] = str(ROOT)
    script = "from tests.browser.provider_rows import build; build()"
    made = one.manage("shell", "-v", "0", "-c", script, stdout=subprocess.PIPE)
    said, _ = made.communicate(timeout=240)
    assert made.returncode == 0
    assert json.loads(said.decode().strip().splitlines()[-1])["Anthropic"]
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
        yield f"http://127.0.0.1:{one.port}", one
    finally:
        web.kill()
        web.wait()


@pytest.fixture
def signed(place: tuple[str, Installation], page: Any) -> Any:
    """The providers page, open for an owner."""
    site, _ = place
    page.goto(f"{site}/sign-in/")
    page.fill("input[name=username]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(f"{site}/")
    page.goto(f"{site}/providers/")
    return page


def order(page: Any) -> list[str]:
    return page.locator("#providers-order .chain b").all_inner_texts()


@pytest.mark.parametrize("look", LOOKS)
def test_looks_as_drawn_and_fits(signed: Any, place: tuple[str, Installation], look: str) -> None:
    width, theme = LOOKS[look]
    signed.set_viewport_size({"width": width, "height": 900})
    signed.context.add_cookies([{"name": "theme", "value": theme, "url": place[0]}])
    signed.goto(f"{place[0]}/providers/")
    signed.wait_for_selector("#connection[data-state=live]")
    fits(signed)
    PICTURES.mkdir(parents=True, exist_ok=True)
    signed.mouse.move(0, 0)
    signed.screenshot(path=PICTURES / f"{look}.png", full_page=True, animations="disabled")
    signed.locator("#providers-order .chain .switcher > summary").first.click()
    signed.get_by_text("What happens if it fails").first.click()
    signed.wait_for_selector("#order-preview")
    assert "takes the work with the next call" in signed.locator("#order-preview").inner_text()
    signed.screenshot(path=PICTURES / f"{look}-preview.png", full_page=True, animations="disabled")
    fits(signed)


def test_arrow_keys_change_the_order_and_say_so(signed: Any) -> None:
    before = order(signed)
    grab = signed.locator("#providers-order .grab").nth(1)
    grab.focus()
    with signed.expect_response(lambda answer: answer.url.endswith("/change/")):
        signed.keyboard.press("ArrowUp")
        assert f"{before[1]}, position 1 of" in signed.locator("#order-said").inner_text()
    signed.locator("#order-said", has_text="saved").wait_for(state="attached")
    assert order(signed)[:2] == [before[1], before[0]]
    assert signed.evaluate("document.activeElement.className").startswith("grab")
    signed.reload()
    assert order(signed)[:2] == [before[1], before[0]]


def test_dragging_changes_the_order(signed: Any) -> None:
    before = order(signed)
    first, third = (
        signed.locator("#providers-order .grab").nth(place).bounding_box() for place in (0, 2)
    )
    assert first
    assert third
    signed.mouse.move(first["x"] + 8, first["y"] + 8)
    signed.mouse.down()
    signed.mouse.move(third["x"] + 8, third["y"] + third["height"] + 12, steps=6)
    with signed.expect_response(lambda answer: answer.url.endswith("/change/")):
        signed.mouse.up()
    signed.reload()
    assert order(signed)[:3] == [before[1], before[2], before[0]]


def test_a_switch_needs_no_button_and_other_pages_follow(signed: Any) -> None:
    other = signed.context.browser.new_page(storage_state=signed.context.storage_state())
    other.goto(signed.url)
    other.wait_for_selector("#connection[data-state=live]")
    name = "OpenRouter"
    signed.get_by_role("checkbox", name=f"Use {name}").click()
    other.locator(f"[aria-label='Use {name}']:checked").wait_for(timeout=10_000)
    other.close()
    signed.reload()
    assert signed.get_by_role("checkbox", name=f"Use {name}").is_checked()


def test_without_scripts_everything_can_be_done(place: tuple[str, Installation], page: Any) -> None:
    plain = page.context.browser.new_page(java_script_enabled=False)
    plain.goto(f"{place[0]}/sign-in/?next=/providers/")
    plain.fill("input[name=username]", EMAIL)
    plain.fill("input[name=password]", PASSWORD)
    plain.press("input[name=password]", "Enter")
    plain.goto(f"{place[0]}/providers/")
    before = order(plain)
    plain.locator("#providers-order .chain .switcher > summary").first.click()
    plain.get_by_role("button", name="Move down").first.click()
    assert order(plain)[:2] == [before[1], before[0]]
    box = plain.get_by_role("checkbox", name="Use Local vLLM")
    box.click()
    plain.get_by_role("button", name="Save the use of Local vLLM").click()
    assert not plain.get_by_role("checkbox", name="Use Local vLLM").is_checked()
    plain.close()
