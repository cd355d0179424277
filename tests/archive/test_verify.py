"""An archive is damaged in every way that we could think of; `verify` finds each, and accuses none that is intact."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phantom_dist import archive_pack, archive_verify
from phantom_dist.archive import database
from phantom_dist.archive.checksums import sha256_of
from phantom_dist.archive.pack import ranges
from phantom_dist.core.errors import InputError
from phantom_dist.core.outcome import Outcome
from tests.archive.forge import Row, edit, reseal, table_file
from tests.archive.synthetic import write_run

Random = random.Random


def files(archive: Path) -> list[Path]:
    return sorted(path for path in archive.rglob("*") if path.is_file())


# -- files ----------------------------------------------------------------------------------------------------------


def flip_a_byte(archive: Path, rng: Random) -> None:
    path = rng.choice(files(archive))
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut_a_file(archive: Path, rng: Random) -> None:
    path = rng.choice(files(archive))
    os.truncate(path, rng.randrange(path.stat().st_size))


def remove_a_file(archive: Path, rng: Random) -> None:
    rng.choice(files(archive)).unlink()


def remove_a_file_and_its_checksum(archive: Path, rng: Random) -> None:
    path = rng.choice([p for p in files(archive) if p.suffix in (".parquet", ".yaml", ".png", ".md", ".cff")])
    path.unlink()
    reseal(archive)


def add_a_file(archive: Path, rng: Random) -> None:
    shutil.copy(table_file(archive, "trials"), archive / "trials" / f"{rng.randrange(1, 9999):04d}.parquet")


def add_a_foreign_file_with_checksum(archive: Path, rng: Random) -> None:
    name = rng.choice(
        ["setup.py", "traces/model=x/notes.txt", "trials/.hidden.parquet", "a folder/0000.parquet"]
    )
    (archive / name).parent.mkdir(exist_ok=True)
    (archive / name).write_text("import this")
    reseal(archive)


def link_a_file(archive: Path, rng: Random) -> None:
    path = rng.choice([p for p in files(archive) if p.suffix != ".txt"])
    moved = archive.parent / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)


def put_a_pipe(archive: Path, rng: Random) -> None:
    os.mkfifo(archive / rng.choice(["trials/0001.parquet", "sweeps/pipe.yaml", "LICENCE"]))


def link_a_folder(archive: Path, rng: Random) -> None:
    folder = archive / rng.choice(["trials", "traces", "sweeps"])
    moved = archive.parent / "elsewhere"
    folder.rename(moved)
    folder.symlink_to(moved)


def name_a_file_outside(archive: Path, rng: Random) -> None:
    outside = rng.choice(["../elsewhere", "/etc/hostname", "trials/../../x", "sweeps/../sweeps/tiny.yaml"])
    with (archive / "sha256sums.txt").open("a") as stream:
        stream.write(f"{'0' * 64}  {outside}\n")


def swap_two_files(archive: Path, rng: Random) -> None:
    """Both have a right checksum, of the other's place."""
    one, other = table_file(archive, "trials"), table_file(archive, "probes")
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    reseal(archive)


# -- schemas --------------------------------------------------------------------------------------------------------


def rewrite_schema(archive: Path, rng: Random, change: Callable[[pa.Table], pa.Table]) -> None:
    file = table_file(archive, rng.choice(["trials", "traces", "probes"]))
    pq.write_table(change(pq.ParquetFile(file).read()), file)
    reseal(archive)


def drop_a_column(archive: Path, rng: Random) -> None:
    rewrite_schema(archive, rng, lambda t: t.drop_columns([rng.choice(t.column_names)]))


def add_a_column(archive: Path, rng: Random) -> None:
    rewrite_schema(archive, rng, lambda t: t.append_column("more", pa.nulls(t.num_rows, pa.int32())))


