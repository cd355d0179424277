"""The page in headless Chromium: figures draw, picks filter, the player plays, all by keyboard and without an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from phantom_dist import reports
from phantom_dist.reports import RunTables

from .browser import CHROMIUM, Opened, chromium
from .test_page import FIGURES, hostile

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium here (Debian: apt-get install chromium); the page is not opened in a browser",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_run: RunTables) -> Path:
    written = tmp_path_factory.mktemp("page") / "report.html"
    reports.write([tiny_run], written)
    return written


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Opened]:
    opened = Opened(browser, file)
    yield opened
    assert opened.said == []
    assert opened.asked == [file.as_uri()], "the page asked for something else than itself"
    opened.tab.close()


def assert_all_drawn(page: Opened, expected: set[str]) -> None:
    assert page.tab.get_attribute("html", "data-errors") is None
    plots = page.tab.locator("[data-figure]")
    assert {plot.get_attribute("data-figure") for plot in plots.all()} == expected
    for name in expected:
        assert page.tab.get_attribute(f'[data-figure="{name}"]', "data-drawn") == "true", name
        assert page.marks(name) > 0, f"{name} has no marks"
        assert "NaN" not in page.tab.inner_html(f'[data-figure="{name}"]'), f"{name} draws NaN"


def test_every_figure_draws(page: Opened, tiny_run: RunTables) -> None:
    assert_all_drawn(page, FIGURES)
    assert page.marks("phase-map") >= tiny_run.trials.num_rows
    assert page.tab.locator("#pick-problem option").count() == len(tiny_run.critical_rates)


def test_hostile_text_draws_and_runs_nothing(browser: Browser, tmp_path: Path, tiny_run: RunTables) -> None:
    reports.write([hostile(tiny_run)], tmp_path / "page.html")
    page = Opened(browser, tmp_path / "page.html")
    assert_all_drawn(page, FIGURES)
    assert page.tab.get_attribute("html", "data-pwned") is None
    assert page.said == []


def test_several_runs_draw_side_by_side(browser: Browser, tmp_path: Path, tiny_run: RunTables) -> None:
    reports.write([tiny_run, replace(tiny_run, name="second")], tmp_path / "page.html")
    page = Opened(browser, tmp_path / "page.html")
    assert_all_drawn(page, FIGURES | {"rates-compared", "side-by-side"})
    marks = page.marks("phase-map")
    page.pick("#pick-run", "second")
    assert page.marks("phase-map") < marks
    assert page.marks("rates-compared") > 0
    assert page.said == []


@pytest.mark.parametrize(
    "broken", [{"mark": "nonsense"}, {"mark": "point", "encoding": {}, "data": {"values": []}}]
)
def test_a_figure_that_does_not_draw_is_seen(
    browser: Browser,
    tmp_path: Path,
    tiny_run: RunTables,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Any],
) -> None:
    """The checks above fail for an impossible figure and for an empty one."""
    monkeypatch.setattr(reports.page, "specification", lambda chart: broken)
    reports.write([tiny_run], tmp_path / "page.html")
    with pytest.raises(AssertionError, match=r"data-errors|has no marks|is None"):
        assert_all_drawn(Opened(browser, tmp_path / "page.html"), FIGURES)


def test_picking_filters_every_figure_the_table_and_the_details(page: Opened, tiny_run: RunTables) -> None:
    over_all = (
        "every-failure",
        "phase-map",
        "shares-in-sum",
        "first-order",
        "collapse",
        "predicted",
        "residuals",
    )
    before = {name: page.marks(name) for name in over_all}
    page.pick("#pick-way", "lora adamw")
    assert all(0 < page.marks(name) < before[name] for name in over_all)
    lora = [row for row in tiny_run.trials.to_pylist() if row["method"] == "lora"]
    assert page.tab.inner_text("#picked") == f"{len(lora)} of {tiny_run.trials.num_rows} trials"
    assert page.tab.locator("tr[data-problem]:visible").count() == 3
    assert page.tab.locator("#pick-problem option").all_inner_texts() == [
        text for text in page.tab.locator("#pick-problem option").all_inner_texts() if "lora" in text
    ]
    words = page.tab.inner_text("#silent-failure-words")
    assert words.startswith("In words: For ")
    assert "lora adamw" in words
    assert "not only of what is picked" in page.tab.inner_text("#phase-map-words")
    page.tab.evaluate("delete document.documentElement.dataset.ready")
    page.tab.click("#pick-all")
    page.settled()
    assert {name: page.marks(name) for name in over_all} == before


def test_which_words_ended_in_an_outcome_is_answered_by_picking_it(page: Opened, tiny_run: RunTables) -> None:
    trials = tiny_run.trials.to_pylist()
    outcomes = sorted({row["outcome"] for row in trials})
    assert len(outcomes) > 1
    offered = page.tab.locator("#pick-outcome option").all_inner_texts()
    assert (offered[0], sorted(offered[1:])) == ("all", outcomes)
    page.tab.click("#picked-words-count")
    for outcome in outcomes:
        page.pick("#pick-outcome", outcome)
        some = [row for row in trials if row["outcome"] == outcome]
        words = {row["context"] for row in some}
        assert page.tab.inner_text("#picked") == f"{len(some)} of {len(trials)} trials"
        assert page.tab.inner_text("#picked-words-count") == f"The words of this choice: {len(words)}"
        shown = page.tab.locator("#picked-words li").all_inner_texts()
        assert {text.split(":")[0].split()[0] for text in shown} == words
        counts = [int(text.split("(")[1].split()[0]) if "(" in text else 1 for text in shown]
        assert sum(counts) == len(some)
        assert counts == sorted(counts, reverse=True)
        assert page.tab.locator("tr[data-problem]:visible").count() == len(tiny_run.critical_rates), (
            "no filter"
        )


def test_a_page_of_many_models_lists_them_all(browser: Browser, tmp_path: Path, tiny_run: RunTables) -> None:
    rates = [replace(tiny_run.critical_rates[0], model=f"m{n}") for n in range(8)]
    reports.write(
        [replace(tiny_run, critical_rates=[*tiny_run.critical_rates, *rates])], tmp_path / "page.html"
    )
    page = Opened(browser, tmp_path / "page.html")
    shown = page.tab.locator("header dl li")
    assert shown.count() == 9
    assert all(item.is_visible() for item in shown.all())


def test_the_player_steps_and_scrubs_by_keyboard(page: Opened) -> None:
    page.tab.focus("#player-step")
    assert page.tab.inner_text("#player-now").startswith("Step 0 of 8: target ")
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("ArrowRight")
    said = page.tab.inner_text("#player-now")
    assert said.startswith("Step 2 of 8: ")
    assert page.tab.get_attribute("#player-step", "aria-valuetext") == said
    page.tab.keyboard.press("End")
    last = page.tab.inner_text("#player-now")
    assert last.startswith("Step 8 of 8: ")
    assert last.endswith("the competitor leads."), "it opens at the last failure under η_c"
    page.tab.focus('[data-move="back"]')
    page.tab.keyboard.press("Enter")
    assert page.tab.inner_text("#player-now").startswith("Step 7 of 8: ")


def test_the_shown_sentence_is_what_was_measured(page: Opened, tiny_run: RunTables) -> None:
    rows = reports.Rows.of([tiny_run])
    under = [row for row in rows.steps if row["number"] == rows.opening and row["place"] == "just under η_c"]
    page.tab.focus("#player-step")
    page.tab.keyboard.press("End")
    numbers = re.findall(r"[−\d][\d.e−-]*", page.tab.inner_text("#player-now"))[2:]
    shown = [float(number.rstrip(".").replace("−", "-")) for number in numbers]
    names = ("p_target", "p_competitor", "rest", "order_parameter", "signal", "drag", "logit_gap")
    assert shown == pytest.approx([under[-1][name] for name in names], rel=6e-3)


def test_playing_moves_the_drawing_and_stops_at_the_end(page: Opened) -> None:
    def point() -> Any:
        return page.tab.locator('[data-figure="player"] .mark-symbol.role-mark path').last.get_attribute(
            "transform"
        )

    start = point()
    page.tab.focus("#player-play")
    page.tab.keyboard.press("Space")
    assert page.tab.inner_text("#player-play") == "Pause"
    assert page.tab.get_attribute("#player-now", "aria-live") == "off"
    page.tab.wait_for_selector("#player-play:text('Play')", timeout=30_000)
    assert page.tab.inner_text("#player-now").startswith("Step 8 of 8: ")
    assert page.tab.get_attribute("#player-now", "aria-live") == "polite"
    assert point() != start


def test_another_trial_is_played_from_its_start(page: Opened) -> None:
    committed = next(
        text for text in page.tab.locator("#player-trial option").all_inner_texts() if "committed" in text
    )
    page.pick("#player-trial", committed)
    assert page.tab.inner_text("#player-now").startswith("Step 0 of ")
    page.tab.focus("#player-step")
    page.tab.keyboard.press("End")
    assert page.tab.inner_text("#player-now").endswith("the target leads.")


def test_who_wants_less_motion_gets_no_play_button(browser: Browser, file: Path) -> None:
    page = Opened(browser, file, reduced_motion="reduce")
    assert page.tab.is_hidden("#player-play")
    assert page.tab.is_visible(".less-motion")
    page.tab.focus("#player-step")
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.inner_text("#player-now").startswith("Step 1 of 8: ")


def test_zooming_by_keyboard_moves_the_marks_and_reset_brings_them_back(page: Opened) -> None:
    def marks() -> list[str | None]:
        found = page.tab.locator('[data-figure="phase-map"] .mark-symbol.role-mark path').all()
        return [mark.get_attribute("transform") for mark in found]

    def press(key: str, what: str, wanted: Callable[[list[str | None]], bool]) -> list[str | None]:
        page.tab.focus(f'figure:has([data-figure="phase-map"]) [data-do="{what}"]')
        page.tab.keyboard.press(key)
        for _ in range(100):
            if wanted(marks()):
                break
            page.tab.wait_for_timeout(50)
        assert wanted(marks())
        return marks()

    whole = marks()
    near = press("Enter", "zoom-in", lambda shown: shown != whole)
    press("ArrowRight", "zoom-in", lambda shown: shown != near)
    press("Enter", "reset", lambda shown: shown == whole)


def test_the_tab_key_reaches_every_control(page: Opened) -> None:
    wanted = page.tab.evaluate(
        "[...document.querySelectorAll('a[href], button, select, input, summary, [tabindex=\"0\"]')]"
        ".filter(e => !e.disabled && e.checkVisibility()).length"
    )
    reached = []
    page.tab.evaluate("document.activeElement.blur()")
    for _ in range(wanted + 40):
        page.tab.keyboard.press("Tab")
        if (name := page.focused()) in ("BODY", *reached[:1]) and len(reached) > 1:
            break
        reached.append(name)
    for name in ("theme", "pick-model", "pick-pair", "pick-way", "pick-all", "pick-problem", "player-trial",
                 "player-play", "player-step"):  # fmt: skip
        assert name in reached
    assert len(reached) >= wanted
    assert reached.index("pick-model") < reached.index("pick-problem") < reached.index("player-step")


def test_the_toggle_changes_the_theme_of_page_and_figures(page: Opened) -> None:
    def colours() -> tuple[str, ...]:
        mark = page.tab.locator('[data-figure="phase-map"] .mark-symbol.role-mark path').first
        return (
            page.tab.evaluate("getComputedStyle(document.body).backgroundColor"),
            mark.evaluate("e => getComputedStyle(e).fill"),
            page.tab.locator('[data-figure="phase-map"] .role-axis-label text').first.evaluate(
                "e => getComputedStyle(e).fill"
            ),
        )

    light = colours()
    assert page.tab.inner_text("#theme") == "Dark theme"
    page.tab.focus("#theme")
    page.tab.keyboard.press("Enter")
    dark = colours()
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert page.tab.inner_text("#theme") == "Light theme"
    page.tab.keyboard.press("Enter")
    assert colours() == light


def test_the_system_theme_is_the_default(browser: Browser, file: Path) -> None:
    page = Opened(browser, file, color_scheme="dark")
    assert page.tab.inner_text("#theme") == "Light theme"
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_a_screen_reader_finds_names_for_everything(page: Opened) -> None:
    tree = page.tab.locator("body").aria_snapshot()
    for line in tree.splitlines():
        role = line.strip().removeprefix("- ").split(" ")[0].rstrip(":")
        if role in ("button", "combobox", "slider", "img", "region", "form", "table", "heading"):
            assert re.search(r'"[^"]+"', line) or "'" in line, f"no name: {line}"
    for role, count in (("img", len(FIGURES)), ("slider", 1), ("main", 1), ("banner", 1), ("contentinfo", 1)):
        assert len(re.findall(rf"^\s*- '?{role}\b", tree, re.MULTILINE)) == count, role
    session = page.tab.context.new_cdp_session(page.tab)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    images = [n for n in nodes if n.get("role", {}).get("value") in ("image", "img") and not n["ignored"]]
    assert len(images) == len(FIGURES)
    assert all(n["name"]["value"] and n["description"]["value"].startswith("In words: ") for n in images)


def test_print_holds_figures_and_words_and_no_controls(page: Opened, tmp_path: Path) -> None:
    page.tab.emulate_media(media="print", color_scheme="dark")
    for hidden in (".picks", ".tools", "#theme", "#player .controls"):
        assert page.tab.locator(hidden).first.is_hidden()
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = page.tab.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") >= 5
    assert page.tab.inner_text("#player-now").startswith("Step 8 of 8: "), "the whole path is printed"
    assert page.tab.locator("details:not([open])").count() == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, file: Path, width: int) -> None:
    page = Opened(browser, file, viewport={"width": width, "height": 800})
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
