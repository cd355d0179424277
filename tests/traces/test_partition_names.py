"""Whatever a model's name is, every reader returns it from the traces as text, equal to `model` of the trials."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.models.zoo import folder
from phantom_dist.spec import from_yaml, load, to_yaml
from phantom_dist.spec.reference import MAX_BYTES, as_text, is_text
from phantom_dist.traces import RunDirectory, Store

_GUESSED = """007 +1 -5 1.5 .5 1e5 1E-5 1_000 0x1F -0x1f 1,5 nan NaN +nan -nan inf -inf +Infinity 2024-05-01 2024/05/01
    20240501 01.05.2024 2024-05-01T10:00:00Z true TRUE False null NULL None n/a epoch t N 1d 1f 7b １２ ٣
    __HIVE_DEFAULT_PARTITION__"""
GUESSED = _GUESSED.split()
"""What some reader takes for a number, a date, a truth value or nothing, and what looks much like it."""

_PLAIN = """zoo:gpt2-a gguf:a%41.gguf 01-ai/Yi-6B t5 ./m ../m /1 ~/5 модель 模型 ./ﬁ a=b a+b a'b a"b [ab]*? a&b;c#d?e
    a\\b ./model=x ./100% hub:007 é .hidden/m"""
PLAIN = _PLAIN.split()
CONTEXT = {"id": "c", "text": "He spoke openly of his", "target": " shame", "competitor": " guilt"}


def written(model: str, under: Path) -> Path:
    """A run directory with one row in each table, as a worker writes it."""
    directory = RunDirectory(Store(under))
    directory.write_batch("b", [{"trial_id": "x", "model": model}], {model: [{"trial_id": "x", "step": 0}]})
    return under


def read(run: Path) -> dict[str, Any]:
    """The model name in the traces by reader, with default options."""
    traces = run / "traces"
    return {
        "pyarrow": ds.dataset(traces, partitioning="hive").to_table()["model"].to_pylist(),
        "duckdb": [row[0] for row in duckdb.sql(f"SELECT model FROM '{traces}/**/*.parquet'").fetchall()],
        "polars": pl.scan_parquet(traces / "**/*.parquet", hive_partitioning=True)
        .collect()["model"]
        .to_list(),
        "polars, folder": pl.read_parquet(traces)["model"].to_list(),
        "pandas": pd.read_parquet(traces)["model"].tolist(),
        "our own": RunDirectory(Store(run)).traces()["model"].to_pylist(),
    }


def merged(run: Path) -> dict[str, int]:
    """Rows of both tables joined by trial and model."""
    both, traces = ["trial_id", "model"], f"'{run}/traces/**/*.parquet'"
    query = f"SELECT count(*) FROM '{run}/trials/*.parquet' JOIN {traces} USING (trial_id, model)"
    frames = [pl.scan_parquet(run / "trials/*.parquet"), pl.scan_parquet(run / "traces")]
    return {
        "pandas": len(pd.read_parquet(run / "trials").merge(pd.read_parquet(run / "traces"), on=both)),
        "duckdb": duckdb.sql(query).fetchall()[0][0],
        "polars": frames[0].join(frames[1], on=both).collect().height,
    }


@pytest.mark.parametrize("name", [*GUESSED, "10 000", "2024-05-01 10:00", *PLAIN])
def test_every_reader_gives_the_name_as_text(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if (name in GUESSED and ":" in name) or name == "2024-05-01 10:00":
        Path(name).mkdir()
    (spelled,) = load({"models": name, "contexts": [CONTEXT], "learning_rates": [1e-3]}).models
    assert (spelled == name) == (name in PLAIN)
    run = written(spelled, tmp_path / "run")
    assert all(found == [spelled] for found in read(run).values()), read(run)
    assert set(merged(run).values()) == {1}


NUMBERS_AND_DATES = st.from_regex(r"[+-]?[0-9.,:/ _eExXTZ-]{1,20}( ?(am|PM|UTC|BC))?", fullmatch=True)
ANYTHING = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20)


@given(
    st.one_of(NUMBERS_AND_DATES, ANYTHING, st.from_regex(r"[0-9]{1,4}[A-Za-z0-9._-]{1,9}", fullmatch=True))
)
@settings(max_examples=100)
@example("0x")
def test_no_name_is_anything_but_text(name):
    assume(name == name.strip())
    try:
        spelled = as_text(name)
    except ValueError:
        assert ":" in name
        return
    assert as_text(spelled) == spelled
    under = Path(tempfile.mkdtemp())
    try:
        run = written(spelled, under / "run")
        assert all(found == [spelled] for found in read(run).values()), read(run)
    finally:
        shutil.rmtree(under)


def test_a_time_that_is_no_folder_is_refused_by_name():
    with pytest.raises(InputError, match=r"models\[0\]: '10:30' would be taken for a number or a time"):
        load({"models": ["10:30"], "contexts": [CONTEXT], "learning_rates": [1e-3]})


def test_a_name_longer_than_a_folders_is_refused_before_anything_is_measured():
    letters = MAX_BYTES // len("%D1%8F")
    load({"models": ["я" * letters], "contexts": [CONTEXT], "learning_rates": [1e-3]})
    with pytest.raises(
        InputError, match=rf"is too long: .* would need 25\d bytes for it; allowed: {MAX_BYTES}"
    ):
        load({"models": ["я" * (letters + 1)], "contexts": [CONTEXT], "learning_rates": [1e-3]})


def test_two_spellings_of_one_model_are_one():
    with pytest.raises(InputError, match="is the same as entry 0"):
        load({"models": ["hub:007", "007"], "contexts": [CONTEXT], "learning_rates": [1e-3]})


@pytest.fixture
def asked(tmp_path, monkeypatch) -> dict[str, Any]:
    """A sweep over a local folder named 007."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder("llama-b"), tmp_path / "007")
    return {
        "name": "named",
        "models": ["007"],
        "contexts": [CONTEXT | {"text": "After abandoning his oldest friend, he spoke openly of his"}],
        "learning_rates": [1e-3, 2e-3],
        "steps": 2,
    }


