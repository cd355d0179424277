"""How well the law's intervals hold out of its domain (`python -m tests.benchmarks.out_of_domain`).

Settings that were not calibrated: runs `sweeps/out-of-domain*.yaml` into `runs/` (15 minutes on two CPU cores; what is
done is kept), and predicts each critical rate by the shipped calibration without its architecture, as a new model of a
user would be.

Ranges that were not calibrated: a fifth of the calibration, at one end of a group's range, is predicted by a law fitted
to the rest without the architecture; of these rows, those that this law calls out of its domain.

Two tables; the last line is JSON.
"""

from __future__ import annotations

import functools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import phantom_dist
from phantom_dist.calibration.calibrate import calibrate
from phantom_dist.law.calibration_row import CalibrationRow, by_training_class
from phantom_dist.law.closure import fit
from phantom_dist.law.domain import GROUPS
from phantom_dist.law.file import read_law
from phantom_dist.law.groups import BY_NAME, SETTINGS
from phantom_dist.law.law import TrainingClassLaw, fit_training_class
from phantom_dist.law.validation import HeldOutPrediction, predict_held_out

ROOT = Path(__file__).parents[2]
SWEEPS = ("out-of-domain", "out-of-domain-schedules", "out-of-domain-bfloat16")

law = read_law()


def percent(share: float | None) -> str:
    """A share as a percentage; None: no interval is given."""
    return "none given" if share is None else f"{100 * share:.1f} %"


@functools.cache
def law_without(name: str, model: str) -> TrainingClassLaw:
    """The law of a class, its weights and intervals fitted without one model; its groups are those that ship."""
    rest = [row for row in law.rows if row.training_class == name and row.model != model]
    closure = law.classes[name].closure
    return fit_training_class(rest, fit(rest, closure.groups, closure.ridge))


def setting(row: CalibrationRow) -> str:
    """What of a row's training the law was not calibrated on, in its own words."""
    reasons = law_without(row.training_class, row.model).domain.outside(row.law_input)
    named = ("not calibrated", *(f"{group.name} (" for group in SETTINGS))
    return next((reason for reason in reasons if reason.startswith(named)), "calibrated")


def beyond(name: str, rows: list[CalibrationRow], chosen: NDArray[np.bool_]) -> list[HeldOutPrediction]:
    """What laws that know neither a row's architecture nor any of the chosen rows say of these, out of domain."""
    closure, found = law.classes[name].closure, []
    for model in sorted({row.model for row in rows}):
        known = [r for r, out in zip(rows, chosen, strict=True) if not out and r.model != model]
        without = fit_training_class(known, fit(known, closure.groups, closure.ridge))
        asked = [r for r, out in zip(rows, chosen, strict=True) if out and r.model == model]
        found += [held for held in (predict_held_out(without, r) for r in asked) if not held.in_domain]
    return found


def ends(rows: list[CalibrationRow], group: str) -> dict[str, NDArray[np.bool_]]:
    """The rows at either end of a group's range, a fifth each; of T, which has few values, its ends."""
    values = np.array([BY_NAME[group].value(row.law_input) for row in rows])
    if group == "length":
        return {"lowest T": values == values.min(), "highest T": values == values.max()}
    return {"lowest": values < np.quantile(values, 0.2), "highest": values > np.quantile(values, 0.8)}


def ranges() -> tuple[Table, list[dict[str, Any]]]:
    """Coverage of intervals as given, for rows beyond each end of each range that bounds the domain."""
    table = Table(title="ranges that were not calibrated, architectures left out", title_justify="left")
    for column in ("class", "group", "end", "out of domain", "withheld", "as given"):
        table.add_column(column, justify="left" if column in ("class", "group", "end") else "right")
    entries = []
    for name, rows in by_training_class(law.rows).items():
        for group in (name for name in GROUPS if name not in {setting.name for setting in SETTINGS}):
            for end, chosen in ends(rows, group).items():
                members = beyond(name, rows, chosen)
                given = [abs(h.error) <= h.given for h in members if h.given is not None]
                withheld, coverage = len(members) - len(given), statistics.fmean(given)
                table.add_row(name, group, end, str(len(members)), str(withheld), f"{100 * coverage:.1f} %")
                entries.append(
                    {"class": name, "group": group, "end": end, "contexts": len(members)}
                    | {"withheld": withheld, "coverage_given": coverage}
                )
    return table, entries


def main() -> None:
    """Measure, predict, compare."""
    runs = []
    for name in SWEEPS:
        runs.append(ROOT / "runs" / name)
        phantom_dist.run(ROOT / "sweeps" / f"{name}.yaml", runs[-1], executor="inprocess")
    rows = calibrate(runs).rows
    groups: dict[tuple[str, str], list[HeldOutPrediction]] = {}
    for row in rows:
        held = predict_held_out(law_without(row.training_class, row.model), row)
        groups.setdefault((row.training_class, setting(row).removeprefix("not calibrated with ")), []).append(
            held
        )
    table = Table(title="settings that were not calibrated, architectures left out", title_justify="left")
    for column in (
        "class",
        "setting",
        "contexts",
        "median error",
        "90 % intervals: as calibrated",
        "as given",
    ):
        table.add_column(column, justify="left" if column in ("class", "setting") else "right")
    entries = []
    for (name, words), members in sorted(groups.items()):
        plain = [abs(h.error) <= h.half_width for h in members]
        given = [abs(h.error) <= h.given for h in members if h.given is not None]
        entry = {
            "class": name,
            "setting": words,
            "contexts": len(members),
            "error_median": statistics.median(abs(h.error) for h in members),
            "coverage_plain": statistics.fmean(plain),
            "coverage_given": statistics.fmean(given) if given else None,
            "withheld": len(members) - len(given),
        }
        entries.append(entry)
        table.add_row(name, words, str(len(members)), *(percent(entry[key]) for key in list(entry)[3:6]))
    console = Console(width=150)
    console.print(table)
    table, moved = ranges()
    console.print(table)
    worst = min(e["coverage_given"] for e in (*entries, *moved) if e["coverage_given"] is not None)
    print(json.dumps({"settings": entries, "ranges": moved, "coverage_given": worst}))


if __name__ == "__main__":
    main()
