"""From stored tables to the rows that the figures draw.

Rows keep the names of the stored columns. They also have

| name | meaning |
|---|---|
| `run` | name of the run |
| `number` | the problem's number within the page |
| `pair` | context, target and competitor |
| `way` | method, optimizer and the settings in which the page's problems differ |
| `line` | `pair`, with model and run where there are several |
| `ratio` | η / η_c |
| `relative_final_gap` | g_T in units of its initial size |
| `place` | `UNDER` for the last failing trial under η_c, `OVER` for the first committed one over it, else `OTHER` |
| `near` | rank from 0 among the problem's trials: the bracket's two, then by distance to η_c (without η_c: by η) |
| `readout_sum`, `geometry_sum` | the two parts of Φ_T − Φ_0 (see `changes`) |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import PROBLEM_COLUMNS
from phantom_dist.reports.changes import changes
from phantom_dist.reports.labels import Labels, setting, varying
from phantom_dist.reports.run_tables import RunTables
from phantom_dist.reports.sample import sample, step_rows
from phantom_dist.reports.timeline_rows import bars, marks, restarts, unit_for
from phantom_dist.reports.training_rows import default_rows, training_rows

Row = dict[str, Any]

UNDER, OVER, OTHER = "just under η_c", "just over η_c", "other"

_WHICH = tuple(q.name for q in PROBLEM_COLUMNS if q.name not in ("architecture", "parameters", "weights"))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Everything that the page shows, as plain rows.

    Attributes:
        problems: one row per requested critical rate, whether it was located or not.
        trials: all trials that were trained; `ratio` is None where there is no η_c.
        steps: trace rows of the trials that `sample` chose.
        sampled: how many trials it chose.
        opening: number of the problem whose details the page shows first: the first with a silent failure just under
            η_c.
        others: trials without training (refused, failed).
        predictions: one row per critical rate that the law predicts, with measured over predicted (`found_ratio`), the
            interval in the same unit, and the law's groups.
        trainings, defaults: of trainings on a training set, and of tools' default rates (`training_rows`).
        several_models: whether the rows are of more than one model.
        several_runs: whether they are of more than one run.
        bars, marks, restarts: of the runs' timelines, in `time_unit` (`timeline_rows`).
        time_unit: symbol of the unit of time.
    """

    problems: list[Row]
    trials: list[Row]
    steps: list[Row]
    sampled: int
    opening: int | None
    others: list[Row]
    predictions: list[Row]
    trainings: list[Row]
    defaults: list[Row]
    several_models: bool
    several_runs: bool
    bars: list[Row]
    marks: list[Row]
    restarts: list[float]
    time_unit: str

    @staticmethod
    def of(runs: RunTables | Sequence[RunTables]) -> Rows:
        """Join the tables of the runs and label their rows."""
        runs = [runs] if isinstance(runs, RunTables) else runs
        critical = [rate.to_json() | {"run": run.name} for run in runs for rate in run.critical_rates]
        trials = [row | {"run": run.name} for run in runs for row in run.trials.to_pylist()]
        everything = [*critical, *trials]
        several_models, several_runs = len({row["model"] for row in everything}) > 1, len(runs) > 1
        labels = Labels(varying(everything), several_models, several_runs)
        problems = [
            labels.of(row) | {"number": number, "first_order_rate": _first_order(row["eta_c"], row["pi_c"])}
            for number, row in enumerate(critical)
        ]
        _join(problems, trials, labels)
        trained = [row for row in trials if Outcome(row["outcome"]).trained]
        _place(trained)
        for run in runs:
            changes(run.traces, {row["trial_id"]: row for row in trained if row["run"] == run.name})
        chosen = sample(trained)
        steps = [row for run in runs for row in step_rows(run, chosen)]
        drawn = {row["number"] for row in chosen}
        timelines = [(run.name, run.timeline) for run in runs if run.timeline is not None]
        unit = unit_for(line for _, line in timelines)
        return Rows(
            problems=[row | {"drawn": row["number"] in drawn} for row in problems],
            trials=trained,
            steps=steps,
            sampled=len(chosen),
            opening=_opening(problems, trained, drawn),
            others=[row for row in trials if not Outcome(row["outcome"]).trained],
            predictions=[
                _predicted(labels.of(made.to_row() | {"run": run.name, "law": run.law, "number": number}))
                for number, (run, made) in enumerate((run, p) for run in runs for p in run.predictions)
            ],
            trainings=training_rows(trained),
            defaults=default_rows(trained),
            several_models=several_models,
            several_runs=several_runs,
            bars=[
                bar for name, line in timelines for bar in bars(name, line, unit, several_runs=several_runs)
            ],
            marks=[
                mark
                for name, line in timelines
                for mark in marks(name, line, unit, several_runs=several_runs)
            ],
            restarts=[at for _, line in timelines for at in restarts(line, unit)],
            time_unit=unit.symbol,
        )

    @property
    def located(self) -> list[Row]:
        """The problems that have a critical rate."""
        return [row for row in self.problems if _finite(row.get("eta_c"))]


