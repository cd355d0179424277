"""Rows that a law is fitted to: the critical rates of runs, each with its probed path."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Problem
from phantom_dist.engines.path import probe_path
from phantom_dist.engines.rows import probe_row
from phantom_dist.models import LoadedModel, load
from phantom_dist.refinement.critical_rate import WHICH, critical_rates_of
from phantom_dist.scheduling.worker import device_of
from phantom_dist.spec import expand
from phantom_dist.traces import directory_and_sweeps

Row = dict[str, Any]
Observer = Callable[[int, int], None]

PROBED = (
    "weights", "parameters", "width", "effective_steps", "gap_0", "kappa", "overlap_0", "log_odds_0", "path_rates",
    "probe_trial_steps",
)  # fmt: skip
"""What the law reads of a problem's probe, beside the keys that say which; as in `probes/`."""


def calibration_rows(
    directories: Sequence[str | os.PathLike[str]],
    known: Collection[str] = (),
    observer: Observer | None = None,
) -> tuple[list[Row], dict[str, int]]:
    """One row for each critical rate that the runs measured; and how many problems had none, by reason.

    A path that the run didn't probe is probed now, which needs its model.

    Args:
        directories: run directories and archives.
        known: problems (their keys) that are calibrated already; they are left out.
        observer: told (done, total) after each path.

    Raises:
        InputError: no run directory, or one of its models can't be reached any more.
    """
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    wanted: dict[str, list[tuple[Row, Problem]]] = {}
    for location in directories:
        directory, specs = directory_and_sweeps(location)
        problems: dict[str, Problem] = {problem.key: problem for spec in specs for problem in expand(spec)}
        probes = {row["problem"]: row for row in directory.probes().to_pylist()}
        for entry in critical_rates_of(specs, list(probes.values()), directory.trials().to_pylist()):
            key = entry["problem"]
            if entry["eta_c"] is None:
                dropped[entry["reason"]] += 1
            elif key in known or key not in problems:
                continue
            elif probes[key]["path_rates"] is not None:
                rows.append(_row(entry, probes[key]))
            else:
                wanted.setdefault(problems[key].model, []).append((entry, problems[key]))
    total, done = sum(map(len, wanted.values())), 0
    for model, entries in wanted.items():
        loaded: dict[str, LoadedModel] = {}
        for entry, problem in entries:
            precision = problem.precision
            if precision not in loaded:
                loaded[precision] = load(model, precision=precision, device=device_of("auto"))
            origin = probe_path(loaded[precision], problem)
            if origin.path is None:
                raise InputError(
                    f"{model} in context {problem.context.id!r}: the run measured a critical rate, but now the pair is "
                    f"refused ({origin.message}). Were its weights replaced?"
                )
            rows.append(_row(entry, probe_row(origin)))
            done += 1
            if observer is not None:
                observer(done, total)
    return rows, dict(dropped)


def _row(entry: Row, probe: Row) -> Row:
    which = {name: entry[name] for name in ("problem", *WHICH)}
    measured = {"eta_c": entry["eta_c"], "bracket": entry["bracket"]}
    return which | measured | {name: probe[name] for name in PROBED}
