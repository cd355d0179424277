"""Packing: the same bytes from the same runs, one row per trial, conflicts named, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import phantom_dist
from phantom_dist import archive_pack, archive_verify
from phantom_dist.archive.checksums import sums_of
from phantom_dist.archive.database import database
from phantom_dist.archive.documents import figures
from phantom_dist.archive.pack import merge
from phantom_dist.archive.pack.parquet import write_sorted
from phantom_dist.archive.pack.sources import open_sources
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.law.file import read_law, write_law
from phantom_dist.traces import schema
from tests.archive.synthetic import write_run

from .conftest import CONTEXTS

Row = dict[str, Any]


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds; where a test is about rows it may be left out."""
    monkeypatch.setattr(figures, "FIGURES", {})


def copy(run: Path, to: Path, change: dict[str, Callable[[Row], Row]] | None = None) -> Path:
    """A copy of a run, its rows changed by table."""
    shutil.copytree(run, to)
    for table, new in (change or {}).items():
        for file in (to / table).rglob("*.parquet"):
            before = pq.ParquetFile(file).read()
            pq.write_table(
                pa.Table.from_pylist([new(row) for row in before.to_pylist()], before.schema), file
            )
    return to


def trials(archive: Path) -> list[Row]:
    rows: list[Row] = ds.dataset(archive / "trials", format="parquet").to_table().to_pylist()
    return rows


@pytest.mark.parametrize(
    ("column", "lie", "wrong"),
    [
        ("schedule", lambda text: text.replace("0.1", "0.2"), 2),
        ("warmup_steps", lambda steps: steps + (steps == 2), 2),
        ("gradient_clipping", lambda norm: norm and norm / 2, 6),
        ("decay", lambda decay: None, 12),
    ],
)
def test_settings_of_a_recipe_keep_their_ids(
    tmp_path: Path, without_figures: None, column: str, lie: Callable[[Any], Any], wrong: int
) -> None:
    """The text of a row's schedule has all of its settings; another setting is another id."""
    sweep = {
        "models": ["zoo:gpt2-a"],
        "contexts": [CONTEXTS[0].model_dump()],
        "learning_rates": [1e-3],
        "steps": 5,
        "schedule": [
            *("constant", "linear", "cosine", "inverse_sqrt"),
            {"cosine_with_min_lr": {"min_lr_rate": 0.1, "warmup_ratio": 0.3}},
            {"warmup_stable_decay": {"warmup_steps": 1, "decay_steps": 2, "warmup_from_zero": True}},
        ],
        "gradient_clipping": [None, 0.5],
        "optimizers": {"sgd": {"weight_decay": 0.1, "decay": "weights"}},
    }
    run = tmp_path / "run"
    phantom_dist.run(sweep, run, executor="inprocess")
    archive_pack([run], tmp_path / "packed")
    stored = {row["schedule"]: row["warmup_steps"] for row in trials(tmp_path / "packed")}
    assert stored["cosine_with_min_lr(min_lr_rate=0.1)"] == 2
    assert stored["warmup_stable_decay(warmup_from_zero=true, decay_steps=2)"] == 1
    assert len(stored) == 6
    assert len(trials(tmp_path / "packed")) == 12
    edited = copy(run, tmp_path / "edited", {"trials": lambda row: row | {column: lie(row[column])}})
    with pytest.raises(StoreError, match=f"{wrong} trial_id"):
        archive_pack([edited], tmp_path / "lies")