def narrow_a_column(archive: Path, rng: Random) -> None:
    def narrow(table: pa.Table) -> pa.Table:
        places = [i for i, f in enumerate(table.schema) if pa.types.is_float64(f.type)]
        place = rng.choice(places)
        field = table.schema.field(place).with_type(pa.float32())
        return table.set_column(place, field, table.column(place).cast(pa.float32()))

    rewrite_schema(archive, rng, narrow)


def forget_the_version(archive: Path, rng: Random) -> None:
    rewrite_schema(archive, rng, lambda t: t.replace_schema_metadata({"table": t.schema.metadata[b"table"]}))


# -- rows, with every checksum made right -----------------------------------------------------------------------------


def rows_edited(
    table: str, change: Callable[[list[Row], Random], list[Row]]
) -> Callable[[Path, Random], None]:
    def damage(archive: Path, rng: Random) -> None:
        edit(archive, table, lambda rows: change(rows, rng))
        reseal(archive)

    return damage


def value(
    column: str, new: Callable[[Any, Random], Any], where: Callable[[Row], bool] = lambda row: True
) -> Any:
    """One row's value becomes another one."""

    def change(rows: list[Row], rng: Random) -> list[Row]:
        row = rng.choice([r for r in rows if r[column] is not None and r[column] == r[column] and where(r)])
        before = row[column]
        row[column] = new(before, rng)
        assert row[column] != before
        return rows

    return change


def nudge(by: float) -> Callable[[Any, Random], Any]:
    return lambda old, rng: old + rng.choice([-1, 1]) * by


def drop_a_row(rows: list[Row], rng: Random) -> list[Row]:
    rows.pop(rng.randrange(len(rows)))
    return rows


def double_a_row(rows: list[Row], rng: Random) -> list[Row]:
    place = rng.randrange(len(rows))
    return [*rows[:place], rows[place], *rows[place:]]


def exchange_two_rows(rows: list[Row], rng: Random) -> list[Row]:
    place = rng.randrange(len(rows) - 1)
    rows[place], rows[place + 1] = rows[place + 1], rows[place]
    return rows


def drop_a_trials_traces(rows: list[Row], rng: Random) -> list[Row]:
    gone = rng.choice(rows)["trial_id"]
    return [row for row in rows if row["trial_id"] != gone]


def cut_a_trial_short(rows: list[Row], rng: Random) -> list[Row]:
    last = rng.choice([place for place, row in enumerate(rows) if row["gradient_norm"] is None])
    rows[last - 1]["gradient_norm"] = None
    return rows[:last] + rows[last + 1 :]


def rename_a_trial(rows: list[Row], rng: Random) -> list[Row]:
    old = rng.choice(rows)["trial_id"]
    new = f"{rng.getrandbits(128):032x}"
    for row in rows:
        row["trial_id"] = new if row["trial_id"] == old else row["trial_id"]
    return sorted(rows, key=lambda row: (row["trial_id"], row.get("step")))


def exchange_two_trials(rows: list[Row], rng: Random) -> list[Row]:
    """Each has the other's traces."""
    one, other = rng.sample(sorted({row["trial_id"] for row in rows}), 2)
    for row in rows:
        row["trial_id"] = {one: other, other: one}.get(row["trial_id"], row["trial_id"])
    return sorted(rows, key=lambda row: (row["trial_id"], row["step"]))


def scale_a_trace(rows: list[Row], rng: Random) -> list[Row]:
    """Φ, σ and δ all halved: they still add up."""
    chosen = rng.choice([row["trial_id"] for row in rows if row["readout_hash"] is None])
    for row in rows:
        if row["trial_id"] == chosen:
            names = ("order_parameter", "signal", "drag", "readout_change", "geometry_change")
            row |= {name: row[name] / 2 for name in names if row[name] is not None}
    return rows


def another_outcome(rows: list[Row], rng: Random) -> list[Row]:
    row = rng.choice([row for row in rows if row["outcome"] in ("committed", "kinematic")])
    row["outcome"] = "structural"
    return rows


