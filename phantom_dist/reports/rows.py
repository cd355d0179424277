"""From stored tables to the rows that the figures draw.

Every row keeps the columns' names. Added are

| name | meaning |
|---|---|
| `run` | name of the run |
| `number` | of the row's problem within the page |
| `pair` | context, target and competitor |
| `way` | method, optimizer and the settings in which the page's problems differ |
| `line` | `pair`, with model and run where there are several |
| `ratio` | η / η_c |
| `relative_final_gap` | g_T in units of its initial size |
| `place` | whether it is the last failing trial under η_c or the first committed one over it |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import PROBLEM_COLUMNS
from phantom_dist.reports.run_tables import RunTables

Row = dict[str, Any]

UNDER, OVER, OTHER = "just under η_c", "just over η_c", "other"

_SETTINGS = (
    "momentum",
    "weight_decay",
    "schedule",
    "warmup_steps",
    "lora_rank",
    "lora_alpha",
    "lora_targets",
    "steps",
    "seed",
    "precision",
)
_WHICH = tuple(q.name for q in PROBLEM_COLUMNS if q.name not in ("architecture", "parameters", "weights"))
_TRACE = (
    "trial_id",
    "step",
    "loss",
    "logit_gap",
    "order_parameter",
    "signal",
    "drag",
    "readout_change",
    "geometry_change",
    "readout_hash",
)
_CARRIED = (
    "model",
    "pair",
    "line",
    "way",
    "method",
    "number",
    "ratio",
    "place",
    "outcome",
    "learning_rate",
    "labelled",
)
_PLENTY = 120
"""From this many problems on only the bracket's two trials are drawn step by step, to keep the page small."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Everything that the page shows, as plain rows.

    `problems`: one row per critical rate asked for, found or not. `trials`: all trials that were trained;
    their `ratio` is None where there is no η_c. `predictions`: one row per critical rate that the law predicts, with
    measured over predicted (`found_ratio`), the interval in the same unit, and the law's groups. `steps`: the trace
    rows of the trials nearest to η_c. `changes`: of every trained trial and step, what moved Φ. `others`: trials
    without training (refused, failed).
    """

    problems: list[Row]
    trials: list[Row]
    steps: list[Row]
    changes: list[Row]
    others: list[Row]
    predictions: list[Row]
    several_models: bool
    several_runs: bool

    @staticmethod
    def of(runs: Sequence[RunTables]) -> Rows:
        """Join the tables of the runs and label them."""
        critical = [dict(record) | {"run": run.name} for run in runs for record in run.critical_rates]
        trials = [row | {"run": run.name} for run in runs for row in run.trials.to_pylist()]
        everything = [*critical, *trials]
        several_models, several_runs = len({row["model"] for row in everything}) > 1, len(runs) > 1
        naming = _Naming(_varying(everything), several_models, several_runs)
        problems = [
            naming.of(row) | {"number": number, "first_order_rate": _over(row["eta_c"], row["pi_c"])}
            for number, row in enumerate(critical)
        ]
        _join(problems, trials, naming)
        trained = [row for row in trials if Outcome(row["outcome"]).trained]
        _place(trained)
        others = [row for row in trials if not Outcome(row["outcome"]).trained]
        near = _nearest(trained, 6 if len(problems) < _PLENTY else 2)
        by_id = {(row["run"], row["trial_id"]): row for row in trained}
        traces = [row for run in runs for row in _traces(run)]
        traces = [row for row in traces if (row["run"], row["trial_id"]) in by_id]
        changes = [_change(row, by_id[row["run"], row["trial_id"]]) for row in traces]
        steps = [_step(row, near[key]) for row in traces if (key := (row["run"], row["trial_id"])) in near]
        drawn = {row["number"] for row in near.values()}
        problems = [row | {"drawn": row["number"] in drawn} for row in problems]
        return Rows(
            problems=problems,
            trials=trained,
            steps=steps,
            changes=changes,
            others=others,
            predictions=[
                _predicted(naming.of(dict(record) | {"run": run.name, "law": run.law}))
                for run in runs
                for record in run.predictions
            ],
            several_models=several_models,
            several_runs=several_runs,
        )

    @property
    def found(self) -> list[Row]:
        """The problems that have a critical rate."""
        return [row for row in self.problems if _finite(row.get("eta_c"))]


def plain(value: Any) -> Any:
    """A value that JSON can hold: six significant digits, null where it is not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def columns(rows: Iterable[Row], *names: str) -> list[Row]:
    """The rows with these columns only, ready for JSON."""
    return [{name: plain(row.get(name)) for name in names} for row in rows]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _setting(row: Mapping[str, Any], name: str) -> Any:
    """A setting in one form: a list as words with commas, an absent number as 0, a schedule by its name."""
    value = row.get(name)
    if isinstance(value, Mapping):
        value = value.get("name")
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return 0 if value is None and name in ("momentum", "weight_decay", "warmup_steps") else value