@pytest.mark.parametrize("rates", [[1e-3], {"critical": {"tolerance": 0.1}}], ids=["rates", "search"])
def test_pairs_refused_for_any_reason_keep_their_ids(
    tmp_path: Path, without_figures: None, rates: object
) -> None:
    """Under full fine-tuning, and under LoRA whose targets only the model resolves; an edit of a row is noticed."""
    good = CONTEXTS[0].model_dump()
    contexts = [
        good | {"id": "words", "target": " unheardof"},
        good | {"id": "prompt", "text": "Xyzzy " + good["text"]},
        good | {"id": "committed", "target": good["competitor"], "competitor": good["target"]},
        good | {"id": "synonym", "competitor": "auto"},
    ]
    sweep = {
        "models": ["zoo:llama-a"],
        "contexts": contexts,
        "thresholds": {"synonym_floor_rms": 1000},
        "methods": ["full", "lora", {"lora": {"rank": 4, "targets": ["q_proj", "o_proj"]}}],
        "optimizers": ["sgd", "adamw"],
        "learning_rates": rates,
        "steps": 2,
    }
    run = tmp_path / "run"
    phantom_dist.run(sweep, run, executor="inprocess")
    archive_pack([run], tmp_path / "packed")
    stored = trials(tmp_path / "packed")
    assert {row["outcome"] for row in stored} >= {
        "refused_tokens",
        "refused_committed",
        "refused_not_synonym",
    }
    assert len(stored) == 4 * 3 * 2
    edited = copy(run, tmp_path / "edited", {"trials": lambda row: row | {"steps": 3}})
    with pytest.raises(StoreError, match="24 trial_id"):
        archive_pack([edited], tmp_path / "none")


def test_what_an_archive_holds(packed: Path, runs: list[Path]) -> None:
    stored = [row for run in runs for row in ds.dataset(run / "trials").to_table().to_pylist()]
    found = trials(packed)
    assert {row["trial_id"] for row in found} == {row["trial_id"] for row in stored}
    by_id = {row["trial_id"]: row for row in found}
    for row in stored:
        assert repr(by_id[row["trial_id"]]) == repr(row | {"host": None})
    names = set(sums_of(packed))
    assert {"README.md", "CITATION.cff", "LICENSE", "provenance.json", "croissant.json"} <= names
    assert {"sweeps/tiny.yaml", "sweeps/wild.yaml", "sweeps/refused.yaml", "figures/phase-map.png"} <= names
    traces = ds.dataset(packed / "traces", partitioning="hive").to_table()
    assert traces.num_rows == sum(row["steps_taken"] + 1 for row in stored if row["steps_taken"] is not None)
    assert "zoo:gpt2-a" in set(traces["model"].to_pylist())
    assert pq.read_schema(next((packed / "trials").iterdir())).equals(schema.TRIALS, check_metadata=False)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "sha256sums.txt"], cwd=packed, check=True)


def test_nothing_says_which_host_it_was(packed: Path, runs: list[Path]) -> None:
    hosts = {row["host"] for run in runs for row in ds.dataset(run / "trials").to_table().to_pylist()}
    assert hosts != {None}
    words = {host.encode() for host in hosts if len(host) > 3}
    for path in packed.rglob("*"):
        assert not path.is_file() or not any(word in path.read_bytes() for word in words)


def test_the_same_runs_in_any_order_give_the_same_bytes(
    packed: Path, runs: list[Path], tmp_path: Path
) -> None:
    archive_pack(runs[::-1], tmp_path / "again", authors=["Group of the tests"])
    assert sums_of(tmp_path / "again") == sums_of(packed)


@pytest.mark.usefixtures("without_figures")
def test_equal_copies_merge(runs: list[Path], tmp_path: Path) -> None:
    def a_little_off(row: Row) -> Row:
        return row | {"logit_gap": row["logit_gap"] + 5e-4 if row["step"] == 2 else row["logit_gap"]}

    other = copy(runs[0], tmp_path / "other", {"traces": a_little_off})
    one, both = (tmp_path / name for name in ("one", "both"))
    archive_pack(runs[:1], one)
    result = archive_pack([runs[0], other], both)
    assert result.duplicates == result.trials == len(trials(one))
    tables = [name for name in sums_of(one) if name.startswith(("trials/", "traces/", "probes/"))]
    assert {name: sums_of(one)[name] for name in tables} == {name: sums_of(both)[name] for name in tables}
    assert json.loads((both / "provenance.json").read_text())["merged"]["duplicates"] == result.trials


