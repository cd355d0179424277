"""Compares several runs: their settings, critical rates and outcomes.

The first run is the reference. Where a setting has a single value in each run but differs between runs, it is taken for
the purpose of the comparison: the page names it, and problems are matched by everything else. So a run with momentum is
compared context by context with one without.
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
_OTHERS = (
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
    """A setting in which runs differ, with the values of each run as text."""

    name: str
    values: dict[str, str]
    matched: bool
    """Whether problems are matched although they differ in it."""
    defines: bool
    """Whether it is part of a problem's definition."""

    def get(self, run: str) -> str:
        """The values of one run."""
        return self.values.get(run, "")


def differences(rows: Rows) -> list[Difference]:
    """The settings, thresholds and execution metadata in which the runs differ."""
    across = _across(rows)
    found: list[Difference] = []
    for name in (*_KEYS, *_OTHERS):
        values = _values(rows, name)
        if name not in ("context", "target", "competitor") and len(set(map(frozenset, values.values()))) > 1:
            by_run = {run: _as_text(some) for run, some in values.items()}
            found.append(
                Difference(
                    name=name.replace("_", " "), values=by_run, matched=name in across, defines=name in _KEYS
                )
            )
    return found


def compared(rows: Rows) -> list[Row]:
    """One row for each problem that a later run shares with the first, in the order of the sweep.

    Adds `reference_rate` (η_c in the first run), `change` = η_c / reference_rate, `low_change` and `high_change` (the
    widest range that both brackets allow) and `agreement`: whether the brackets overlap.
    """
    if not rows.several_runs:
        return []
    across = _across(rows)
    reference = _first(rows)
    known = {_key(row, across): row for row in rows.problems if row["run"] == reference}
    pairs = []
    for row in rows.problems:
        base = known.get(_key(row, across))
        if row["run"] != reference and base is not None:
            pairs.append(_pair(row, base))
    return pairs


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
    """Trials of later runs whose twin in the first (same settings and learning rate) has a different outcome."""
    across, reference = _across(rows), _first(rows)
    every = [*rows.trials, *rows.others]
    known = {(*_key(row, across), row["learning_rate"]): row for row in every if row["run"] == reference}
    changed = []
    for row in every:
        base = known.get((*_key(row, across), row["learning_rate"]))
        if row["run"] != reference and base is not None and base["outcome"] != row["outcome"]:
            changed.append(row | {"reference_outcome": base["outcome"]})
    return changed


def twins(rows: Rows) -> int:
    """How many trials of later runs have a twin in the first."""
    across, reference = _across(rows), _first(rows)
    every = [*rows.trials, *rows.others]
    known = {(*_key(row, across), row["learning_rate"]) for row in every if row["run"] == reference}
    return sum((*_key(r, across), r["learning_rate"]) in known for r in every if r["run"] != reference)


def agreements(pairs: Iterable[Row]) -> dict[str, int]:
    """How many pairs of problems there are of each `agreement`."""
    counts = Counter(row["agreement"] for row in pairs)
    return {name: counts[name] for name in (_WITHIN, _APART, _UNKNOWN, "found in no run") if counts[name]}


def outcomes_by_run(rows: Rows) -> dict[str, dict[str, int]]:
    """Outcome -> run -> number of trials."""
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
    """Run -> the values of a setting; except for `model`, only over the models that all runs share, if any."""
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
    """The settings that have a single value in each run but differ between runs."""
    names = set()
    for name in ("model", "method", "optimizer", *SETTINGS):
        values = [some for some in _values(rows, name).values() if some]
        if all(len(some) == 1 for some in values) and len(set(map(frozenset, values))) > 1:
            names.add(name)
    return names


def _key(row: Mapping[str, Any], across: set[str]) -> tuple[Any, ...]:
    return tuple(setting(row, name) for name in _KEYS if name not in across)


def _as_text(values: set[Any]) -> str:
    words = sorted(
        "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    )
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
