"""The layout of a run directory, and what its readers see.

| name | written by | when |
|---|---|---|
| `sweep.yaml` | driver | at the start: the normalised specification |
| `plan.parquet` | driver | at the start and at the end |
| `state.json` | driver | heartbeat, about once a second |
| `events.jsonl`, in object stores `events/` | driver | at each event: see `event_log` |
| `probes/BATCH.parquet` | worker | one row per problem |
| `traces/model=…/BATCH.parquet` | worker | before the batch's trials: one row per trial and step |
| `trials/BATCH.parquet` | worker | last: a batch exists once this file does |
| `.leases/` | driver, workers | during a run: see `leases` |

A batch's files are named after its members, so a repeated batch replaces its own files and never duplicates a row.
Traces are stored before trials. If a worker dies between the two, readers ignore the half batch, and `discard_halves`
removes its traces before the run continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa

from phantom_dist.core.errors import InputError, StoreError, did_you_mean
from phantom_dist.core.events import RunEvent
from phantom_dist.core.quantities import Quantity
from phantom_dist.spec import SweepSpec, from_yaml
from phantom_dist.traces import schema
from phantom_dist.traces.event_log import read_events
from phantom_dist.traces.store import Store

if TYPE_CHECKING:  # it imports pandas, which a worker, that only writes, does without; so does `table_files`
    import pyarrow.dataset as ds

Row = dict[str, Any]

_SCHEMAS = schema.BY_TABLE | {"traces": schema.TRACES.append(pa.field("model", pa.string()))}
_CANCEL = ".cancel"


class RunDirectory:
    """Reads and writes the files of one run."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def under(self, lease: str) -> RunDirectory:
        """The same directory under a lease: files that are written become visible only while the lease lasts."""
        return RunDirectory(self.store.under(lease))

    # -- driver -----------------------------------------------------------------------------------------------------

    def write_sweep(self, text: str) -> None:
        """Store the normalised specification."""
        self.store.put("sweep.yaml", text.encode())

    def read_sweep(self) -> str | None:
        """The normalised specification; None if this is not a run directory, which also has a `plan.parquet`."""
        if not (self.store.exists("plan.parquet") and self.store.exists("sweep.yaml")):
            return None
        return self.store.get("sweep.yaml").decode()

    def write_plan(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the planned trials."""
        self.store.put("plan.parquet", schema.to_parquet(rows, schema.PLAN))

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Store the driver's heartbeat."""
        self.store.put("state.json", json.dumps(state).encode())

    def read_state(self) -> Row:
        """The last heartbeat; empty if there is none."""
        try:
            state: Row = json.loads(self.store.get("state.json"))
        except (FileNotFoundError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def cancel(self) -> None:
        """Request that the run's driver stops; works on any machine that sees the directory."""
        self.store.put(_CANCEL, b"")

    @property
    def cancelled(self) -> bool:
        """Whether a stop was requested since this driver started."""
        return self.store.exists(_CANCEL)

    def forget_cancel(self) -> None:
        """Remove an earlier request to stop."""
        self.store.delete(_CANCEL)

    def discard_halves(self) -> None:
        """Remove duplicate and half batches. Must be called only while no worker writes.

        First remove the trials of batches that are contained in another batch: such a batch was split, but its worker
        stored the whole batch after all. Then remove traces of batches without trials, whose workers died.
        """
        for batch in self._duplicates():
            self.store.delete(f"trials/{batch}.parquet")
        whole = {batch_of(name) for name in self.store.names("trials")}
        for name in self.store.names("traces"):
            if batch_of(name) not in whole:
                self.store.delete(name)

    def _duplicates(self) -> list[str]:
        """Names of batches whose trials are all in one other batch; of two equal batches the first by name stays."""
        members: dict[str, set[str]] = {}
        names = self.store.names("trials")
        if not names:
            return []
        from phantom_dist.traces.table_files import files

        with self._parquet_errors():
            stored = files(self.store, names, schema.TRIALS)
            rows = stored.to_table(columns=["trial_id", "__filename"]).to_pylist()
        for row in rows:
            members.setdefault(batch_of(row["__filename"]), set()).add(row["trial_id"])
        batch_with: dict[str, str] = {}  # by trial
        duplicates = []
        for batch in sorted(members, key=lambda b: (-len(members[b]), b)):
            others = {batch_with.get(trial) for trial in members[batch]}
            if len(others) == 1 and None not in others:
                duplicates.append(batch)
            else:
                batch_with |= dict.fromkeys(members[batch], batch)
        return duplicates

    def discard_batch(self, batch: str, model: str) -> None:
        """Remove all files of a batch of trials or probes; its trials first, so that no half batch is visible."""
        for name in (f"trials/{batch}.parquet", _trace_file(batch, model), f"probes/{batch}.parquet"):
            self.store.delete(name)

    def discard_failed(self, outcomes: Collection[str]) -> None:
        """Remove the files of trials and probes in which every row has one of the outcomes, so that these run again."""
        for folder, column in (("trials", "outcome"), ("probes", "refusal")):
            for name in self.store.names(folder):
                table = self.file(name)
                if table.num_rows and set(table[column].to_pylist()) <= set(outcomes):
                    self.store.delete(name)

    # -- worker -----------------------------------------------------------------------------------------------------

    def write_probes(self, batch: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the probe results of one task."""
        self.store.put(f"probes/{batch}.parquet", schema.to_parquet(rows, schema.PROBES))

    def write_batch(
        self,
        batch: str,
        trials: Sequence[Row],
        traces: Mapping[str, Sequence[Row]],
        plugin_columns: Sequence[Quantity] = (),
    ) -> None:
        """Store a batch: its traces by model, then its trials, which make it visible.

        `plugin_columns`: the columns of plug-in instruments in the traces.

        Raises:
            StoreError: a file can't be written; then nothing of the batch is visible.
        """
        for model, rows in traces.items():
            self.store.put(
                _trace_file(batch, model),
                schema.to_parquet(rows, schema.with_columns(schema.TRACES, plugin_columns)),
            )
        self.store.put(f"trials/{batch}.parquet", schema.to_parquet(trials, schema.TRIALS))

    # -- readers ----------------------------------------------------------------------------------------------------

    @property
    def sweeps_of_archive(self) -> list[str]:
        """Names of an archive's sweep files (an archive of runs has the same tables); empty in a run directory."""
        return [name for name in self.store.names("sweeps") if name.endswith(".yaml")]

    def files(self, table: str) -> list[str]:
        """Names of the files of `probes`, `trials` or `traces`; traces of half batches are left out."""
        names = self.store.names(table)
        if table != "traces" or self.sweeps_of_archive:  # an archive has no half batches
            return names
        whole = {batch_of(name) for name in self.store.names("trials")}
        return [name for name in names if batch_of(name) in whole]

    def file(self, name: str) -> pa.Table:
        """The rows of one of these files, in its table's schema.

        Raises:
            StoreError: the file is damaged or foreign.
        """
        from phantom_dist.traces.table_files import dataset

        with self._parquet_errors():
            return dataset(self.store, [name], schema.BY_TABLE[name.split("/", 1)[0]]).to_table()

    def trials(self) -> pa.Table:
        """One row per finished trial; empty if there are none."""
        return self._read("trials")

    def probes(self) -> pa.Table:
        """One row per probed problem; empty if there are none."""
        return self._read("probes")

    def events(self) -> list[RunEvent]:
        """The events of all starts of the run; empty if none were recorded."""
        return read_events(self.store)

    def traces(self, trial_ids: Sequence[str] | None = None) -> pa.Table:
        """One row per trial and step, with the column `model`; half batches are left out.

        Columns of plug-in instruments (`NAME.COLUMN`) come last; they are null in batches without them.
        """
        if trial_ids is None:
            return self._read("traces")
        import pyarrow.compute as pc

        return self._read("traces", pc.field("trial_id").isin(pa.array(trial_ids, pa.string())))

    def traces_of(self, batch: str, model: str) -> pa.Table:
        """The trace rows of one batch of a model.

        Raises:
            StoreError: the file is damaged or foreign.
        """
        name = _trace_file(batch, model)
        return self.file(name) if self.store.exists(name) else schema.TRACES.empty_table()

    def dataset(self, table: str) -> ds.Dataset:
        """A table as a dataset, whose rows are read on demand; only the files' metadata is read here.

        Files of an older schema version are an exception: they are read and migrated here.

        Raises:
            InputError: there is no such table.
            StoreError: a file is damaged, foreign, or of a newer version.
        """
        if table not in _SCHEMAS:
            raise InputError(f"table {table!r}: there is no such table.{did_you_mean(table, _SCHEMAS)}")
        from phantom_dist.traces.table_files import dataset

        with self._parquet_errors():
            return dataset(self.store, self.files(table), _SCHEMAS[table])

    def _read(self, table: str, condition: Any = None) -> pa.Table:
        dataset = self.dataset(table)
        with self._parquet_errors():
            return dataset.to_table(filter=condition)

    @contextmanager
    def _parquet_errors(self) -> Iterator[None]:
        """Translate Arrow's errors into StoreError."""
        try:
            yield
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreError(f"{self.store.location}: a damaged or foreign Parquet file: {error}") from error


def directory_and_sweep(location: str | os.PathLike[str]) -> tuple[RunDirectory, SweepSpec]:
    """A run directory and its sweep.

    Raises:
        InputError: there is no run in the directory.
    """
    directory = RunDirectory(Store(location))
    text = directory.read_sweep()
    if text is None:
        raise InputError(
            f"{location}: no run directory (it holds no sweep.yaml). Start one with `phantom-dist run`."
        )
    return directory, from_yaml(text, source=f"{location}/sweep.yaml")


def directory_and_sweeps(location: str | os.PathLike[str]) -> tuple[RunDirectory, tuple[SweepSpec, ...]]:
    """A run directory and its sweep; or an archive of runs, which has the same tables, and all its sweeps.

    Raises:
        InputError: the directory is neither.
    """
    directory = RunDirectory(Store(location))
    text = directory.read_sweep()
    texts = {name: directory.store.get(name).decode() for name in directory.sweeps_of_archive if text is None}
    if text is not None:
        texts["sweep.yaml"] = text
    if not texts:
        raise InputError(
            f"{location}: no run directory (it holds no sweep.yaml) and no archive (it holds no sweeps/). "
            "Start a run with `phantom-dist run`."
        )
    return directory, tuple(from_yaml(text, source=f"{location}/{name}") for name, text in texts.items())


def trace_folder(model: str) -> str:
    """The folder of a model's traces."""
    return f"traces/model={quote(model, safe='')}"


def model_of(name: str) -> str:
    """The model of a file of traces."""
    return unquote(name.split("/")[1].removeprefix("model="))


def _trace_file(batch: str, model: str) -> str:
    return f"{trace_folder(model)}/{batch}.parquet"


def batch_of(name: str) -> str:
    """The batch of a file."""
    return name.rsplit("/", 1)[-1].removesuffix(".parquet")