CONFLICTS = {
    "logit_gap at step 1": {
        "traces": lambda row: row | {"logit_gap": row["logit_gap"] - 0.2 * (row["step"] == 1)}
    },
    "gap_0": {"trials": lambda row: row | {"gap_0": row["gap_0"] - 0.01}},
    "kappa": {"trials": lambda row: row | {"kappa": row["kappa"] * 1.1}},
    "weights": {"trials": lambda row: row | {"weights": "f" * 64}},
    "steps_taken": {"trials": lambda row: row | {"steps_taken": 3}},
    "outcome": {"trials": lambda row: row | {"outcome": "refused_tokens"}},
    "target_token": {"probes": lambda row: row | {"target_token": 1}},
}  # fmt: skip


@pytest.mark.parametrize("column", CONFLICTS)
def test_a_conflict_is_named_and_nothing_is_written(runs: list[Path], tmp_path: Path, column: str) -> None:
    other = copy(runs[0], tmp_path / "other", CONFLICTS[column])
    with pytest.raises(InputError, match=f": {column} is ") as caught:
        archive_pack([runs[0], other], tmp_path / "out")
    assert str(runs[0]) in str(caught.value)
    assert str(other) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "one added later"])
def test_gaps_may_differ_ten_times_more_unless_a_step_is_linear_in_the_gradient(
    runs: list[Path], tmp_path: Path, optimizer: str
) -> None:
    """An optimizer that this version has no measured tolerance for counts as sensitive to rounding, like AdamW."""

    def renamed(row: Row) -> Row:
        return row | {"optimizer": optimizer}

    def shifted(by: float) -> Callable[[Row], Row]:
        return lambda row: row | {"logit_gap": row["logit_gap"] + by * (row["step"] == 1)}

    one = copy(runs[0], tmp_path / "one", {"trials": renamed})
    for by, differs in ((5e-4, False), (5e-3, optimizer == "sgd"), (0.2, True)):
        other = copy(runs[0], tmp_path / str(by), {"trials": renamed, "traces": shifted(by)})
        refused = pytest.raises(InputError, match="logit_gap at step 1 is") if differs else nullcontext()
        with database(tmp_path / f"work-{by}", "test") as connection, refused:
            merge.load(connection, open_sources([one, other]), lambda what, done, total: None)


@pytest.mark.usefixtures("without_figures")
def test_a_failure_is_superseded_by_a_result(runs: list[Path], tmp_path: Path) -> None:
    trained = ("silent", "commit_step", "jump_step", "jump_size", "jump_readout_share", "steps_taken")
    nothing = dict.fromkeys((*trained, "gap_final", "loss_final", "drag_final"))

    def failed(row: Row) -> Row:
        return (
            row
            | nothing
            | {"outcome": "out_of_memory", "error": "no room", "finished_at": row["finished_at"]}
        )

    other = copy(runs[0], tmp_path / "failed", {"trials": failed})
    shutil.rmtree(other / "traces")
    result = archive_pack([other, runs[0]], tmp_path / "out")
    assert {row["outcome"] for row in trials(tmp_path / "out")} == {"committed", "kinematic"}
    assert result.duplicates == result.trials
    merged = json.loads((tmp_path / "out" / "provenance.json").read_text())["merged"]
    assert merged["superseded_failures"] == result.trials