TRAINED = [outcome.value for outcome in Outcome if outcome.trained]

ROWS = {
    "loss": rows_edited("traces", value("loss", nudge(1e-3))),
    "logit_gap": rows_edited("traces", value("logit_gap", nudge(1e-2))),
    "p_target above 1": rows_edited("traces", value("p_target", lambda old, rng: 1 + rng.random())),
    "p_competitor": rows_edited("traces", value("p_competitor", nudge(1e-4))),
    "order_parameter": rows_edited("traces", value("order_parameter", nudge(1e-6))),
    "signal": rows_edited("traces", value("signal", nudge(1e-6))),
    "drag": rows_edited("traces", value("drag", nudge(1e-6))),
    "overlap": rows_edited("traces", value("overlap", nudge(1e-3))),
    "rank_target": rows_edited("traces", value("rank_target", lambda old, rng: 0)),
    "ranks against the gap": rows_edited(
        "traces", value("rank_target", lambda old, rng: 9_999, lambda r: r["logit_gap"] > 0)
    ),
    "readout_change": rows_edited("traces", value("readout_change", nudge(1e-6))),
    "geometry_change": rows_edited("traces", value("geometry_change", nudge(1e-6))),
    "drift under LoRA": rows_edited(
        "traces", value("embedding_drift", lambda old, rng: 1e-9, lambda r: r["readout_hash"] is not None)
    ),
    "readout_hash": rows_edited("traces", value("readout_hash", lambda old, rng: f"{rng.getrandbits(128):032x}")),
    "negative gradient": rows_edited(
        "traces", value("gradient_norm", lambda old, rng: -old, lambda r: r["gradient_norm"] > 0)
    ),
    "step": rows_edited("traces", value("step", lambda old, rng: old + 1)),
    "NaN in the middle": rows_edited(
        "traces", value("loss", lambda old, rng: float("nan"), lambda r: 0 < r["step"] < 5)
    ),
    "a trace row gone": rows_edited("traces", drop_a_row),
    "a trace row twice": rows_edited("traces", double_a_row),
    "trace rows exchanged": rows_edited("traces", exchange_two_rows),
    "a trial's traces gone": rows_edited("traces", drop_a_trials_traces),
    "a trial cut short": rows_edited("traces", cut_a_trial_short),
    "traces of no trial": rows_edited("traces", rename_a_trial),
    "traces exchanged": rows_edited("traces", exchange_two_trials),
    "a trace scaled": rows_edited("traces", scale_a_trace),
    "a trial gone": rows_edited("trials", drop_a_row),
    "a trial twice": rows_edited("trials", double_a_row),
    "another trial_id": rows_edited("trials", rename_a_trial),
    "another outcome": rows_edited("trials", another_outcome),
    "no such outcome": rows_edited("trials", value("outcome", lambda old, rng: "splendid")),
    "silent": rows_edited("trials", value("silent", lambda old, rng: not old)),
    "gap_final": rows_edited("trials", value("gap_final", nudge(1e-12))),
    "drag_final": rows_edited("trials", value("drag_final", nudge(1e-12))),
    "commit_step": rows_edited("trials", value("commit_step", lambda old, rng: old + 1)),
    "jump_size": rows_edited("trials", value("jump_size", nudge(1e-3))),
    "jump_step": rows_edited("trials", value("jump_step", lambda old, rng: old % 8 + 1)),
    "learning_rate": rows_edited("trials", value("learning_rate", lambda old, rng: old * 1.001)),
    "learning_rate and pi": rows_edited(
        "trials", lambda rows, rng: [rows[0] | {"learning_rate": rows[0]["learning_rate"] * 2,
                                                "pi": rows[0]["pi"] * 2}, *rows[1:]],
    ),
    "kappa": rows_edited("trials", value("kappa", lambda old, rng: old * 1.001)),
    "gap_0": rows_edited("trials", lambda rows, rng: [r | {"gap_0": -r["gap_0"]} for r in rows]),
    "weights": rows_edited("trials", value("weights", lambda old, rng: "0" * 64)),
    "optimizer": rows_edited("trials", value("momentum", lambda old, rng: 0.5)),
    "steps_taken": rows_edited("trials", value("steps_taken", lambda old, rng: old - 1)),
    "stopped_early": rows_edited("trials", value("stopped_early", lambda old, rng: None)),
    "threshold": rows_edited("trials", value("jump_threshold", lambda old, rng: old / 2)),
    "a host's name": rows_edited("trials", lambda rows, rng: [r | {"host": "node-7"} for r in rows]),
    "a probe gone": rows_edited("probes", drop_a_row),
    "a probe twice": rows_edited("probes", double_a_row),
    "a probe's tokens": rows_edited(
        "probes", value("prompt_tokens", lambda old, rng: [*old, 7], lambda r: r["refusal"] is None)
    ),
    "a probe's target": rows_edited(
        "probes", value("target_token", lambda old, rng: old + 1, lambda r: r["refusal"] is None)
    ),
    "a probe's problem": rows_edited("probes", value("problem", lambda old, rng: "0" * 16)),
}  # fmt: skip


