"""A page of a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.support import CHROMIUM, FLAGS


@pytest.fixture
def page() -> Iterator[object]:
    """A page whose errors fail the test."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, accept_downloads=True)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        yield page
        browser.close()
    assert errors == []
