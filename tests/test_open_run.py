"""`open_run`: a run's tables in Arrow, Polars and pandas, what it shows of itself, and its figures."""

from __future__ import annotations

import json
import math
import shutil

import pandas
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import vl_convert
from rich.console import Console

import phantom_dist
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.reports import figures
from phantom_dist.traces import RunDirectory, Store
from tests.servers.s3 import CREDENTIALS, s3_server
from tests.stored_runs import unpacked


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    return unpacked("v1", tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run(location):
    return phantom_dist.open_run(location)


@pytest.fixture
def archive(location, tmp_path):
    """The same tables as an archive holds them: no plan, no state, files of other names, sweeps in a folder."""
    folder = tmp_path / "archive"
    (folder / "sweeps").mkdir(parents=True)
    shutil.copy(location / "sweep.yaml", folder / "sweeps" / "stored.yaml")
    for table in ("trials", "probes"):
        shutil.copytree(location / table, folder / table)
    for number, file in enumerate(sorted(location.glob("traces/*/*.parquet"))):
        to = folder / "traces" / file.parent.name / f"part-{number}.parquet"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    return folder


@pytest.mark.parametrize("table", ["trials", "probes", "traces", "critical_rates"])
def test_the_three_forms_hold_the_same(run, table):
    read = getattr(run, table)
    arrow, frame, lazy = read(), read(as_="pandas"), read(as_="polars")
    assert isinstance(arrow, pa.Table)
    assert isinstance(frame, pandas.DataFrame)
    assert isinstance(lazy, polars.LazyFrame)
    assert lazy.collect().rows(named=True) == polars.from_arrow(arrow).rows(named=True)
    assert pa.Table.from_pandas(frame, arrow.schema, preserve_index=False).equals(arrow)
    assert arrow.schema.field("kappa" if table != "traces" else "logit_gap").metadata[b"unit"] == b"logit"


def test_nan_and_null_stay_two_things(tmp_path):
    directory = RunDirectory(Store(tmp_path))
    directory.write_sweep("x")
    directory.write_plan([])
    rows = [{"trial_id": "a", "step": 0, "loss": math.nan}, {"trial_id": "a", "step": 1, "loss": None}]
    directory.write_batch("b", [{"trial_id": "a", "model": "m"}], {"m": rows})
    run = phantom_dist.open_run(tmp_path)
    assert run.traces()["loss"].null_count == 1
    assert run.traces(as_="polars").collect()["loss"].null_count() == 1
    frame = run.traces(as_="pandas")
    assert pa.Array.from_pandas(frame["loss"].array).null_count == 1


def test_traces_of_some_trials_and_models(run):
    some = run.trials()["trial_id"].to_pylist()[:2]
    one = run.traces(trial_ids=some[0], as_="polars").select("trial_id", "step").collect()
    assert one["step"].to_list() == [0, 1, 2, 3]
    assert set(run.traces(trial_ids=some)["trial_id"].to_pylist()) == set(some)
    assert run.traces(model="zoo:gpt2-a").num_rows == run.traces().num_rows
    assert run.traces(model=["zoo:llama-a"]).num_rows == 0


def test_nothing_is_read_before_it_is_asked_for(location, run, tmp_path):
    """Only the files' ends are read when a table is opened: the rest may be damaged until somebody wants it."""
    copy = shutil.copytree(location, tmp_path / "copy")
    file = next(copy.glob("traces/*/*.parquet"))
    raw = bytearray(file.read_bytes())
    raw[4:400] = bytes(396)
    file.write_bytes(raw)
    opened = phantom_dist.open_run(copy)
    assert isinstance(opened.dataset("traces"), ds.Dataset)
    lazy = opened.traces(as_="polars")
    assert opened.dataset("traces").count_rows() == run.traces().num_rows
    with pytest.raises((OSError, polars.exceptions.PolarsError)):
        lazy.collect()


def test_it_shows_where_it_stands(run):
    assert repr(run) == f"<Run {run.location}>"
    console = Console(width=180, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(run)
    text = console.export_text()
    assert "stored: complete, 6 of 6 trials (2 committed, 2 kinematic, 2 refused_committed)" in text
    assert "0.0016285" in text
    assert "refused_committed" in text
    html = run._repr_html_()
    assert html.startswith("<pre>run stored: complete")
    assert "0.0016285" in html


def test_what_is_shown_is_escaped(tmp_path, location):
    copy = shutil.copytree(location, tmp_path / "<b>run")
    state = json.loads((copy / "state.json").read_text())
    (copy / "state.json").write_text(json.dumps(state | {"state": "interrupted", "reason": "<script>"}))
    shown = phantom_dist.open_run(copy)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_every_figure_is_a_chart_that_can_be_drawn(run):
    of_two_runs = {"rates_compared", "rates_compared_many", "side_by_side", "side_by_side_many"}
    of_events = {"timeline"}  # the stored run is of before there were any
    of_training_sets = {"word_map", "words_learnt"}
    for name in figures.DRAWINGS.keys() - of_two_runs - of_events - of_training_sets:
        assert run.figure(name).to_dict()["datasets"]
    with pytest.raises(InputError, match="has no data for it"):
        run.figure("rates_compared")
    drawn = vl_convert.vegalite_to_svg(run.figure("phase_map").to_dict())
    assert "kinematic" in drawn
    assert "committed" in drawn


def test_an_archive_has_the_same_tables(run, archive):
    opened = phantom_dist.open_run(archive)
    for table in ("trials", "probes", "traces"):
        assert getattr(opened, table)().num_rows == getattr(run, table)().num_rows
    assert opened.status().state == "archived"
    assert opened.critical_rates()["eta_c"].to_pylist() == run.critical_rates()["eta_c"].to_pylist()
    assert "stored: archived, 6 of 6 trials" in opened._repr_html_()


def test_a_run_in_an_object_store(run, location, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as bucket:
        store = Store(bucket.uri("stored"))
        for file in location.rglob("*"):
            if file.is_file():
                store.put(str(file.relative_to(location)), file.read_bytes())
        there = phantom_dist.open_run(bucket.uri("stored"))
        assert there.status() == run.status()
        assert there.traces(as_="polars").collect().height == run.traces().num_rows


def test_wrong_input_is_one_message(run, tmp_path):
    with pytest.raises(InputError, match=r"nothing-here: no run directory .* and no archive"):
        phantom_dist.open_run(tmp_path / "nothing-here")
    with pytest.raises(InputError, match=r"table 'trails'.*Did you mean 'trials'"):
        run.dataset("trails")
    with pytest.raises(InputError, match=r"as_='panda'.*Did you mean 'pandas'"):
        run.trials(as_="panda")
    with pytest.raises(InputError, match=r"figure 'phase'.*phase_map"):
        run.figure("phase")


def test_a_foreign_file_is_named(location, tmp_path):
    copy = shutil.copytree(location, tmp_path / "copy")
    (copy / "trials" / "x.parquet").write_bytes(b"no Parquet")
    with pytest.raises(StoreError, match="damaged or foreign"):
        phantom_dist.open_run(copy).trials()
