"""Comparing several runs: matched problems, differing settings, and a clear statement where nothing matches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist import reports
from phantom_dist.reports import RunTables, read_run
from phantom_dist.reports.comparison import (
    agreements,
    changed_outcomes,
    compared,
    differences,
    outcomes_by_run,
    twins,
)
from phantom_dist.traces import schema

from .runs import sweep, table
from .test_page import Elements


@pytest.fixture(scope="module")
def momentum_run(tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    """The full fine-tuning of `stored_run` again, with momentum."""
    out = tmp_path_factory.mktemp("runs") / "momentum"
    asked = sweep(
        name="momentum",
        methods=[{"full": {"optimizers": [{"sgd": {"momentum": 0.9}}]}}],
        learning_rates={"critical": {"tolerance": 0.01}},
    )
    phantom_dist.run(asked, out, executor="inprocess")
    return read_run(out)


@pytest.fixture(scope="module")
def plain_run(stored_run: Path) -> RunTables:
    """`stored_run` without its LoRA part."""
    run = read_run(stored_run)
    return replace(
        run,
        trials=table([r for r in run.trials.to_pylist() if r["method"] == "full"], schema.TRIALS),
        critical_rates=[rate for rate in run.critical_rates if rate.method == "full"],
        predictions=[p for p in run.predictions if p.rate.method == "full"],
    )


def test_a_run_beside_itself_is_the_same(tiny_run: RunTables) -> None:
    rows = reports.Rows.of([tiny_run, replace(tiny_run, name="second")])
    assert differences(rows) == []
    assert agreements(compared(rows)) == {"within both brackets": 6}
    assert {row["change"] for row in compared(rows)} == {1.0}
    assert twins(rows) == tiny_run.trials.num_rows
    assert changed_outcomes(rows) == []


def test_momentum_is_named_and_problems_are_matched_across_it(
    plain_run: RunTables, momentum_run: RunTables
) -> None:
    rows = reports.Rows.of([plain_run, momentum_run])
    named = {difference.name: difference for difference in differences(rows)}
    # Where a round of a search has a single trial the reference engine takes it, in one run and not in the other.
    assert set(named) - {"engine"} == {"momentum"}
    assert named["momentum"].values == {"tiny": "0", "momentum": "0.9"}
    assert named["momentum"].matched
    pairs = compared(rows)
    assert len(pairs) == 3
    by_context = {rate.context: rate.eta_c for rate in plain_run.critical_rates}
    for row in pairs:
        assert row["change"] == row["eta_c"] / by_context[row["context"]]
        assert row["low_change"] <= row["change"] <= row["high_change"] < 1, "momentum takes fewer steps"
        assert row["agreement"] == "brackets apart"
    text = Elements(reports.render([plain_run, momentum_run])).text
    assert "3 problems of later runs have a counterpart in the first: 3 brackets apart" in text
    for row in pairs:
        assert f"−{reports.tables.percent(1 - row['change'])}" in text


def test_a_changed_outcome_is_listed_and_a_lost_rate_is_no_number(tiny_run: RunTables) -> None:
    trials = tiny_run.trials.to_pylist()
    trials[0] |= {"outcome": "relapsed"}
    was = tiny_run.trials.to_pylist()[0]["outcome"]
    first, *rest = tiny_run.critical_rates
    rates = [replace(first, crossing=None, reason="search_not_finished"), *rest]
    second = replace(
        tiny_run, name="second", trials=table(trials, schema.TRIALS), critical_rates=rates, predictions=[]
    )
    rows = reports.Rows.of([tiny_run, second])
    (changed,) = changed_outcomes(rows)
    assert (changed["reference_outcome"], changed["outcome"]) == (was, "relapsed")
    relapsed = sum(row["outcome"] == "relapsed" for row in tiny_run.trials.to_pylist())
    assert outcomes_by_run(rows)["relapsed"] == {"tiny": relapsed, "second": relapsed + 1}
    assert agreements(compared(rows)) == {"within both brackets": 5, "found in one run only": 1}
    text = Elements(reports.render([tiny_run, second])).text
    assert f"{was} in the first run, here relapsed" in text
    assert "none: search not finished" in text


def test_other_weights_under_the_same_name_are_seen(tiny_run: RunTables) -> None:
    trials = [row | {"weights": "f" * 64} for row in tiny_run.trials.to_pylist()]
    second = replace(tiny_run, name="second", trials=table(trials, schema.TRIALS))
    (difference,) = differences(reports.Rows.of([tiny_run, second]))
    assert difference.name == "weights"
    assert difference.values["second"] == "zoo:gpt2-a ffffffff"


def test_runs_without_a_common_problem_say_so(tiny_run: RunTables, refused_run: RunTables) -> None:
    other = [replace(rate, context="elsewhere") for rate in refused_run.critical_rates]
    trials = [row | {"context": "elsewhere"} for row in refused_run.trials.to_pylist()]
    moved = replace(refused_run, critical_rates=other, trials=table(trials, schema.TRIALS))
    page = reports.render([tiny_run, moved])
    assert "No problem of a later run has a counterpart in the first." in Elements(page).text


def test_one_run_has_no_comparison(tiny_run: RunTables) -> None:
    assert "The runs compared" not in reports.render([tiny_run])
