"""The page's structure, its words, and what untrusted or odd input does to it."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import vl_convert

from phantom_dist import reports
from phantom_dist.core.errors import InputError
from phantom_dist.law.file import read_law
from phantom_dist.refinement.critical_rate import CriticalRate
from phantom_dist.reports import RunTables, read_run
from phantom_dist.reports import page as page_module
from phantom_dist.reports.figures.figure import Section
from phantom_dist.reports.figures.phase_map import PHASE_MAP
from phantom_dist.reports.sample import MOST_STEPS
from phantom_dist.reports.verdict import Frozen, Jumps, frozen, verdict
from phantom_dist.traces import schema

from .large import write_large_run
from .packed import data_of, rows_of
from .runs import TRACES, table

FIGURES = {
    "silent-failure",
    "player",
    "every-failure",
    "phase-map",
    "jumps",
    "shares-in-sum",
    "shares-by-step",
    "first-order",
    "collapse",
    "predicted",
    "residuals",
    "timeline",
}


class Elements(HTMLParser):
    """Every start tag with its attributes, and the page's text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def figures(self) -> set[str | None]:
        return {attributes["data-figure"] for _, attributes in self.tags if "data-figure" in attributes}


@pytest.fixture(scope="module")
def page(tiny_run: RunTables) -> str:
    return reports.render([tiny_run])


def test_every_section_and_figure_is_there(page: str) -> None:
    elements = Elements(page)
    assert elements.figures() == FIGURES == set(data_of(page)["figures"])
    for heading in ("Critical learning rates", "The silent failure", "Phase map", "How it was measured"):
        assert heading in elements.text
    assert "arXiv 2606.07559" in elements.text
    assert "this project’s reconstruction" in elements.text
    assert "near-synonym mechanism only" in elements.text


def test_every_figure_has_a_caption_a_name_and_its_numbers_in_words(page: str, tiny_run: RunTables) -> None:
    elements = Elements(page)
    assert sum(tag == "figure" for tag, _ in elements.tags) == len(FIGURES)
    assert sum(tag == "figcaption" for tag, _ in elements.tags) == len(FIGURES)
    ids = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
    for _, attributes in elements.tags:
        if "data-figure" in attributes:
            assert attributes["role"] == "img"
            assert {attributes["aria-labelledby"], attributes["aria-describedby"]} <= ids
    rows = reports.Rows.of([tiny_run])
    values = sorted(row["pi_c"] for row in rows.located)
    low, high = (reports.tables.number(value, 3) for value in (values[0], values[-1]))
    assert f"Π_c: {low} to {high}" in elements.text


