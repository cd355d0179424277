"""A short training that reports to MLflow (a local store) and W&B (offline); what both kept, as JSON on stdout."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.monitor.test_transformers_callback import trainer


def main(folder: Path) -> None:
    store = f"sqlite:///{folder}/mlflow.db"
    os.environ |= {
        "MLFLOW_TRACKING_URI": store,
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "WANDB_SILENT": "true",
    }
    made = trainer(folder / "out", report_to=["mlflow", "wandb"], run_name="monitored")
    made.train()
    print(json.dumps({"mlflow": mlflow_kept(store), "wandb": wandb_kept(folder)}))


def mlflow_kept(store: str) -> list[list[float]]:
    import mlflow

    mlflow.end_run()
    client = mlflow.MlflowClient(tracking_uri=store)
    (experiment,) = client.search_experiments()
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "phantom/rage/logit_gap")
    return [[m.step, m.value] for m in history]


def wandb_kept(folder: Path) -> list[list[float]]:
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.finish()
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    # W&B's own process writes the file and may lag behind `finish`; its last record is `exit`.
    for _ in range(300):
        records = [wandb_internal_pb2.Record.FromString(data) for data in leveldb_records(file.read_bytes())]
        if any(record.HasField("exit") for record in records):
            break
        time.sleep(0.2)
    rows: list[dict[str, Any]] = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
    ]
    name = "train/phantom/rage/logit_gap"
    return [[row["train/global_step"], row[name]] for row in rows if name in row]


def leveldb_records(data: bytes, header: int = 7, block: int = 32768) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, in which W&B keeps a run; it has no reader of its own in Python.

    Blocks of 32 KiB hold pieces: checksum (4 bytes), length (2), kind (1: whole, 2: first, 3: middle, 4: last).
    """
    at, parts = header, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
