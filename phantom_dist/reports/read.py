"""Reads run directories and writes the page: the function behind `phantom-dist report`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.result import Result
from phantom_dist.refinement.critical_rate import critical_rates_of
from phantom_dist.reports.abstract import abstract
from phantom_dist.reports.page import write
from phantom_dist.reports.predictions import law_of, predictions
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.run_tables import RunTables
from phantom_dist.scheduling.timeline_reader import timeline
from phantom_dist.spec import expand, tolerance_of
from phantom_dist.traces import directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult(Result):
    """Describes the written page.

    Attributes:
        file: its absolute path.
        bytes: its size.
        runs: names of the runs.
        verdict: what the runs show, in the order of the paper's abstract, and where the two disagree.
        critical_rates: how many critical rates the runs have.
    """

    file: str
    bytes: int
    runs: tuple[str, ...]
    verdict: str
    critical_rates: int

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `phantom-dist report`."""
        return asdict(self) | {"runs": list(self.runs)}

    def parts(self) -> Iterable[str]:
        """The verdict, and the path of the page."""
        return self.verdict, f"report: {self.file}"


def report(directories: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> ReportResult:
    """Write the page of one or several runs, finished or not, or of archives; several are compared.

    Raises:
        InputError: no directory is given, one of them holds no run, or the file can't be written.
        StoreError: a run's Parquet file is damaged or foreign.
    """
    if not directories:
        raise InputError("report: name at least one run directory")
    path = Path(out).absolute()
    runs = _with_unique_names([read_run(directory) for directory in directories], directories)
    rows = Rows.of(runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(runs, path)
    except OSError as error:
        raise InputError(f"--out {out}: the page can't be written: {error.strerror}") from None
    return ReportResult(
        file=str(path),
        bytes=path.stat().st_size,
        runs=tuple(run.name for run in runs),
        verdict=abstract(rows),
        critical_rates=sum(rate.crossing is not None for run in runs for rate in run.critical_rates),
    )


def read_run(location: str | os.PathLike[str]) -> RunTables:
    """The tables of one run directory, or of an archive, whose sweeps are merged into one run."""
    directory, specs = directory_and_sweeps(location)
    trials, stored = directory.trials(), directory.probes()
    probes = stored.to_pylist()
    rates = critical_rates_of(specs, probe_summaries(stored), trial_summaries(trials))
    law, name = law_of(location)
    return RunTables(
        name=", ".join(spec.name for spec in specs),
        trials=trials,
        traces=directory.traces(),
        critical_rates=rates,
        predictions=predictions(law, rates, probes, {p.key: p for spec in specs for p in expand(spec)}),
        law=name,
        lora=None if law.lora_split is None else law.lora_split.verdict,
        titles=directory.read_state().get("models", {}),
        prompts={context.id: context.text for spec in specs for context in spec.contexts},
        timeline=timeline(directory.events()),
        tolerance=max((t for t in map(tolerance_of, specs) if t is not None), default=None),
    )


def _with_unique_names(
    runs: Sequence[RunTables], directories: Sequence[str | os.PathLike[str]]
) -> list[RunTables]:
    """Append the directory to the names of runs that would otherwise have the same name."""
    count = Counter(run.name for run in runs)
    return [
        run if count[run.name] == 1 else replace(run, name=f"{run.name} ({os.fspath(directory)})")
        for run, directory in zip(runs, directories, strict=True)
    ]