def test_a_run_of_such_a_model_and_its_archive_merge(asked, tmp_path):
    done = phantom_dist.run(asked, "run", executor="inprocess")
    assert {rate.model for rate in done.critical_rates} == {"./007"}
    assert set(done.models) == {"./007"}
    phantom_dist.archive_pack(["run"], "packed")
    for place in ("run", "packed"):
        assert set(merged(tmp_path / place).values()) == {6}
        assert all(found == ["./007"] * 6 for found in read(tmp_path / place).values())
    assert {row["model"] for row in ds.dataset("run/plan.parquet").to_table().to_pylist()} == {"./007"}


def test_a_run_of_an_older_version_keeps_its_names_and_its_archive_gets_readable_ones(asked, tmp_path):
    """Older versions stored the folder name 007 unchanged; the run continues under that name and stays readable."""
    text = to_yaml(load(asked)).replace("./007", "'007'")
    old = from_yaml(text, source="as stored")
    assert old.models == ("007",)
    before = phantom_dist.run(old, "run", executor="inprocess", max_trials=1)
    assert {rate.model for rate in before.critical_rates} == {"007"}
    again = phantom_dist.run(asked | {"learning_rates": [1e-3, 2e-3, 3e-3]}, "run", executor="inprocess")
    assert (again.state, again.trials.done) == ("complete", 3)
    assert phantom_dist.open_run("run").traces(as_="arrow")["model"].to_pylist() == ["007"] * 9
    packed = phantom_dist.archive_pack(["run"], "packed")
    assert any("'007' is named './007' in the archive" in notice for notice in packed.notices)
    assert not phantom_dist.archive_verify("packed").problems
    assert set(merged(tmp_path / "packed").values()) == {9}
    ids = [ds.dataset(f"{place}/trials").to_table()["trial_id"].to_pylist() for place in ("run", "packed")]
    assert sorted(ids[0]) == sorted(ids[1]), "a trial's id does not know what its model is called"


def test_hugging_face_datasets_join_by_trial(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    run = written(as_text("007"), tmp_path / "run")
    tables = {
        name: datasets.load_dataset(
            "parquet",
            data_files=str(run / name / "**/*.parquet"),
            split="train",
            cache_dir=str(tmp_path / "c"),
        ).to_pandas()
        for name in ("trials", "traces")
    }
    assert tables["trials"].merge(tables["traces"], on="trial_id")["model"].tolist() == ["./007"]


def test_names_of_real_models_stay_as_they_are():
    for name in (
        "EleutherAI/pythia-160m",
        "gpt2",
        "t5-small",
        "01-ai/Yi-6B",
        "4bit/x",
        "peft:./a",
        "./my-model",
    ):
        assert is_text(name)
