"""What the law says of a run's critical rates, beside what the run measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from phantom_dist.core.trial import Problem
from phantom_dist.law.file import read_law
from phantom_dist.law.groups import BY_NAME
from phantom_dist.law.law import Law
from phantom_dist.law.law_input import law_input

Row = dict[str, Any]

GROUPS = ("gap", "bend", "last", "earlier", "length", "overlap", "odds")
"""The law's groups that residuals are drawn against; the others are squares and products of these."""

HELD_OUT, CALIBRATED, NEW = "architecture left out", "in the calibration", "not in the calibration"
OUTSIDE = "outside the law's domain"


def law_of(location: str | os.PathLike[str]) -> tuple[Law, str]:
    """The law that a run is held against, and its name: `law.json` in its directory, else the shipped one."""
    own = Path(location) / "law.json"
    return (read_law(own), "law.json of the run") if own.is_file() else (read_law(), "the shipped law")


def predictions(
    law: Law, entries: Iterable[Mapping[str, Any]], probes: Iterable[Row], problems: Mapping[str, Problem]
) -> list[Row]:
    """One row for each measured critical rate that the law has a prediction for.

    A problem that the law was fitted to is predicted by the law without its architecture, as stored with it; any
    other one from its probed path, where the run has that.

    Args:
        law: the law.
        entries: as `critical_rates` gives them.
        probes: rows of `probes/`.
        problems: those of the run's sweeps, by key.

    Returns:
        the entries with `predicted`, `low`, `high`, `known` (how the prediction was made) and the law's groups.
    """
    calibrated = {(row.problem, row.weights): row for row in law.rows}
    by_problem = {row["problem"]: row for row in probes}
    models = {row.weights for row in law.rows}
    rows = []
    for entry in entries:
        probe = by_problem[entry["problem"]]
        known = calibrated.get((entry["problem"], probe["weights"]))
        if entry["eta_c"] is None:
            continue
        if known is not None and known.held_out is not None:
            source, how = known.law_input, HELD_OUT
            rate, interval = known.held_out.eta_c, known.held_out.interval
        elif probe["path_rates"] is not None:
            source = law_input(probe, problems.get(entry["problem"]))
            predicted = law.predict(source)
            how = OUTSIDE if not predicted.in_domain else CALIBRATED if probe["weights"] in models else NEW
            if predicted.eta_c is None:
                continue
            rate, interval = predicted.eta_c, predicted.interval
        else:
            continue
        low, high = interval or (None, None)
        rows.append(
            dict(entry)
            | {"predicted": rate, "low": low, "high": high, "known": how}
            | {name: BY_NAME[name].value(source) for name in GROUPS}
        )
    return rows