def test_rows_that_break_an_invariant_are_not_packed(runs: list[Path], tmp_path: Path) -> None:
    other = copy(runs[0], tmp_path / "other", {"traces": lambda row: row | {"drag": row["drag"] + 0.1}})
    with pytest.raises(StoreError, match="Φ = σ"):
        archive_pack([other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_figures")
def test_laws_go_along(runs: list[Path], tmp_path: Path) -> None:
    run = copy(runs[0], tmp_path / "run")
    write_law(read_law(), run / "law.json")
    write_law(read_law(), tmp_path / "mine.json")
    (tmp_path / "other.json").write_text((tmp_path / "mine.json").read_text() + "\n")
    archive_pack([run], tmp_path / "out", laws=[tmp_path / "mine.json", tmp_path / "other.json"])
    assert sorted(path.name for path in (tmp_path / "out" / "laws").iterdir()) == ["mine.json", "other.json"]
    assert not archive_verify(tmp_path / "out").problems


def test_input_that_is_wrong(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "law.json").write_text("{}")
    for arguments, more, words in (
        (([], tmp_path / "a"), {}, "at least one run directory"),
        (([tmp_path], tmp_path / "a"), {}, "no run directory"),
        (([runs[0], runs[0]], tmp_path / "a"), {}, "given twice"),
        ((runs, tmp_path / "taken"), {}, "exists already"),
        ((runs, "s3://bucket/archive"), {}, "local folder"),
        ((runs, tmp_path / "a"), {"license": "my own"}, "no SPDX licence"),
        ((runs, tmp_path / "a"), {"authors": [" "]}, "--author"),
        ((runs, tmp_path / "a"), {"title": " "}, "--title"),
        ((runs, tmp_path / "a"), {"laws": [tmp_path / "law.json"]}, "law"),
    ):
        with pytest.raises(InputError, match=words):
            archive_pack(*arguments, **more)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["law.json", "taken"]


def test_a_damaged_run_is_a_store_error(runs: list[Path], tmp_path: Path) -> None:
    run = copy(runs[0], tmp_path / "run")
    next((run / "trials").iterdir()).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="damaged or foreign"):
        archive_pack([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_kill_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    write_run(tmp_path / "run", rows=30_000)
    out = tmp_path / "archive"
    command = [
        sys.executable,
        "-m",
        "phantom_dist",
        "archive",
        "pack",
        str(tmp_path / "run"),
        "--out",
        str(out),
    ]
    staging = tmp_path / ".archive.packing"
    for written in ("trials", "traces", "provenance.json"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not (staging / written).exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert staging.exists()
        assert not out.exists()
    assert archive_pack([tmp_path / "run"], out).rows >= 30_000
    assert not archive_verify(out).problems
    assert not staging.exists()


def test_two_that_pack_to_one_name(runs: list[Path], tmp_path: Path) -> None:
    from phantom_dist.archive.pack.staging import staged

    with pytest.raises(InputError, match="another process is packing"), staged(tmp_path / "out"):
        archive_pack(runs, tmp_path / "out")


def test_a_look_up_reads_little(tmp_path: Path) -> None:
    """Of 13 row groups a trial's traces touch one or two, and a model's trials are found by statistics."""
    rows = write_run(tmp_path / "run", rows=800_000, contexts=2)
    reader = ds.dataset(sorted((tmp_path / "run/traces").rglob("*.parquet")), schema=schema.TRACES).to_table()
    ordered = reader.sort_by([("trial_id", "ascending"), ("step", "ascending")])
    assert write_sorted(tmp_path, "traces/model=x", ordered.to_batches(), ("trial_id", "step")) == rows
    file = tmp_path / "traces/model=x/0000.parquet"
    wanted = ordered["trial_id"][rows // 2].as_py()
    meta = pq.read_metadata(file)
    assert meta.num_row_groups == -(-rows // 65_536)
    columns = meta.row_group(0)
    chunks = [columns.column(i) for i in range(columns.num_columns)]
    assert all(chunk.has_offset_index and chunk.has_column_index for chunk in chunks)
    assert chunks[0].is_stats_set
    (fragment,) = ds.dataset(file).get_fragments(filter=ds.field("trial_id") == wanted)
    touched = fragment.split_by_row_group(ds.field("trial_id") == wanted)
    assert 1 <= len(touched) <= 2
    size = sum(meta.row_group(group.id).total_byte_size for part in touched for group in part.row_groups)
    assert size < 0.17 * sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    found = ds.dataset(file).to_table(filter=ds.field("trial_id") == wanted)
    assert found["step"].to_pylist() == list(range(found.num_rows))