def test_a_figure_needs_nothing_but_its_declaration_to_stand_in_a_section(
    tiny_run: RunTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures that neither the template nor the page names, one added to each section."""
    added = [replace(PHASE_MAP, name=f"new-{section}", section=section) for section in Section]
    monkeypatch.setattr(page_module, "FIGURES", (*reports.figures.FIGURES, *added))
    page = reports.render([tiny_run, replace(tiny_run, name="second")])
    new = {figure.name for figure in added}
    assert Elements(page).figures() == FIGURES | {"rates-compared", "side-by-side"} | new
    for section in re.findall(r"<section.*?</section>", page, re.DOTALL):
        assert len(re.findall('data-figure="new-', section)) == 1


def test_every_drawing_of_the_page_can_be_imported_by_its_name() -> None:
    assert {*reports.figures.__all__} == {"FIGURES", "DRAWINGS", *reports.figures.DRAWINGS}
    names = [figure.name for figure in reports.figures.FIGURES]
    assert len(set(names)) == len(names)


def test_headings_go_down_one_level_at_a_time_and_tables_have_captions_and_scopes(page: str) -> None:
    elements = Elements(page)
    levels = [int(tag[1]) for tag, _ in elements.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tags = [tag for tag, _ in elements.tags]
    assert tags.count("table") == tags.count("caption") > 0
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in elements.tags if tag == "th")
    assert {"header", "main", "footer", "section"} <= set(tags)
    assert dict(elements.tags)["html"] == {"lang": "en"}


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    loading = {"src", "srcset", "data", "poster", "action", "background"}
    for tag, attributes in Elements(page).tags:
        assert not loading & attributes.keys(), f"<{tag}> loads {attributes}"
        assert (attributes.get("href") or "#").startswith("#"), f"<{tag}> leads to {attributes}"
        assert tag not in ("link", "iframe", "object", "embed")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "default-src 'none'" in page


def test_the_table_holds_every_critical_rate(page: str, tiny_run: RunTables) -> None:
    text = Elements(page).text
    for record in tiny_run.critical_rates:
        low, high = record.bracket
        for value in (record.eta_c, record.pi_c, record.gap_0):
            assert reports.tables.number(value) in text
        assert reports.tables.percent(high / low - 1) in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.55812e-5, "1.558e−5"),
        (-0.97581, "−0.9758"),
        (1.0, "1.000"),
        (0.00646, "6.460e−3"),
        (8015.2, "8015"),
        (123456.0, "1.235e+5"),
        (0.0, "0.000"),
        (None, "–"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, text: str) -> None:
    assert reports.tables.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.00954, "0.95 %"), (0.28, "28 %"), (1.53, "150 %"), (0.0, "0 %")]
)
def test_fractions_are_percent_with_two_digits(value: float, text: str) -> None:
    assert reports.tables.percent(value) == text


def test_lora_counts_are_measured_not_assumed(page: str, tiny_run: RunTables) -> None:
    assert re.search(r"in (\d+) of \1 LoRA trials, and the geometry part is exactly 0", Elements(page).text)
    traces = tiny_run.traces.to_pylist()
    spoiled = next(row for row in traces if row["readout_hash"] and row["step"] == 3)
    spoiled["readout_hash"], spoiled["geometry_change"] = "0" * 32, 1e-9
    run = replace(tiny_run, traces=table(traces, TRACES))
    before = frozen(reports.Rows.of([tiny_run]))
    after = frozen(reports.Rows.of([run]))
    assert before.identical == before.trials == after.trials
    assert (after.identical, after.exact) == (before.identical - 1, before.exact - 1)


def test_first_order_errors_are_those_of_pi_c(tiny_run: RunTables) -> None:
    spreads = reports.tables.first_order(reports.Rows.of([tiny_run]))
    assert set(spreads) == {"full sgd", "lora adamw"}
    errors = sorted(abs(r.pi_c - 1) for r in tiny_run.critical_rates if r.method == "full")
    assert spreads["full sgd"].median == reports.tables.percent(errors[1])
    assert spreads["full sgd"].largest == reports.tables.percent(errors[2])


def test_the_law_section_holds_each_prediction_and_counts_its_intervals(
    page: str, tiny_run: RunTables
) -> None:
    """The zoo's contexts with rank 4 are in the calibration: the page shows the law fitted without the model."""
    said = list(tiny_run.predictions)
    assert len(said) == 6
    assert {p.source for p in said} == {"architecture left out"}
    shipped = {row.problem: row.held_out for row in read_law().rows}
    for p in said:
        assert p.predicted == shipped[p.rate.problem].eta_c
        assert p.interval == shipped[p.rate.problem].interval
    inside = sum(p.interval[0] <= p.rate.eta_c <= p.interval[1] for p in said if p.rate.method == "full")
    assert f"{inside} of 3 intervals" in Elements(page).text


def test_jumps_are_judged_in_one_sentence() -> None:
    def found(*shares: float) -> Jumps:
        return Jumps(
            count=len(shares),
            trials=9,
            lowest=min(shares),
            median=shares[0],
            highest=max(shares),
            mostly_readout=sum(s > 0.5 for s in shares),
        )

    none = Jumps(count=0, trials=9, lowest=math.nan, median=math.nan, highest=math.nan, mostly_readout=0)
    same, changed = (Frozen(trials=9, identical=n, steps=72, exact=72) for n in (9, 8))
    assert verdict({"full": found(0.9, 1.1), "lora": found(1.0)}, same).startswith("The jumps are phantoms")
    assert verdict({"full": found(0.9, 0.2), "lora": found(1.0)}, same).startswith(
        "Not all jumps are phantoms"
    )
    assert "look like phantoms" in verdict(
        {"full": found(0.9)}, Frozen(trials=0, identical=0, steps=0, exact=0)
    )
    assert "look like phantoms" in verdict({"full": found(0.9), "lora": found(1.0)}, changed)
    assert "No jump under full" in verdict({"full": none, "lora": found(1.0)}, same)
    assert "nothing to judge" in verdict({"full": none, "lora": none}, same)
    # What doesn't hold in every LoRA trial is counted, but nothing is concluded from it.
    assert "need no moving readout" in verdict({"full": none, "lora": found(1.0)}, same)
    assert "need no moving readout" not in verdict({"full": none, "lora": found(1.0)}, changed)
    some = verdict({"full": found(0.9), "lora": found(1.0)}, changed)
    assert f"bit-identical in {changed.identical} of {changed.trials}" in some


def test_the_verdict_stands_on_the_page(page: str, tiny_run: RunTables) -> None:
    jumped = [r for r in tiny_run.trials.to_pylist() if r["jump_step"] is not None and r["method"] == "full"]
    mostly = sum(r["jump_readout_share"] > 0.5 for r in jumped)
    assert f"{mostly} of {len(jumped)} jumps under full fine-tuning" in Elements(page).text


def test_the_collapse_draws_final_gaps_in_units_of_the_first(tiny_run: RunTables) -> None:
    rows = reports.Rows.of([tiny_run])
    drawn = [r for r in rows.trials if r["gap_final"] is not None]
    assert drawn
    for row in drawn:
        assert row["relative_final_gap"] == pytest.approx(row["gap_final"] / abs(row["gap_0"]))
        # On the smallest committed and the largest failing side of η_c the sign is that of the final gap.
        if row["place"] == "just under η_c":
            assert row["relative_final_gap"] <= 0
        if row["place"] == "just over η_c":
            assert row["relative_final_gap"] > 0


def test_a_gap_that_falls_at_first_has_no_first_order_prediction(tiny_run: RunTables) -> None:
    """κ < 0 and yet learnt, as a training set may have it: Π_c is negative, and no logarithm is taken of it."""

    def falling(rate: CriticalRate) -> CriticalRate:
        if rate.crossing is None or rate.kappa is None:
            return rate
        return replace(rate, kappa=-rate.kappa, crossing=replace(rate.crossing, pi_c=-rate.crossing.pi_c))

    first, *others = tiny_run.critical_rates
    for rates in ([falling(first), *others], [falling(rate) for rate in tiny_run.critical_rates]):
        run = replace(tiny_run, critical_rates=rates)
        page = reports.render([run])
        drawn = Elements(page).figures()
        assert ("first-order" in drawn) == any(r.pi_c is not None and r.pi_c > 0 for r in rates)
        located = [row for row in reports.Rows.of([run]).problems if row["eta_c"] is not None]
        assert all((row["first_order_rate"] is None) == (row["pi_c"] < 0) for row in located)


def test_places_are_the_bracket(tiny_run: RunTables) -> None:
    rows = reports.Rows.of([tiny_run])
    for record in rows.problems:
        places = {r["place"]: r["learning_rate"] for r in rows.trials if r["number"] == record["number"]}
        assert [places["just under η_c"], places["just over η_c"]] == record["bracket"]


def test_axis_titles_are_the_columns_words(page: str) -> None:
    specs = json.dumps(data_of(page)["figures"], ensure_ascii=False)
    for title in ("loss L (nat)", "logit gap g (logit)", "signal σ", "drag δ", "step s"):
        assert f'"{title}"' in specs


HOSTILE = "</script><img src=x onerror=\"document.documentElement.dataset.pwned='1'\"><!-- {{ 7*7 }} ${1} ]]>"


def hostile(run: RunTables) -> RunTables:
    """The run with markup wherever user text can appear."""

    spoilt = {"target": HOSTILE, "competitor": f" {HOSTILE}", "model": HOSTILE}

    def hostile_rate(rate: CriticalRate) -> CriticalRate:
        return replace(rate, **spoilt)

    return replace(
        run,
        name=HOSTILE,
        trials=table([row | spoilt for row in run.trials.to_pylist()], schema.TRIALS),
        critical_rates=[
            *map(hostile_rate, run.critical_rates),
            replace(hostile_rate(run.critical_rates[0]), context="none", crossing=None, reason=HOSTILE),
        ],
        titles={HOSTILE: HOSTILE},
        prompts={"prompt-0": HOSTILE},
    )


def test_user_text_stays_text(tiny_run: RunTables) -> None:
    page = reports.render([hostile(tiny_run)])
    elements = Elements(page)
    assert not any(tag == "img" for tag, _ in elements.tags)
    assert elements.figures() == FIGURES
    assert html.escape(HOSTILE, quote=False)[:30] in page
    assert HOSTILE.strip() in {row["run"] for row in rows_of(data_of(page), "trials")}


def test_non_finite_values_become_null(tiny_run: RunTables) -> None:
    traces = tiny_run.traces.to_pylist()
    for row in traces:
        if row["step"] >= 5:
            row |= {"loss": float("nan"), "logit_gap": float("-inf"), "readout_change": float("nan")}
    trials = [
        row | {"loss_final": float("inf"), "jump_size": float("nan")} for row in tiny_run.trials.to_pylist()
    ]
    run = replace(tiny_run, traces=table(traces, TRACES), trials=table(trials, schema.TRIALS))
    steps = rows_of(data_of(reports.render([run])), "steps")
    assert steps
    assert all((row["loss"] is None) == (row["step"] >= 5) for row in steps)


def test_a_run_in_which_all_was_refused_has_a_page(refused_run: RunTables) -> None:
    page = reports.render([refused_run])
    text = Elements(page).text
    assert "no η c : refused committed" in text
    assert "2 refused committed; 2 in all" in text
    assert Elements(page).figures() == {"timeline"}


def test_a_run_without_anything_has_a_page() -> None:
    empty = RunTables(
        name="empty",
        trials=table([], schema.TRIALS),
        traces=table([], TRACES),
        critical_rates=[],
    )
    text = Elements(reports.render([empty])).text
    assert "no trial is stored" in text
    assert "No critical rate was requested" in text


def test_a_grid_without_critical_rates_shows_its_phase_map_over_the_rate(tiny_run: RunTables) -> None:
    page = reports.render([replace(tiny_run, critical_rates=[], predictions=[])])
    assert Elements(page).figures() == {"phase-map", "jumps", "timeline"}
    assert '"learning rate η"' in json.dumps(data_of(page)["figures"]["phase-map"], ensure_ascii=False)


def test_a_grid_that_crosses_nothing_still_shows_its_trials_step_by_step(tiny_run: RunTables) -> None:
    lost = "no_crossing_among_the_learning_rates"
    rates = [replace(rate, crossing=None, reason=lost) for rate in tiny_run.critical_rates]
    page = reports.render([replace(tiny_run, critical_rates=rates, predictions=[])])
    assert Elements(page).figures() == {"silent-failure", "player", "phase-map", "jumps", "timeline"}
    assert "of 0 critical rates" not in Elements(page).text
    first = [
        row for row in reports.Rows.of(replace(tiny_run, critical_rates=rates)).trials if row["number"] == 0
    ]
    first.sort(key=lambda row: row["learning_rate"])
    assert [row["near"] for row in first] == list(range(len(first)))


def test_several_runs_are_told_apart(tiny_run: RunTables) -> None:
    page = reports.render([tiny_run, replace(tiny_run, name="second")])
    rows = rows_of(data_of(page), "problems")
    assert {row["run"] for row in rows} == {"tiny", "second"}
    assert len({row["line"] for row in rows}) == 2 * len({row["pair"] for row in rows})
    assert '<th scope="col">run</th>' in page


def test_settings_are_named_only_where_problems_differ(tiny_run: RunTables) -> None:
    assert {row["way"] for row in reports.Rows.of([tiny_run]).problems} == {"full sgd", "lora adamw"}
    longer = [replace(rate, steps=32) for rate in tiny_run.critical_rates]
    both = replace(tiny_run, critical_rates=[*tiny_run.critical_rates, *longer])
    ways = {row["way"] for row in reports.Rows.of([both]).problems}
    assert ways == {"full sgd, steps 8", "full sgd, steps 32", "lora adamw, steps 8", "lora adamw, steps 32"}


def test_write_replaces_the_file_whole(tmp_path: Path, tiny_run: RunTables) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    reports.write([tiny_run], file)
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert file.stat().st_size < 2_000_000


def test_pages_of_the_same_run_are_the_same(tiny_run: RunTables, page: str) -> None:
    assert reports.render([tiny_run]) == page


def test_one_figure_is_exported(tmp_path: Path, tiny_run: RunTables) -> None:
    file = tmp_path / "figure.png"
    reports.export_figure(reports.figures.silent_failure, reports.Rows.of([tiny_run]), file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert file.stat().st_size > 20_000


def test_what_cannot_be_exported_is_a_clear_message(tmp_path: Path, tiny_run: RunTables) -> None:
    rows = reports.Rows.of([tiny_run])
    with pytest.raises(InputError, match=r"figure\.gif: unknown suffix; allowed: \.png, \.svg"):
        reports.export_figure(reports.figures.phase_map, rows, tmp_path / "figure.gif")
    nothing = reports.Rows.of([replace(tiny_run, critical_rates=[])])
    with pytest.raises(InputError, match="the runs have no data for the figure first_order"):
        reports.export_figure(reports.figures.first_order, nothing, tmp_path / "figure.png")


def test_tables_with_more_columns_are_welcome(tiny_run: RunTables) -> None:
    more = tiny_run.trials.append_column("later", pa.nulls(tiny_run.trials.num_rows))
    reports.render([replace(tiny_run, trials=more)])


@pytest.mark.slow
def test_ten_thousand_trials_make_a_page_under_five_megabytes(tmp_path: Path) -> None:
    write_large_run(tmp_path / "run", 10_000)
    run = read_run(tmp_path / "run")
    page = reports.render([run])
    assert len(page.encode()) < 5_000_000
    data = data_of(page)
    trials, steps = rows_of(data, "trials"), rows_of(data, "steps")
    assert len(trials) == 10_000
    held = {row["trial"] for row in steps}
    assert 0 < len(steps) <= MOST_STEPS
    assert all(sum(row["trial"] == i for row in steps) == trials[i]["steps"] + 1 for i in sorted(held)[:20])
    assert f"The page contains the steps of {len(held)} of 10000 trained trials" in Elements(page).text
    assert {"many", "few"} <= data["figures"]["phase-map"].keys()


def test_a_figure_called_from_outside_holds_its_own_data(tiny_run: RunTables) -> None:
    number = tiny_run.critical_rates[4]
    chart = reports.figures.silent_failure(tiny_run, number=4).to_dict()
    assert set(chart["datasets"]) >= {"detail"}
    assert {row["number"] for row in chart["datasets"]["detail"]} == {4}
    assert {row["pair"].split(":")[0] for row in chart["datasets"]["detail"]} == {number.context}
    trial = reports.Rows.of(tiny_run).steps[-1]["trial_id"]
    played = reports.figures.player(tiny_run, trial_id=trial).to_dict()["datasets"]["played"]
    assert {row["trial_id"] for row in played} == {trial}
    of_sets = {"word_map", "words_learnt"}  # drawn in tests/campaign/test_training_sets.py
    for name, drawing in reports.figures.DRAWINGS.items():
        chart = drawing([tiny_run, replace(tiny_run, name="second")])
        if name in of_sets:
            assert chart is None, name
            continue
        assert vl_convert.vegalite_to_svg(chart.to_dict()).startswith("<svg"), name


def test_binned_residuals_are_those_of_their_own_group(tiny_run: RunTables) -> None:
    """Vega-Lite bins for all panels at once: with a shared field name all panels would show the last group."""
    svg = vl_convert.vegalite_to_svg(reports.figures.residuals_many(tiny_run).to_dict())
    points = re.findall(
        r'aria-label="(\w+): ([-−.\d]+)[^"]*" role="graphics-symbol" aria-roledescription="point"', svg
    )
    groups: dict[str, set[str]] = {}
    for group, value in points:
        groups.setdefault(group, set()).add(value)
    assert {"gap", "bend", "overlap", "odds"} <= groups.keys()
    assert len({frozenset(values) for values in groups.values()}) == len(groups)
    low, high = (f(abs(p.groups["gap"]) for p in tiny_run.predictions) for f in (min, max))
    assert all(low - 0.5 <= float(value) <= high + 0.5 for value in groups["gap"])
