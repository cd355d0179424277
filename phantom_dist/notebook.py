"""Opens a run or an archive in Python: its tables as Arrow, Polars or pandas, its critical rates, its figures.

    run = phantom_dist.open_run("runs/quickstart")
    run                                             # in a notebook: its status and critical rates
    run.trials(as_="pandas")
    run.traces(as_="polars").filter(...).collect()  # reads only the row groups it needs
    run.figure("phase_map")

Nothing is cached: every call reads the current files, so a live run can be followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rich.console import Group

from phantom_dist.campaign.status import ArchiveStatus, RunStatus, archive_status, status
from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.traces import RunDirectory, Store, directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries
from phantom_dist.traces.formats import Format, critical_rates_dataset, read_as


def open_run(location: str | os.PathLike[str]) -> Run:
    """Open a run directory, live or finished, or an archive of runs, by a local path or an object-store URI.

    Raises:
        InputError: the location holds neither.
    """
    directory = RunDirectory(Store(location))
    if directory.read_sweep() is None:
        directory, _ = directory_and_sweeps(location)
    return Run(directory)


class Run:
    """One run, or an archive of several; made by `open_run`.

    `as_` chooses the form of a table: `arrow` (a `pyarrow.Table`), `polars` (a `LazyFrame`, which reads nothing until
    it is collected) or `pandas`. The Arrow fields' metadata has units and meanings of the columns.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self.location = directory.store.location

    # -- tables -----------------------------------------------------------------------------------------------------

    def dataset(self, table: str) -> Any:
        """The table `trials`, `probes` or `traces` as a `pyarrow.dataset.Dataset`, which reads only what is needed.

        Raises:
            InputError: there is no such table.
            StoreError: a file is damaged or foreign.
        """
        return self._directory.dataset(table)

    def trials(self, *, as_: Format = "arrow") -> Any:
        """One row per finished trial."""
        return read_as(as_, self.dataset("trials"))

    def probes(self, *, as_: Format = "arrow") -> Any:
        """One row per problem, measured on the untouched model."""
        return read_as(as_, self.dataset("probes"))

    def traces(
        self,
        *,
        model: str | Sequence[str] | None = None,
        trial_ids: str | Sequence[str] | None = None,
        as_: Format = "arrow",
    ) -> Any:
        """One row per trial and step, of these models and trials; None: of all. Skips the files of other models."""
        return read_as(as_, self.dataset("traces"), model=model, trial_id=trial_ids)

    def critical_rates(self, *, as_: Format = "arrow") -> Any:
        """One row per probed problem; where it has no critical rate, `reason` says why."""
        return read_as(as_, critical_rates_dataset(rate.to_json() for rate in self.status().critical_rates))

    # -- status ----------------------------------------------------------------------------------------------------

    def status(self) -> RunStatus | ArchiveStatus:
        """The status: `phantom_dist.status` of a run, or the contents of an archive."""
        if not self._directory.sweeps_of_archive:
            return status(self.location)
        _, specs = directory_and_sweeps(self.location)
        return archive_status(
            specs, probe_summaries(self._directory.probes()), trial_summaries(self._directory.trials())
        )

    def studies(self, storage: str | os.PathLike[str] | None = None) -> Any:
        """The searches as Optuna studies, by name: in memory, in a journal (a path), or in an Optuna storage (a URL).

        Raises:
            InputError: no search has begun, or the storage can't be used.
            StoreError: the journal can't be written.
        """
        from phantom_dist.refinement.studies import studies

        _, specs = directory_and_sweeps(self.location)
        trials = trial_summaries(self._directory.trials())
        return studies(specs, probe_summaries(self._directory.probes()), trials, storage)

    # -- figures ---------------------------------------------------------------------------------------------------

    def figure(self, name: str) -> Any:
        """A figure of the report as an Altair chart, which a notebook displays and `save` writes to a file.

        Args:
            name: of a function in `phantom_dist.reports.figures`, such as `phase_map` or `silent_failure`.

        Raises:
            InputError: there is no such figure, or the run has no data for it.
        """
        from phantom_dist.reports import figures, read_run

        drawing = figures.DRAWINGS.get(name)
        if drawing is None:
            hint = did_you_mean(name, figures.DRAWINGS)
            raise InputError(f"figure {name!r}: there is no such figure.{hint}")
        chart = drawing(read_run(self.location))
        if chart is None:
            raise InputError(f"figure {name!r}: {self.location} has no data for it")
        return chart

    def __repr__(self) -> str:
        return f"<Run {self.location}>"

    def __rich__(self) -> Group:
        return self.status().__rich__()

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()