def _opening(problems: Sequence[Row], trials: Sequence[Row], drawn: set[int]) -> int | None:
    silent = {row["number"] for row in trials if row["place"] == UNDER and row.get("silent")}
    shown = [row["number"] for row in problems if row["number"] in drawn]
    return next((number for number in shown if number in silent), shown[0] if shown else None)


def plain(value: Any) -> Any:
    """The value for JSON: floats to six significant digits, None for NaN and Inf."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def columns(rows: Iterable[Row], *names: str) -> list[Row]:
    """The rows with these columns only, as JSON values."""
    return [{name: plain(row.get(name)) for name in names} for row in rows]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _join(problems: Sequence[Row], trials: list[Row], labels: Labels) -> None:
    """Add to every trial its problem's number and the ratio η / η_c; they match where all keys of the problem agree."""
    keys = tuple(k for k in _WHICH if k not in ("target", "competitor") and all(k in p for p in problems))
    by_key = {(p["run"], *(setting(p, k) for k in keys)): p for p in problems}
    for number, row in enumerate(trials):
        problem = by_key.get((row["run"], *(setting(row, k) for k in keys)))
        eta_c = problem.get("eta_c") if problem else None
        rate = row.get("learning_rate")
        ratio = rate / eta_c if _finite(rate) and eta_c is not None and _finite(eta_c) else None
        trials[number] = labels.of(row) | {
            "number": problem["number"] if problem else None,
            "ratio": ratio,
            "log_ratio": math.log(ratio) if ratio else None,
            "relative_final_gap": _over(row.get("gap_final"), abs(row.get("gap_0") or 0)),
            "place": OTHER,
            "near": None,
        }


def _place(trials: Iterable[Row]) -> None:
    """Mark the bracket's two trials of every problem, and rank the others by their distance to η_c.

    Trials of a problem without η_c are ranked by their learning rate, the smallest first.
    """
    grouped: dict[int, list[Row]] = {}
    unlocated: dict[int, list[Row]] = {}
    for row in trials:
        if row["number"] is not None:
            (grouped if row["ratio"] else unlocated).setdefault(row["number"], []).append(row)
    for rows in unlocated.values():
        for rank, row in enumerate(sorted(rows, key=lambda row: row["learning_rate"] or 0)):
            row["near"] = rank
    for rows in grouped.values():
        rows.sort(key=lambda row: abs(row["log_ratio"]))
        committed = Outcome.COMMITTED.value
        under = next((r for r in rows if r["ratio"] <= 1 and r["outcome"] != committed), None)
        over = next((r for r in rows if r["ratio"] >= 1 and r["outcome"] == committed), None)
        for end, place in ((under, UNDER), (over, OVER)):
            if end is not None:
                end["place"] = place
        rows.sort(key=lambda row: (UNDER, OVER, OTHER).index(row["place"]))
        for rank, row in enumerate(rows):
            row["near"] = rank


AROUND = 6
"""How many trials of a problem one figure draws over their steps: the bracket's two and the nearest others."""


def _predicted(row: Row) -> Row:
    """Add measured rate and interval over the predicted rate; `inside`: whether the interval contains the rate."""
    low, high = (_over(row[end], row["predicted"]) for end in ("low", "high"))
    ratio = row["eta_c"] / row["predicted"]
    inside = None if low is None or high is None else low <= ratio <= high
    return row | {
        "found_ratio": ratio,
        "residual": math.log(ratio),
        "low_ratio": low,
        "high_ratio": high,
        "inside": "no interval"
        if inside is None
        else "inside its interval"
        if inside
        else "outside its interval",
    }


def _first_order(eta_c: float | None, pi_c: float | None) -> float | None:
    """The rate that first order predicts; None where the gap falls at first, as a training set may have it."""
    return _over(eta_c, pi_c) if pi_c is not None and pi_c > 0 else None


def _over(value: float | None, scale: float | None) -> float | None:
    return value / scale if value is not None and scale else None