# -- documents that lie -----------------------------------------------------------------------------------------------


def says(document: str, change: Callable[[Any, Random], None]) -> Callable[[Path, Random], None]:
    def damage(archive: Path, rng: Random) -> None:
        path = archive / document
        said = json.loads(path.read_text())
        change(said, rng)
        path.write_text(json.dumps(said))
        name = str(path.relative_to(archive))
        lines = (archive / "sha256sums.txt").read_text().splitlines()
        lines = [f"{sha256_of(path)}  {name}" if line.endswith(f"  {name}") else line for line in lines]
        (archive / "sha256sums.txt").write_text("\n".join(lines) + "\n")
        if document != "ro-crate-metadata.json":
            reseal(archive)

    return damage


def count_too_many(said: Any, rng: Random) -> None:
    said["data"]["rows"][rng.choice(["trials", "traces", "probes"])] += 1


def other_files(said: Any, rng: Random) -> None:
    item = rng.choice([part for part in said["distribution"] if part["@type"] == "cr:FileObject"])
    item |= {"contentUrl": "trials/0001.parquet"}


def other_rows(said: Any, rng: Random) -> None:
    record = rng.choice(said["recordSet"])
    record["description"] = "1000000 rows."


def fewer_fields(said: Any, rng: Random) -> None:
    rng.choice(said["recordSet"])["field"].pop()


def lost_part(said: Any, rng: Random) -> None:
    (root,) = (item for item in said["@graph"] if item["@id"] == "./")
    root["hasPart"].pop(rng.randrange(len(root["hasPart"])))


def wrong_size(said: Any, rng: Random) -> None:
    rng.choice([i for i in said["@graph"] if i["@type"] == "File"])["contentSize"] = "1"


def card_counts(archive: Path, rng: Random) -> None:
    text = (archive / "README.md").read_text()
    (archive / "README.md").write_text(text.replace("| `trials` | ", "| `trials` | 1", 1))
    reseal(archive)


def another_sweep(archive: Path, rng: Random) -> None:
    path = archive / "sweeps" / rng.choice(["tiny.yaml", "refused.yaml"])
    path.write_text(path.read_text().replace("steps:\n- 8", "steps:\n- 9"))
    reseal(archive)


