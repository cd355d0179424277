"""Run directories that earlier versions wrote still open, in every reader; newer ones are refused by name."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import phantom_dist
from phantom_dist.core.errors import StoreError
from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.traces import RunDirectory, Store, migrations, table_files
from phantom_dist.traces.digest import results_digest
from tests.stored_runs import VERSIONS, unpacked

DIGEST = "d8db1e3ddcb143bae0ce20807824f5c50a1acaeeb7d39e645453f712c11bd94e"


@pytest.fixture(params=VERSIONS)
def stored(request, tmp_path):
    return unpacked(request.param, tmp_path)


def test_there_is_a_stored_run_of_every_version():
    assert [f"v{number + 1}" for number in range(SCHEMA_VERSION)] == list(VERSIONS)


def test_its_results_are_what_they_were(stored):
    assert results_digest(RunDirectory(Store(stored))) == DIGEST


def test_status_and_open_run(stored):
    now = phantom_dist.status(stored)
    assert (now.run, now.state) == ("stored", "complete")
    assert now.outcomes == {"committed": 2, "kinematic": 2, "refused_committed": 2}
    rates = [r.eta_c for r in now.critical_rates]
    assert rates[:2] == pytest.approx([0.001628452, 0.01585433], rel=1e-6)
    assert rates[2:] == [None, None]
    assert phantom_dist.open_run(stored).status() == now


def test_report(stored, tmp_path):
    assert phantom_dist.report([stored], tmp_path / "page.html").critical_rates == 2


def test_resume_finds_nothing_to_do(stored):
    before = {file: file.read_bytes() for file in stored.rglob("*.parquet") if file.name != "plan.parquet"}
    assert phantom_dist.resume(stored, executor="inprocess").state == "complete"
    assert {
        file: file.read_bytes() for file in stored.rglob("*.parquet") if file.name != "plan.parquet"
    } == before


def marked(file, version: int) -> None:
    """The file as a program of that schema version would have marked it."""
    table = pq.read_table(file, partitioning=None)
    metadata = table.schema.metadata | {b"schema_version": str(version).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), file)


def test_a_newer_file_is_refused(stored):
    file = next(stored.glob("trials/*.parquet"))
    marked(file, SCHEMA_VERSION + 1)
    with pytest.raises(
        StoreError, match=rf"{file.name} was written by a newer phantom_dist; update to read it"
    ):
        RunDirectory(Store(stored)).trials()


def test_an_older_file_is_migrated_as_it_is_read(stored, monkeypatch):
    """A version before the first, in which the gap was called margin and counted the other way round."""
    first, second = sorted(stored.glob("traces/*/*.parquet"))
    today = RunDirectory(Store(stored)).traces().sort_by([("trial_id", "ascending"), ("step", "ascending")])
    table = pq.read_table(first, partitioning=None)
    place = table.schema.get_field_index("logit_gap")
    margin = pa.compute.negate(table["logit_gap"])
    old = table.set_column(place, "margin", margin).drop_columns("readout_hash")
    pq.write_table(old.replace_schema_metadata(table.schema.metadata), first)
    marked(first, 0)

    def forward(stored: pa.Table) -> pa.Table:
        place = stored.schema.get_field_index("margin")
        return stored.set_column(place, "logit_gap", pa.compute.negate(stored["margin"]))

    monkeypatch.setitem(migrations.STEPS, 0, {"traces": forward})
    directory = RunDirectory(Store(stored))
    read = directory.traces().sort_by([("trial_id", "ascending"), ("step", "ascending")])
    assert read.schema.equals(today.schema)
    assert read.drop_columns("readout_hash").equals(today.drop_columns("readout_hash"))
    wanted = read["trial_id"][0].as_py()
    assert set(directory.traces([wanted])["trial_id"].to_pylist()) == {wanted}
    assert set(read["model"].to_pylist()) == {"zoo:gpt2-a"}
    assert len(list(directory.dataset("traces").get_fragments())) == 2, "the new file is not read beforehand"
    directory.discard_halves()
    assert first.exists()
    assert second.exists()


def test_versions_are_read_from_the_files_alone(stored, monkeypatch):
    """Today's files become the old ones once the version is raised."""
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(table_files, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    steps = {"trials": lambda table: table.set_column(0, "trial_id", pa.array(["x"] * table.num_rows))}
    monkeypatch.setitem(migrations.STEPS, SCHEMA_VERSION, steps)
    assert set(RunDirectory(Store(stored)).trials()["trial_id"].to_pylist()) == {"x"}
