"""Several runs beside each other: where they were set up differently, which critical rates differ, which outcomes.

The first run is the reference. A setting that is one value throughout each run and differs between runs is what the
runs are about: it is named, and problems are matched by everything else. So a run under momentum is compared context by
context with one without.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phantom_dist.reports.labels import SETTINGS, setting
from phantom_dist.reports.rows import Row, Rows

_KEYS = ("model", "context", "target", "competitor", "method", "optimizer", *SETTINGS)
_ALSO = (
    "weights",
    "epsilon",
    "beta1",
    "beta2",
    "structural_drag",
    "jump_threshold",
    "engine",
    "device",
    "threads",
    "versions",
)
_WITHIN, _APART, _UNKNOWN = "within both brackets", "brackets apart", "found in one run only"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A setting in which runs differ: its values run by run, as text."""

    name: str
    values: dict[str, str]
    matched: bool
    """Whether problems are matched across it."""
    defines: bool
    """Whether it is part of what defines a problem."""

    def get(self, run: str) -> str:
        """The values of one run."""
        return self.values.get(run, "")


def differences(rows: Rows) -> list[Difference]:
    """The settings, thresholds and circumstances in which the runs differ."""
    across = _across(rows)
    found = []
    for name in (*_KEYS, *_ALSO):
        values = _values(rows, name)
        if name not in ("context", "target", "competitor") and len(set(map(frozenset, values.values()))) > 1:
            said = {run: _said(some) for run, some in values.items()}
            found.append(
                Difference(
                    name=name.replace("_", " "), values=said, matched=name in across, defines=name in _KEYS
                )
            )
    return found


def compared(rows: Rows) -> list[Row]:
    """One row for each problem that a later run shares with the first, in the order of the sweep.

    Added are `reference_rate` (η_c in the first run), `change` = η_c / reference_rate, `low_change` and `high_change`
    (the widest that both brackets allow) and `agreement`: whether the brackets overlap.
    """
    if not rows.several_runs:
        return []
    across = _across(rows)
    reference = _first(rows)
    known = {_key(row, across): row for row in rows.problems if row["run"] == reference}
    found = []
    for row in rows.problems:
        base = known.get(_key(row, across))
        if row["run"] != reference and base is not None:
            found.append(_pair(row, base))
    return found


def _pair(row: Row, base: Row) -> Row:
    rate, before = row.get("eta_c"), base.get("eta_c")
    line = " · ".join([row["pair"], *([row["model"]] if row["model"] == base["model"] else [])])
    pair = row | {"line": line, "reference_rate": before, "reference_reason": base.get("reason")}
    if rate is None or before is None:
        both = rate is None and before is None
        return pair | {"change": None, "agreement": "found in no run" if both else _UNKNOWN}
    low, high = row["bracket"]
    base_low, base_high = base["bracket"]
    return pair | {
        "change": rate / before,
        "log_change": math.log(rate / before),
        "low_change": low / base_high,
        "high_change": high / base_low,
        "agreement": _WITHIN if low <= base_high and base_low <= high else _APART,
    }


def changed_outcomes(rows: Rows) -> list[Row]:
    """Trials of later runs whose twin in the first, with the same settings and learning rate, ended otherwise."""
    across, reference = _across(rows), _first(rows)
    every = [*rows.trials, *rows.others]
    known = {(*_key(row, across), row["learning_rate"]): row for row in every if row["run"] == reference}
    found = []
    for row in every:
        base = known.get((*_key(row, across), row["learning_rate"]))
        if row["run"] != reference and base is not None and base["outcome"] != row["outcome"]:
            found.append(row | {"reference_outcome": base["outcome"]})
    return found


def twins(rows: Rows) -> int:
    """How many trials of later runs have a twin in the first."""
    across, reference = _across(rows), _first(rows)
    every = [*rows.trials, *rows.others]
    known = {(*_key(row, across), row["learning_rate"]) for row in every if row["run"] == reference}
    return sum((*_key(r, across), r["learning_rate"]) in known for r in every if r["run"] != reference)


def agreements(pairs: Iterable[Row]) -> dict[str, int]:
    """How many pairs of problems agree, differ, or can't be compared."""
    counts = Counter(row["agreement"] for row in pairs)
    return {name: counts[name] for name in (_WITHIN, _APART, _UNKNOWN, "found in no run") if counts[name]}


def outcomes_by_run(rows: Rows) -> dict[str, dict[str, int]]:
    """Outcome -> run -> how many trials ended so."""
    counts: dict[str, dict[str, int]] = {}
    runs = _runs(rows)
    for row in (*rows.trials, *rows.others):
        counts.setdefault(row["outcome"], dict.fromkeys(runs, 0))[row["run"]] += 1
    return counts


def _runs(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["run"] for row in (*rows.problems, *rows.trials, *rows.others)))


def _first(rows: Rows) -> str:
    return _runs(rows)[0] if _runs(rows) else ""


def _values(rows: Rows, name: str) -> dict[str, set[Any]]:
    """Run -> the values of a setting; all but the models themselves over the models that every run has, if any."""
    every = [*rows.trials, *rows.others]
    models = [{row["model"] for row in every if row["run"] == run} for run in _runs(rows)]
    shared = set.intersection(*models) if models and name != "model" else set()
    values: dict[str, set[Any]] = {run: set() for run in _runs(rows)}
    for row in every:
        if not shared or row["model"] in shared:
            value = setting(row, name)
            values[row["run"]].add(f"{row['model']} {value[:8]}" if name == "weights" and value else value)
    return values


def _across(rows: Rows) -> set[str]:
    """The keys that hold one value throughout each run and differ between runs."""
    names = set()
    for name in ("model", "method", "optimizer", *SETTINGS):
        values = [found for found in _values(rows, name).values() if found]
        if all(len(found) == 1 for found in values) and len(set(map(frozenset, values))) > 1:
            names.add(name)
    return names


def _key(row: Mapping[str, Any], across: set[str]) -> tuple[Any, ...]:
    return tuple(setting(row, name) for name in _KEYS if name not in across)


def _said(values: set[Any]) -> str:
    words = sorted(
        "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    )
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