DOCUMENTS = {
    "provenance counts": says("provenance.json", count_too_many),
    "provenance outcomes": says("provenance.json", lambda said, rng: said["data"]["outcomes"].popitem()),
    "provenance weights": says(
        "provenance.json", lambda said, rng: said["data"]["models"][0].update(weights_sha256="0" * 64)
    ),
    "provenance devices": says(
        "provenance.json", lambda said, rng: said["data"].update(devices={"H100": 37})
    ),
    "provenance runs": says("provenance.json", lambda said, rng: said["runs"].pop(rng.randrange(3))),
    "provenance copies": says("provenance.json", lambda said, rng: said["merged"].update(duplicates=3)),
    "provenance version": says("provenance.json", lambda said, rng: said.update(schema_version=99)),
    "croissant files": says("croissant.json", other_files),
    "croissant rows": says("croissant.json", other_rows),
    "croissant fields": says("croissant.json", fewer_fields),
    "crate parts": says("ro-crate-metadata.json", lost_part),
    "crate sizes": says("ro-crate-metadata.json", wrong_size),
    "card counts": card_counts,
    "another sweep": another_sweep,
}

FILES = [
    *[(flip_a_byte, seed) for seed in range(6)],
    *[(cut_a_file, seed) for seed in range(3)],
    *[(remove_a_file, seed) for seed in range(2)],
    *[(remove_a_file_and_its_checksum, seed) for seed in range(3)],
    *[(add_a_file, 0)],
    *[(add_a_foreign_file_with_checksum, seed) for seed in range(4)],
    *[(link_a_file, seed) for seed in range(2)],
    *[(link_a_folder, seed) for seed in range(3)],
    *[(put_a_pipe, seed) for seed in range(2)],
    *[(name_a_file_outside, seed) for seed in range(4)],
    *[(swap_two_files, 0)],
    *[(damage, seed) for damage in (drop_a_column, add_a_column, narrow_a_column) for seed in range(2)],
    *[(forget_the_version, 0)],
]


@pytest.mark.parametrize(("damage", "seed"), FILES, ids=lambda item: getattr(item, "__name__", str(item)))
def test_a_damaged_file_is_found(archive: Path, damage: Callable[[Path, Random], None], seed: int) -> None:
    damage(archive, Random(seed))
    assert archive_verify(archive).problems


@pytest.mark.parametrize("name", [*ROWS, *DOCUMENTS])
def test_a_lie_with_right_checksums_is_found(archive: Path, name: str) -> None:
    (ROWS | DOCUMENTS)[name](archive, Random(name))
    problems = archive_verify(archive).problems
    assert problems
    assert not any("checksum" in problem.what for problem in problems if "size or" not in problem.what)


def test_resealing_alone_is_no_damage(archive: Path) -> None:
    reseal(archive)
    assert not archive_verify(archive).problems


def test_an_intact_archive_is_not_accused(packed: Path, runs: list[Path], tmp_path: Path) -> None:
    found = archive_verify(packed)
    assert not found.problems
    assert found.rows > 0
    outcomes = {row["outcome"] for row in pq.read_table(packed / "trials").to_pylist()}
    assert {"committed", "kinematic", "diverged", "relapsed", "refused_committed"} <= outcomes
    assert "non_finite" in pq.read_table(packed / "trials")["stopped_early"].to_pylist()
    # a name that a glob would read as another one
    archive_pack([runs[2]], tmp_path / "refused [1] only")
    assert not archive_verify(tmp_path / "refused [1] only").problems


@pytest.mark.slow
def test_an_archive_of_more_rows_than_memory_is_made_and_not_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sort of these rows outside memory, instead of range after range, does not get along with so little."""
    monkeypatch.setattr(database, "MEMORY", "64MB")
    monkeypatch.setattr(ranges, "RANGE_ROWS", 1 << 15)
    rows = write_run(tmp_path / "run", rows=400_000, seed=5)
    result = archive_pack([tmp_path / "run"], tmp_path / "archive")
    assert result.rows == rows
    found = archive_verify(tmp_path / "archive")
    assert (found.rows, found.problems) == (rows, ())


def test_what_is_no_archive_is_an_input_error(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        archive_verify(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no archive"):
        archive_verify(tmp_path)
    with pytest.raises(InputError, match="a run directory, no archive"):
        archive_verify(runs[0])
