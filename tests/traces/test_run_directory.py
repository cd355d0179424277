"""The layout on disk, and what our readers and other tools see."""

from __future__ import annotations

import math

import duckdb
import polars
import pyarrow.dataset as ds
import pytest

from phantom_dist.core.errors import StoreError
from phantom_dist.core.quantities import BY_NAME, SCHEMA_VERSION, TRACE_COLUMNS, TRIAL_COLUMNS
from phantom_dist.traces import RunDirectory, Store, schema
from phantom_dist.traces.digest import results_digest

MODEL = "gguf:models/x y.gguf"


def trial(name: str, **more):
    return {"trial_id": name, "model": MODEL, "outcome": "committed", "learning_rate": 0.1, **more}


def trace(name: str, steps: int = 2):
    return [
        {"trial_id": name, "step": s, "loss": 1.0 / (s + 1), "logit_gap": math.nan} for s in range(steps + 1)
    ]


@pytest.fixture
def directory(tmp_path) -> RunDirectory:
    return RunDirectory(Store(tmp_path / "run"))


def test_a_batch_is_read_back_as_written(directory):
    directory.write_batch("b1", [trial("t1"), trial("t2")], {MODEL: trace("t1") + trace("t2")})
    assert directory.trials()["trial_id"].to_pylist() == ["t1", "t2"]
    traces = directory.traces()
    assert set(traces["model"].to_pylist()) == {MODEL}
    assert traces.num_rows == 6
    assert all(math.isnan(gap) for gap in traces["logit_gap"].to_pylist()), "NaN stays NaN"
    assert traces["gradient_norm"].null_count == 6, "what is not there is null"
    assert directory.traces(["t2"])["trial_id"].unique().to_pylist() == ["t2"]


def test_a_repeated_batch_replaces_itself(directory):
    for _ in range(3):
        directory.write_batch("b1", [trial("t1")], {MODEL: trace("t1")})
    assert directory.trials().num_rows == 1
    assert directory.traces().num_rows == 3


def test_half_a_batch_is_invisible_and_then_discarded(directory, monkeypatch):
    directory.write_batch("whole", [trial("t1")], {MODEL: trace("t1")})
    put = directory.store.put

    def dies_before_trials(name, data):
        if name.startswith("trials/"):
            raise KeyboardInterrupt
        put(name, data)

    monkeypatch.setattr(directory.store, "put", dies_before_trials)
    with pytest.raises(KeyboardInterrupt):
        directory.write_batch("half", [trial("t2")], {MODEL: trace("t2")})
    monkeypatch.undo()
    assert directory.traces()["trial_id"].unique().to_pylist() == ["t1"]
    directory.discard_halves()
    assert [n for n in directory.store.names("traces") if "half" in n] == []
    assert directory.traces().num_rows == 3


def test_parts_of_a_batch_that_came_after_all_are_discarded_and_nothing_is_lost(directory):
    """A batch that seemed lost was repeated in halves, and then appeared after all, whole or in part."""
    for name, members in {"whole": "abcd", "first": "ab", "second": "cd", "b": "b", "alone": "ef"}.items():
        directory.write_batch(
            name, [trial(t) for t in members], {MODEL: [r for t in members for r in trace(t)]}
        )
    directory.discard_halves()
    assert directory.store.names("trials") == ["trials/alone.parquet", "trials/whole.parquet"]
    assert sorted(directory.trials()["trial_id"].to_pylist()) == list("abcdef")
    assert directory.traces().num_rows == 18


def test_a_batch_that_is_discarded_is_gone_whole(directory):
    directory.write_batch("one", [trial("a")], {MODEL: trace("a")})
    directory.write_batch("two", [trial("b")], {MODEL: trace("b")})
    directory.discard_batch("one", MODEL)
    directory.discard_batch("never-written", MODEL)
    assert directory.trials()["trial_id"].to_pylist() == ["b"]
    assert [n for n in directory.store.names() if "one" in n] == []


def test_an_empty_run_reads_as_empty_tables(directory):
    assert directory.trials().schema.equals(schema.TRIALS)
    assert directory.traces().num_rows == directory.probes().num_rows == 0


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1 torn"])
def test_a_damaged_file_is_a_clear_message(directory, content):
    directory.write_batch("good", [trial("t1")], {})
    directory.store.put("trials/bad.parquet", content)
    with pytest.raises(StoreError, match=r"bad\.parquet"):
        directory.trials()


def test_a_foreign_parquet_file_is_a_clear_message(directory):
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory.write_batch("good", [trial("t1")], {})
    pq.write_table(pa.table({"trial_id": [1, 2]}), directory.store.path("trials/foreign.parquet"))
    with pytest.raises(StoreError, match=r"foreign\.parquet"):
        directory.trials()


