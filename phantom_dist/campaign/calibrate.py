"""Rows that a law is fitted to: what a run measured, with the path probed for it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Origin, PathProbe
from phantom_dist.core.trial import Problem
from phantom_dist.engines.path import probe_path
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.instruments.kernel_rate import effective_steps
from phantom_dist.models import LoadedModel, load
from phantom_dist.refinement.critical_rate import WHICH, critical_rates
from phantom_dist.scheduling.worker import device_of
from phantom_dist.spec import expand, tolerance_of
from phantom_dist.traces import open_run

Row = dict[str, Any]
Observer = Callable[[int, int], None]


def path_row(loaded: LoadedModel, origin: Origin, path: PathProbe) -> Row:
    """What the law reads of a problem, beside the keys that say which."""
    problem = origin.problem
    assert origin.identity is not None
    return {
        "weights": origin.identity.weights,
        "parameters": origin.identity.parameters,
        "width": readout_matrix(loaded.model).shape[1],
        "effective_steps": effective_steps(problem.steps, problem.schedule, problem.optimizer),
        "gap_0": origin.gap_0,
        "kappa": origin.kappa,
        "overlap_0": origin.overlap_0,
        "log_odds_0": path.log_odds_0,
        "path_rates": list(path.learning_rates),
        "path_trial_steps": path.trial_steps,
    }


def calibration_rows(
    directories: Sequence[str | os.PathLike[str]],
    known: Collection[str] = (),
    observer: Observer | None = None,
) -> tuple[list[Row], dict[str, int]]:
    """One row for each critical rate that the runs measured; and how many problems had none, by reason.

    Args:
        directories: run directories.
        known: problems (their keys) that are calibrated already; they are left out.
        observer: told (done, total) after each path.

    Raises:
        InputError: no run directory, or one of its models can't be reached any more.
    """
    dropped: Counter[str] = Counter()
    wanted: dict[str, list[tuple[Row, Problem]]] = {}
    for location in directories:
        directory, spec = open_run(location)
        problems: dict[str, Problem] = {problem.key: problem for problem in expand(spec)}
        probes = directory.probes().to_pylist()
        for entry in critical_rates(probes, directory.trials().to_pylist(), tolerance_of(spec)):
            key = entry["problem"]
            if entry["eta_c"] is None:
                dropped[entry["reason"]] += 1
            elif key not in known and key in problems:
                wanted.setdefault(problems[key].model, []).append((entry, problems[key]))
    total, rows = sum(map(len, wanted.values())), []
    for model, entries in wanted.items():
        loaded: dict[str, LoadedModel] = {}
        for entry, problem in entries:
            precision = problem.precision
            if precision not in loaded:
                loaded[precision] = load(model, precision=precision, device=device_of("auto"))
            origin, path = probe_path(loaded[precision], problem)
            if path is None:
                raise InputError(
                    f"{model} in context {problem.context.id!r}: the run measured a critical rate, but now the pair is "
                    f"refused ({origin.message}). Were its weights replaced?"
                )
            which = {name: entry[name] for name in ("problem", *WHICH)}
            measured = {"eta_c": entry["eta_c"], "bracket": entry["bracket"]}
            rows.append(which | measured | path_row(loaded[precision], origin, path))
            if observer is not None:
                observer(len(rows), total)
    return rows, dict(dropped)
