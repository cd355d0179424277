"""How large the page of a large sweep is and how fast it opens (`python -m tests.benchmarks.page [TRIALS]`).

Makes a seeded run directory, writes its page, and opens it in headless Chromium, each time in a new profile: time to
the first figure (the page can be read and used from then on) and until all are drawn. The last line is one JSON object.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from phantom_dist.reports import report
from tests.reports.browser import ARGUMENTS, CHROMIUM
from tests.reports.large import write_large_run

OPENINGS = 5


def opening(page: Path) -> dict[str, float]:
    """Milliseconds from navigation to `load`, to the first figure and to the last."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready=true]", state="attached", timeout=120_000)
        marks: dict[str, float] = tab.evaluate(
            "Object.fromEntries([...performance.getEntriesByType('mark')].map(m => [m.name, m.startTime])"
            ".concat([['load', performance.getEntriesByType('navigation')[0].loadEventEnd]]))"
        )
        browser.close()
    return marks


def main(trials: int) -> None:
    """Print a table on the way and JSON at the end."""
    folder = Path(tempfile.mkdtemp(prefix="phantom-page-"))
    try:
        write_large_run(folder / "run", trials)
        started = time.perf_counter()
        page = folder / "page.html"
        report([folder / "run"], page)
        written = time.perf_counter() - started
        marks = [opening(page) for _ in range(OPENINGS)]
        times = {name: statistics.median(m[name] for m in marks) for name in marks[0]}
        size = page.stat().st_size
        print(f"{trials} trials: {size / 1e6:.2f} MB, written in {written:.1f} s")
        for name, milliseconds in sorted(times.items(), key=lambda item: item[1]):
            print(f"  {name:14} {milliseconds:7.0f} ms (median of {OPENINGS})")
        result = {"trials": trials, "bytes": size, "write_seconds": written, "milliseconds": times}
        print(json.dumps(result))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
