"""The tests' browser: the system's Chromium, driven by Playwright, whose own browsers aren't installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
READY = "html[data-ready=true], html[data-errors]"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A page in its own tab, with its console messages, errors and requests."""

    def __init__(self, browser: Browser, file: Path, **settings: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.tab = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | settings))
        self.tab.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(file.as_uri())
        self.settled()

    def settled(self) -> None:
        """Wait until all figures are drawn for the current choice."""
        self.tab.wait_for_selector(READY, state="attached", timeout=120_000)

    def pick(self, control: str, label: str) -> None:
        """Choose an entry of a list and wait for the figures."""
        self.tab.evaluate("delete document.documentElement.dataset.ready")
        self.tab.select_option(control, label=label)
        self.settled()

    def marks(self, figure: str) -> int:
        """Drawn points, bars, lines, areas, boxes and ticks of a figure: not its axes, legends or frames."""
        kinds = "symbol", "line", "rect", "area", "rule"
        inside = ", ".join(f".mark-{kind}.role-mark path, .mark-{kind}.role-mark line" for kind in kinds)
        found: int = self.tab.locator(f'[data-figure="{figure}"] svg').locator(inside).count()
        return found

    def focused(self) -> str:
        """The focused element: its id or action, and its figure."""
        name: str = self.tab.evaluate(
            "(() => { const e = document.activeElement;"
            " return e.id || [e.closest('figure')?.querySelector('[data-figure]')?.dataset.figure, e.dataset.do"
            " ?? e.dataset.move ?? e.getAttribute('aria-label') ?? e.tagName].filter(Boolean).join(' '); })()"
        )
        return name
