"""The page's first paragraph: every number counted again by hand, and each disagreement with the paper named."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.outcome import Outcome
from phantom_dist.reports import render
from phantom_dist.reports.abstract import abstract, ended_as, jumped, onset
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.run_tables import RunTables

from .test_page import Elements

AGREES = "Nothing here contradicts the paper’s claims."


def trial(
    ratio: float | None, outcome: str, *, problem: int = 0, method: str = "full", **more: Any
) -> dict[str, Any]:
    return {
        "model": "m", "pair": f"c{problem}", "number": problem, "ratio": ratio, "outcome": outcome, "method": method,
        "silent": outcome == "kinematic", "jump_step": None, "jump_readout_share": None,
        "steps_measured": 8, "steps_exact": 8, "readout_frozen": True,
    } | more  # fmt: skip


def rows(*trials: dict[str, Any], predictions: tuple[dict[str, Any], ...] = ()) -> Rows:
    located = {row["number"] for row in trials if row["ratio"] is not None}
    problems = [{"eta_c": 1e-3 if n in located else None} for n in sorted({row["number"] for row in trials})]
    names = ("steps", "others", "trainings", "defaults", "bars", "marks", "restarts")
    empty: dict[str, Any] = {name: [] for name in names}
    return Rows(
        problems=problems, trials=list(trials), sampled=0, opening=None, predictions=list(predictions),
        several_models=False, several_runs=False, time_unit="s", **empty,
    )  # fmt: skip


def jump(share: float) -> dict[str, Any]:
    return {"jump_step": 3, "jump_readout_share": share}


CLAIMED = (
    trial(0.5, "kinematic"),
    trial(0.9, "structural", silent=True),
    trial(1.01, "committed"),
    trial(30.0, "committed", **jump(0.97)),
    trial(100.0, "relapsed", **jump(1.02)),
    trial(1000.0, "diverged"),
    trial(0.9, "kinematic", problem=1, method="lora"),
    trial(50.0, "committed", problem=1, method="lora", **jump(1.0)),
)


def test_a_run_that_shows_what_the_paper_claims() -> None:
    said = abstract(rows(*CLAIMED))
    for sentence in (
        "8 trials of 1 model on 2 contexts; 2 of 2 critical rates located.",
        "Below the critical rate fine-tuning fails silently in 3 of 3 trials",
        "Of 3 failures at any rate 2 are kinematic (the signal stays small) and 1 structural",
        "Of 4 trials within a factor of 2 of the critical rate none jumps",
        "jumps of the order parameter occur from 40 times the critical rate on (median; 30 to 50; in 2 of 2 problems)",
        "The jumps are phantoms of the readout: the readout made the larger part of 2 of 2 jumps",
        "The right word is overtaken again from 100 times the critical rate on (in 1 of 2 problems)",
        "Trainings diverge from 1000 times the critical rate on (in 1 of 2 problems)",
        AGREES,
    ):
        assert sentence in said
    assert abstract(rows()) == ""


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            [trial(0.5, "kinematic", silent=False)] * 4,
            "most failures below the critical rate are not silent (4 of 7",
        ),
        (
            [trial(20.0, "committed", **jump(0.3))],
            "1 of 3 jumps under full fine-tuning are made by the geometry",
        ),
        (
            [trial(50.0, "committed", method="lora", readout_frozen=False)],
            "the readout matrix changes in 1 of 3 LoRA trials",
        ),
    ],
)
def test_each_disagreement_is_named(more: list[dict[str, Any]], told: str) -> None:
    said = abstract(rows(*CLAIMED, *more))
    assert AGREES not in said
    assert f"Against the paper’s claims: {told}" in said


def test_jumps_that_do_not_persist_under_lora_and_a_failure_mode_that_never_occurs_are_named() -> None:
    full = [row for row in CLAIMED if row["method"] == "full"]
    said = abstract(rows(*full, trial(50.0, "committed", problem=1, method="lora")))
    assert "none of 1 LoRA trials jumps, where full fine-tuning does" in said
    many = [trial(0.5, "kinematic", problem=n) for n in range(10)]
    assert "one does not occur here (structural)" in abstract(rows(*many))
    assert AGREES in abstract(rows(*many[:9]))


def test_predictions_of_calibrated_architectures_do_not_count() -> None:
    made = tuple(
        {"found_ratio": ratio, "known": known}
        for ratio, known in ((1 / 1.01, "architecture left out"), (1 / 1.03, "not in the calibration"),
                             (1 / 1.05, "outside the law's domain"), (2.0, "in the calibration"))
    )  # fmt: skip
    said = abstract(rows(*CLAIMED, predictions=made))
    assert "predictions of 3 critical rates are off by 3 % in the median, 5 % at most" in said
    assert "predictions" not in abstract(rows(*CLAIMED, predictions=made[3:]))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.none() | st.floats(0.1, 1e4), st.sampled_from([*Outcome][:5]), st.booleans()
        ),
        max_size=30,
    )
)
def test_where_something_begins(drawn: list[tuple[int, float | None, Outcome, bool]]) -> None:
    trials = [
        trial(ratio, outcome, problem=n, jump_step=1 if jumps else None) for n, ratio, outcome, jumps in drawn
    ]
    for found, begins in (
        (onset(trials, jumped), lambda d: d[3]),
        (onset(trials, ended_as(Outcome.DIVERGED)), lambda d: d[2] is Outcome.DIVERGED),
    ):
        located = {n for n, ratio, *_ in drawn if ratio is not None}
        by_problem = {
            n: [d[1] for d in drawn if d[0] == n and d[1] is not None and d[1] > 1 and begins(d)]
            for n in located
        }
        assert sorted(found.ratios) == sorted(min(ratios) for ratios in by_problem.values() if ratios)
        assert found.problems == len(located)
        assert all(math.isfinite(ratio) for ratio in found.ratios)


def test_the_page_says_it(tiny_run: RunTables) -> None:
    said = abstract(Rows.of(tiny_run))
    assert said.startswith(f"{tiny_run.trials.num_rows} trials of 1 model")
    assert said in Elements(render([tiny_run])).text
