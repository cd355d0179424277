"""The layout of a run directory, and what a reader of it sees.

| name | written by | when |
|---|---|---|
| `sweep.yaml` | driver | at the start: the normalised specification |
| `plan.parquet` | driver | at the start and at the end |
| `state.json` | driver | heartbeat, every few seconds |
| `probes/BATCH.parquet` | worker | one row per problem |
| `traces/model=…/BATCH.parquet` | worker | before the batch's trials: one row per trial and step |
| `trials/BATCH.parquet` | worker | last: a batch exists once this file does |

| `.leases/` | driver, workers | while a run lasts: see `leases` |

A batch's files are named after its content, so a repeated batch replaces itself and never doubles a row. Traces are
stored before trials: a batch that died between the two is invisible here, and `discard_halves` removes its traces
before a run continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.dataset as ds

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.spec import SweepSpec, from_yaml
from phantom_dist.traces import schema
from phantom_dist.traces.store import Store

Row = dict[str, Any]

_CANCEL = ".cancel"


class RunDirectory:
    """Reads and writes the files of one run."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def under(self, lease: str) -> RunDirectory:
        """The same run; what is written there becomes visible only while the lease lasts."""
        return RunDirectory(self.store.under(lease))

    # -- driver -----------------------------------------------------------------------------------------------------

    def write_sweep(self, text: str) -> None:
        """Store the normalised specification."""
        self.store.put("sweep.yaml", text.encode())

    def read_sweep(self) -> str | None:
        """The normalised specification, or None if this is no run directory (a lone sweep file makes none)."""
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
        """Ask the run's driver to stop, from any machine that sees the directory."""
        self.store.put(_CANCEL, b"")

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for that since this driver began."""
        return self.store.exists(_CANCEL)

    def forget_cancel(self) -> None:
        """A new driver begins."""
        self.store.delete(_CANCEL)

    def discard_halves(self) -> None:
        """Remove traces whose batch has no trials: half of a batch that died. Only while no worker writes.

        Before that, batches all of whose trials stand in another, larger one: a batch that had been given up and run
        again in parts, and came after all.
        """
        for batch in self._doubled():
            self.store.delete(f"trials/{batch}.parquet")
        whole = {batch_of(name) for name in self.store.names("trials")}
        for name in self.store.names("traces"):
            if batch_of(name) not in whole:
                self.store.delete(name)

    def _doubled(self) -> list[str]:
        """Names of batches whose trials all stand in another batch; of two equal ones the first by name stays."""
        members: dict[str, set[str]] = {}
        files = self._read(self.store.names("trials"), schema.TRIALS, columns=["trial_id", "__filename"])
        for row in files.to_pylist():
            members.setdefault(batch_of(row["__filename"]), set()).add(row["trial_id"])
        found: dict[str, str] = {}
        doubled = []
        for batch in sorted(members, key=lambda b: (-len(members[b]), b)):
            others = {found.get(trial) for trial in members[batch]}
            if len(others) == 1 and None not in others:  # all of them in one
                doubled.append(batch)
            else:
                found |= dict.fromkeys(members[batch], batch)
        return doubled

    def discard_batch(self, batch: str, model: str) -> None:
        """Remove a batch of trials or probes, whatever of it is there; its trials first, so that no half is visible."""
        for name in (f"trials/{batch}.parquet", _trace_file(batch, model), f"probes/{batch}.parquet"):
            self.store.delete(name)

    def discard_failed(self, outcomes: Collection[str]) -> None:
        """Remove batches and probes all of whose rows ended in one of the outcomes, so that they run again."""
        for folder, column in (("trials", "outcome"), ("probes", "refusal")):
            for name in self.store.names(folder):
                table = self.file(name)
                if table.num_rows and set(table[column].to_pylist()) <= set(outcomes):
                    self.store.delete(name)

    # -- worker -----------------------------------------------------------------------------------------------------

    def write_probes(self, batch: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the origins of a batch of problems."""
        self.store.put(f"probes/{batch}.parquet", schema.to_parquet(rows, schema.PROBES))

    def write_batch(self, batch: str, trials: Sequence[Row], traces: Mapping[str, Sequence[Row]]) -> None:
        """Store a batch: its traces by model, then its trials, which make it visible.

        Raises:
            StoreError: nothing of the batch is visible then.
        """
        for model, rows in traces.items():
            self.store.put(_trace_file(batch, model), schema.to_parquet(rows, schema.TRACES))
        self.store.put(f"trials/{batch}.parquet", schema.to_parquet(trials, schema.TRIALS))

    # -- readers ----------------------------------------------------------------------------------------------------

    def files(self, table: str) -> list[str]:
        """The names of the files of `probes`, `trials` or `traces`; of traces those whose batch has trials."""
        if table != "traces":
            return self.store.names(table)
        whole = {batch_of(name) for name in self.store.names("trials")}
        return [name for name in self.store.names("traces") if batch_of(name) in whole]

    def file(self, name: str) -> pa.Table:
        """The rows of one of these files, in its table's schema.

        Raises:
            StoreError: it is damaged or foreign.
        """
        return self._read([name], schema.BY_TABLE[name.split("/", 1)[0]])

    def trials(self) -> pa.Table:
        """One row per finished trial; empty if there are none."""
        return self._read(self.files("trials"), schema.TRIALS)

    def probes(self) -> pa.Table:
        """One row per probed problem; empty if there are none."""
        return self._read(self.files("probes"), schema.PROBES)

    def traces(self, trial_ids: Sequence[str] | None = None) -> pa.Table:
        """One row per trial and step, with the column `model`; batches without trials are left out."""
        with_model = schema.TRACES.append(pa.field("model", pa.string()))
        wanted = None if trial_ids is None else ds.field("trial_id").isin(pa.array(trial_ids, pa.string()))
        by_model = ds.HivePartitioning(pa.schema([("model", pa.string())]), segment_encoding="uri")
        return self._read(self.files("traces"), with_model, wanted, by_model)

    def _read(
        self,
        names: Sequence[str],
        table_schema: pa.Schema,
        wanted: ds.Expression | None = None,
        partitioning: ds.Partitioning | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        if not names:
            return table_schema.empty_table()
        try:
            dataset = ds.dataset(
                [self.store.path(name) for name in names],
                filesystem=self.store.filesystem,
                schema=table_schema,
                format="parquet",
                partitioning=partitioning,
                partition_base_dir=self.store.path("traces"),
            )
            for fragment in dataset.get_fragments():
                _check_is_ours(fragment, table_schema)
            return dataset.to_table(columns=columns, filter=wanted)
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreError(f"{self.store.location}: a damaged or foreign Parquet file: {error}") from error


def open_run(location: str | os.PathLike[str]) -> tuple[RunDirectory, SweepSpec]:
    """A run directory and the sweep that it belongs to.

    Raises:
        InputError: there is no run in that directory.
    """
    directory = RunDirectory(Store(location))
    text = directory.read_sweep()
    if text is None:
        raise InputError(
            f"{location}: no run directory (it holds no sweep.yaml). Start one with `phantom-dist run`."
        )
    return directory, from_yaml(text, source=f"{location}/sweep.yaml")


def _check_is_ours(fragment: ds.Fragment, table_schema: pa.Schema) -> None:
    """A file of another schema would be cast or padded with nulls in silence."""
    found = fragment.physical_schema.metadata or {}
    if int(found.get(b"schema_version", 0)) > SCHEMA_VERSION:
        raise pa.ArrowInvalid(f"{fragment.path} was written by a newer phantom_dist; update to read it")
    if found.get(b"table") != table_schema.metadata[b"table"]:
        raise pa.ArrowInvalid(
            f"{fragment.path} is no file of the table {table_schema.metadata[b'table'].decode()}"
        )


def trace_folder(model: str) -> str:
    """Where a model's traces are."""
    return f"traces/model={quote(model, safe='')}"


def model_of(name: str) -> str:
    """The model whose traces a file holds."""
    return unquote(name.split("/")[1].removeprefix("model="))


def _trace_file(batch: str, model: str) -> str:
    return f"{trace_folder(model)}/{batch}.parquet"


def batch_of(name: str) -> str:
    """The batch that a file holds."""
    return name.rsplit("/", 1)[-1].removesuffix(".parquet")
