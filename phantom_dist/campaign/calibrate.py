"""Rows that a law is fitted to: the critical rates of runs, each with its probed path."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from phantom_dist.core.errors import InputError, OutOfMemory
from phantom_dist.core.probe_result import Refused
from phantom_dist.core.problem_columns import PROBLEM_COLUMNS
from phantom_dist.core.trial import Problem
from phantom_dist.engines.path import probe_path
from phantom_dist.engines.rows import probe_row
from phantom_dist.law.domain import as_asked, settings_of
from phantom_dist.models import LoadedModel, load
from phantom_dist.refinement.critical_rate import critical_rates_of
from phantom_dist.scheduling.worker import device_of
from phantom_dist.spec import expand
from phantom_dist.traces import directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries

Row = dict[str, Any]
Observer = Callable[[int, int], None]

MOST_WIDE = 0.05
"""Relative width of a bracket that still measures a critical rate: its root is then known to a percent or better."""

TOO_WIDE = f"bracket_wider_than_{100 * MOST_WIDE:g}_percent"

PROBED = (
    "weights", "parameters", "width", "effective_steps", "gap_0", "kappa", "overlap_0", "log_odds_0", "path_rates",
    "gap_end", "probe_trial_steps", "beta1", "beta2", "epsilon", "warmup_steps",
)  # fmt: skip
"""What the law reads of a problem's probe, beside the keys that say which; as in `probes/`."""

MEASUREMENT = ("weights", "target", "competitor", "method", "optimizer", "steps", "lora_targets", "seed")


def measurement_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row measures, whatever the context and the model are called there: equal for the same trials.

    A prompt is told by the gap that it starts from.
    """
    of_row = (row.get(name) for name in MEASUREMENT)
    return (*of_row, *settings_of(row).values(), f"{row['gap_0']:.3f}")


def calibration_rows(
    directories: Sequence[str | os.PathLike[str]],
    known: Collection[tuple[Any, ...]] = (),
    observer: Observer | None = None,
) -> tuple[list[Row], dict[str, int]]:
    """One row for each critical rate that the runs measured; and how many problems gave none, by reason.

    What several runs measured counts once. A path that the run didn't probe is probed now, which needs its model.

    Args:
        directories: run directories and archives.
        known: what is calibrated already (`measurement_of`); it is left out.
        observer: told (done, total) after each path.

    Raises:
        InputError: no run directory, or one of its models can't be reached any more.
    """
    seen = set(known)
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    wanted: dict[str, list[tuple[Row, Problem]]] = {}
    for location in directories:
        directory, specs = directory_and_sweeps(location)
        problems: dict[str, Problem] = {problem.key: problem for spec in specs for problem in expand(spec)}
        stored = directory.probes()
        probes = {row["problem"]: row for row in stored.to_pylist()}
        for rate in critical_rates_of(specs, probe_summaries(stored), trial_summaries(directory.trials())):
            key, entry = rate.problem, rate.to_json()
            if rate.crossing is None:
                dropped[str(rate.reason)] += 1
                continue
            if rate.crossing.bracket[1] / rate.crossing.bracket[0] - 1 > MOST_WIDE:
                dropped[TOO_WIDE] += 1
                continue
            measured = measurement_of(as_asked(probes[key], problems[key])) if key in problems else None
            if measured is None or measured in seen:
                continue
            seen.add(measured)
            if probes[key]["path_rates"] is not None:
                rows.append(_row(entry, probes[key], problems[key]))
            else:
                wanted.setdefault(problems[key].model, []).append((entry, problems[key]))
    total, done = sum(map(len, wanted.values())), 0
    for model, entries in wanted.items():
        loaded: dict[str, LoadedModel] = {}
        for entry, problem in entries:
            precision = problem.precision
            if precision not in loaded:
                loaded[precision] = load(model, precision=precision, device=device_of("auto"))
            try:
                probed = probe_path(loaded[precision], problem)
            except (OutOfMemory, ArithmeticError) as error:
                dropped[f"path: {error}"] += 1
            else:
                if isinstance(probed, Refused) or probed.path is None:
                    now = (
                        f"the pair is refused ({probed.message})"
                        if isinstance(probed, Refused)
                        else "the first steps widen the gap"
                    )
                    raise InputError(
                        f"{model} in context {problem.context.id!r}: the run measured a critical rate, but now {now}. "
                        f"Were its weights replaced?"
                    )
                rows.append(_row(entry, probe_row(probed), problem))
            done += 1
            if observer is not None:
                observer(done, total)
    return rows, dict(dropped)


def _row(entry: Row, probe: Row, problem: Problem) -> Row:
    which = {name: entry[name] for name in ("problem", *PROBLEM_COLUMNS)}
    measured = {"eta_c": entry["eta_c"], "bracket": entry["bracket"]}
    return as_asked(which | measured | {name: probe[name] for name in PROBED}, problem)