def _varying(rows: Sequence[Row]) -> list[str]:
    """The settings in which rows of the same method and optimizer differ.

    Adapters' targets have other names in other architectures, so these count only where one model has several.
    """

    def differs(name: str) -> bool:
        values: dict[tuple[Any, ...], set[Any]] = {}
        for row in rows:
            if name in row:
                way = (row["method"], row["optimizer"], row["model"] if name == "lora_targets" else None)
                values.setdefault(way, set()).add(_setting(row, name))
        return any(len(found) > 1 for found in values.values())

    return [name for name in _SETTINGS if differs(name)]


@dataclass(frozen=True)
class _Naming:
    """How rows are called on this page: only what differs between them is said."""

    varying: Sequence[str]
    several_models: bool
    several_runs: bool

    def of(self, row: Row) -> Row:
        """The row with `pair`, `way`, `line` (pair, model and run) and `label` (way as well)."""
        settings = [
            f"{n.replace('_', ' ')} {_setting(row, n)}" for n in self.varying if row.get(n) is not None
        ]
        words = [(row.get(name) or "?").strip() for name in ("target", "competitor")]
        pair = f"{row['context']}: {' / '.join(words)}"
        way = ", ".join([f"{row['method']} {row['optimizer']}", *settings])
        where = [row["model"]] * self.several_models + [f"run {row['run']}"] * self.several_runs
        names = {"line": [pair, *where], "label": [pair, way, *where]}
        return row | {"pair": pair, "way": way} | {name: " · ".join(parts) for name, parts in names.items()}


def _join(problems: Sequence[Row], trials: list[Row], naming: _Naming) -> None:
    """Give every trial its problem's number and the ratio η / η_c; the records' own keys must agree."""
    keys = tuple(k for k in _WHICH if k not in ("target", "competitor") and all(k in p for p in problems))
    by_key = {(p["run"], *(_setting(p, k) for k in keys)): p for p in problems}
    for number, row in enumerate(trials):
        problem = by_key.get((row["run"], *(_setting(row, k) for k in keys)))
        eta_c = problem.get("eta_c") if problem else None
        rate = row.get("learning_rate")
        ratio = rate / eta_c if _finite(rate) and eta_c is not None and _finite(eta_c) else None
        trials[number] = naming.of(row) | {
            "number": problem["number"] if problem else None,
            "ratio": ratio,
            "log_ratio": math.log(ratio) if ratio else None,
            "relative_final_gap": _over(row.get("gap_final"), abs(row.get("gap_0") or 0)),
            "place": OTHER,
        }


def _by_problem(trials: Iterable[Row]) -> dict[int, list[Row]]:
    """The trials that have a ratio, by problem, nearest to η_c first."""
    grouped: dict[int, list[Row]] = {}
    for row in trials:
        if row["ratio"] is not None and row["ratio"] > 0:
            grouped.setdefault(row["number"], []).append(row)
    for rows in grouped.values():
        rows.sort(key=lambda row: abs(math.log(row["ratio"])))
    return grouped


def _place(trials: Iterable[Row]) -> None:
    for rows in _by_problem(trials).values():
        committed = Outcome.COMMITTED.value
        under = next((r for r in rows if r["ratio"] <= 1 and r["outcome"] != committed), None)
        over = next((r for r in rows if r["ratio"] >= 1 and r["outcome"] == committed), None)
        for row, place in ((under, UNDER), (over, OVER)):
            if row is not None:
                row["place"] = place


def _nearest(trials: Iterable[Row], count: int) -> dict[tuple[str, str], Row]:
    """Of every problem the bracket's two trials, then the nearest, `count` in all; by run and trial id."""
    chosen: dict[tuple[str, str], Row] = {}
    for rows in _by_problem(trials).values():
        first = sorted(rows, key=lambda row: (UNDER, OVER, OTHER).index(row["place"]))
        _choose_labels(first[:count])
        chosen |= {(row["run"], row["trial_id"]): row for row in first[:count]}
    return chosen


def _choose_labels(rows: Sequence[Row]) -> None:
    """Mark the trials whose ratio is written beside their line: the first, then those far enough from these."""
    written: list[float] = []
    for row in rows:
        row["labelled"] = all(abs(row["log_ratio"] - other) > 0.08 for other in written)
        written += [row["log_ratio"]] * row["labelled"]


def _traces(run: RunTables) -> list[Row]:
    held = [name for name in _TRACE if name in run.traces.column_names]
    return [row | {"run": run.name} for row in run.traces.select(held).to_pylist()]


def _change(row: Row, trial: Row) -> Row:
    names = ("run", "trial_id", "step", "readout_change", "geometry_change", "readout_hash")
    return {name: row.get(name) for name in names} | {"method": trial["method"], "label": trial["label"]}


def _step(row: Row, trial: Row) -> Row:
    """A trace row with what its trial says, and with loss and gap as multiples of their start."""
    return row | {
        **{name: trial[name] for name in _CARRIED},
        "progress": row["step"] / trial["steps"],
        "relative_loss": _over(row["loss"], trial.get("loss_0")),
        "relative_gap": _over(row["logit_gap"], abs(trial.get("gap_0") or 0)),
    }


def _predicted(row: Row) -> Row:
    """Measured rate and interval as multiples of the predicted rate; `inside`: whether the interval holds the rate."""
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


def _over(value: float | None, scale: float | None) -> float | None:
    return value / scale if value is not None and scale else None
