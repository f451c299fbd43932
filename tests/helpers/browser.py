"""Pages in a real headless Chromium, without network, which record what the console says.

The fixtures ``browser`` and ``page`` are there in every test; ``conftest.py`` names this file as a plugin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
"""Programs that are looked for where ``$EPGRAPH_CHROMIUM`` names none."""


def chromium() -> str | None:
    """Path of the browser, or None where there is none."""
    return os.environ.get("EPGRAPH_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)


@contextmanager
def launched() -> Iterator[Any]:
    """Start one browser process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A page, and what went wrong in it.

    Attributes
    ----------
    page
        Playwright's page.
    said
        All messages of the console, and errors that nothing caught.
    asked
        Addresses that the page asked the network for; every such request fails.
    """

    def __init__(self, context: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        context.set_offline(True)
        context.route(lambda address: not address.startswith(("file:", "data:", "blob:")), self._refuse)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", self._dismiss)

    def open(self, path: Path) -> Any:
        """Go to a file and return playwright's page."""
        self.page.goto(path.resolve().as_uri())
        return self.page

    def _refuse(self, route: Any) -> None:
        self.asked.append(route.request.url)
        route.abort()

    def _dismiss(self, dialog: Any) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def opened(browser: Any, **options: Any) -> Iterator[Opened]:
    """Give a page in a context of its own; options are those of ``Browser.new_context``, as ``color_scheme="dark"``."""
    context = browser.new_context(**options)
    try:
        yield Opened(context)
    finally:
        context.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser process for all tests of a session; they are skipped where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
    if chromium() is None:
        pytest.skip(f"none of {', '.join(CHROMIUMS)} is installed; EPGRAPH_CHROMIUM can name a browser")
    with launched() as process:
        yield process


@pytest.fixture
def page(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Open pages: ``page(color_scheme="dark")``. At the end none may have said anything or asked the network."""
    with ExitStack() as stack:
        pages: list[Opened] = []

        def new(**options: Any) -> Opened:
            pages.append(stack.enter_context(opened(browser, **options)))
            return pages[-1]

        yield new
        for opened_page in pages:
            assert (opened_page.said, opened_page.asked) == ([], [])