def test_a_file_of_a_newer_version_is_a_clear_message(directory, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    newer = schema.TRIALS.with_metadata(schema.TRIALS.metadata | {b"schema_version": b"99"})
    directory.write_batch("good", [trial("t1")], {})
    pq.write_table(pa.Table.from_pylist([], schema=newer), directory.store.path("trials/newer.parquet"))
    with pytest.raises(StoreError, match=r"newer\.parquet was written by a newer phantom_dist"):
        directory.trials()


def test_failed_batches_are_discarded_and_no_others(directory):
    directory.write_batch("good", [trial("t1")], {MODEL: trace("t1")})
    directory.write_batch("mixed", [trial("t2"), trial("t3", outcome="error")], {})
    directory.write_batch("bad", [trial("t4", outcome="error")], {})
    directory.discard_failed(["error"])
    assert sorted(directory.trials()["trial_id"].to_pylist()) == ["t1", "t2", "t3"]


@pytest.mark.parametrize("text", ["[]", "{", "null"])
def test_a_damaged_heartbeat_is_no_heartbeat(directory, text):
    directory.store.put("state.json", text.encode())
    assert directory.read_state() == {}


def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match="no such column: gap_zero"):
        schema.to_parquet([{"gap_zero": 1.0}], schema.TRIALS)


def test_every_field_carries_unit_meaning_and_version():
    for table, columns in ((schema.TRIALS, TRIAL_COLUMNS), (schema.TRACES, TRACE_COLUMNS)):
        assert table.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
        for quantity in columns:
            metadata = table.field(quantity.name).metadata
            assert metadata[b"description"].decode() == quantity.description
            assert metadata[b"unit"].decode() == quantity.unit
    assert schema.TRIALS.field("wall_time").metadata[b"is_result"] == b"false"


def test_names_mean_the_same_in_every_table():
    for quantity in (*TRACE_COLUMNS, *TRIAL_COLUMNS):
        assert BY_NAME[quantity.name] == quantity


def test_columns_of_the_contract():
    traces = """
        trial_id step loss logit_gap p_target p_competitor rank_target rank_competitor overlap order_parameter signal
        drag readout_change geometry_change embedding_drift gradient_norm
    """
    trials = """
        trial_id model architecture parameters context target competitor method optimizer momentum weight_decay
        schedule lora_rank lora_alpha lora_targets learning_rate steps seed precision engine outcome silent
        commit_step jump_step jump_size jump_readout_share gap_0 gap_final kappa pi stopped_early error
    """
    assert set(traces.split()) <= set(schema.TRACES.names)
    assert set(trials.split()) <= set(schema.TRIALS.names)


def test_everyones_tools_open_both_tables(directory):
    directory.write_batch("b1", [trial("t1")], {MODEL: trace("t1")})
    directory.write_batch("b2", [trial("t2")], {MODEL: trace("t2")})
    root = directory.store.root
    assert ds.dataset(f"{root}/trials").count_rows() == 2
    arrow = ds.dataset(f"{root}/traces", partitioning="hive").to_table()
    assert set(arrow["model"].to_pylist()) == {MODEL}
    query = f"select count(*), min(model) from read_parquet('{root}/traces/**/*.parquet', hive_partitioning = true)"
    assert duckdb.sql(query).fetchall() == [(6, MODEL)]
    frame = polars.scan_parquet(f"{root}/traces/**/*.parquet", hive_partitioning=True).collect()
    assert frame.shape[0] == 6
    assert frame["model"].unique().to_list() == [MODEL]


def test_hugging_face_datasets_opens_both_tables(directory, tmp_path):
    import datasets

    directory.write_batch("b1", [trial("t1")], {MODEL: trace("t1")})
    for table, rows in (("trials", 1), ("traces", 3)):
        files = f"{directory.store.root}/{table}/**/*.parquet"
        loaded = datasets.load_dataset(
            "parquet", data_files=files, cache_dir=str(tmp_path / "cache"), split="train"
        )
        assert loaded.num_rows == rows


def test_the_digest_sees_results_and_nothing_else(directory, tmp_path):
    directory.write_batch("b1", [trial("t1"), trial("t2")], {MODEL: trace("t1") + trace("t2")})
    other = RunDirectory(Store(tmp_path / "other"))
    other.write_batch("x2", [trial("t2", host="elsewhere", wall_time=9.0)], {MODEL: trace("t2")})
    other.write_batch("x1", [trial("t1", attempt=3)], {MODEL: trace("t1")})
    assert results_digest(other) == results_digest(directory)
    other.write_batch("x1", [trial("t1", learning_rate=0.1000001)], {MODEL: trace("t1")})
    assert results_digest(other) != results_digest(directory)
