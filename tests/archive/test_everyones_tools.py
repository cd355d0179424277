"""An archive opens offline in everyone's tools, which agree; its documents pass their standards' validators."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from tests.environments import python_of

VALIDATE_CRATE = Path(__file__).with_name("validate_crate.py")


def test_all_tools_agree(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean gap of row 0 by trial's outcome: both tables, joined."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    trials = ds.dataset(packed / "trials", format="parquet").to_table(columns=["trial_id", "outcome"])
    traces = ds.dataset(packed / "traces", format="parquet", partitioning="hive")
    first = traces.to_table(columns=["trial_id", "logit_gap", "model"], filter=pc.field("step") == 0)
    joined = (
        trials.join(first, "trial_id", join_type="inner")
        .group_by("outcome")
        .aggregate([("logit_gap", "mean")])
    )
    by_pyarrow = dict(zip(joined["outcome"].to_pylist(), joined["logit_gap_mean"].to_pylist(), strict=True))
    assert len(by_pyarrow) >= 4

    by_duckdb = dict(
        duckdb.sql(
            f"select outcome, avg(logit_gap) from '{packed}/trials/*.parquet' join "
            f"read_parquet('{packed}/traces/**/*.parquet', hive_partitioning = true) using (trial_id) "
            "where step = 0 group by outcome"
        ).fetchall()
    )
    lazy = pl.scan_parquet(packed / "traces/**/*.parquet", hive_partitioning=True).filter(pl.col("step") == 0)
    frame = (
        pl.scan_parquet(packed / "trials/*.parquet")
        .join(lazy, on="trial_id")
        .group_by("outcome")
        .agg(pl.col("logit_gap").mean())
        .collect()
    )
    by_polars = dict(frame.iter_rows())
    by_pandas = (
        pd.read_parquet(packed / "trials")[["trial_id", "outcome"]]
        .merge(pd.read_parquet(packed / "traces").query("step == 0"), on="trial_id")
        .groupby("outcome")["logit_gap"]
        .mean()
        .to_dict()
    )
    loaded = {
        name: datasets.load_dataset(str(packed), name, split="train", cache_dir=str(tmp_path)).to_pandas()
        for name in ("trials", "traces", "probes")
    }
    by_datasets = (
        loaded["trials"][["trial_id", "outcome"]]
        .merge(loaded["traces"].query("step == 0"), on="trial_id")
        .groupby("outcome")["logit_gap"]
        .mean()
        .to_dict()
    )
    for other in (by_duckdb, by_polars, by_pandas, by_datasets):
        assert other == pytest.approx(by_pyarrow, rel=1e-12)


def test_the_cards_snippet_runs(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (packed / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(packed)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    exec(compile(snippet, "README.md", "exec"), {})


@pytest.mark.slow
def test_the_documents_are_valid(packed: Path) -> None:
    python = python_of("publishing")

    def run(*command: str | Path) -> str:
        done = subprocess.run([python, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    cffconvert = python.with_name("cffconvert")
    subprocess.run(
        [cffconvert, "--validate", "--infile", packed / "CITATION.cff"], check=True, capture_output=True
    )
    assert json.loads(run(VALIDATE_CRATE, packed).splitlines()[-1]) == []
    code = (
        "import sys, json, logging, mlcroissant as mlc; d = mlc.Dataset(jsonld=sys.argv[1]); "
        "assert not d.metadata.issues.errors; "
        "print(json.dumps({t: sum(1 for _ in d.records(record_set=t)) for t in ('trials', 'probes', 'traces')}))"
    )
    counted = json.loads(run("-c", code, packed / "croissant.json").splitlines()[-1])
    assert counted == json.loads((packed / "provenance.json").read_text())["data"]["rows"]
