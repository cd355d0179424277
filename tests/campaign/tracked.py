"""A sweep that reports to MLflow (a local store) and W&B (offline); what both kept, as JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import phantom_dist
from tests.monitor.trackers import leveldb_records

Kept = dict[str, dict[str, Any]]
"""By training: its rate and optimizer, outcomes by context, and (step, gap) by context."""


def main(folder: Path) -> None:
    store = f"sqlite:///{folder}/mlflow.db"
    os.environ |= {
        "MLFLOW_TRACKING_URI": store,
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "WANDB_SILENT": "true",
    }
    sweep = json.loads((folder / "sweep.json").read_text())
    phantom_dist.run(sweep, folder / "run", executor="inprocess")
    contexts = [context["id"] for context in sweep["contexts"]]
    print(json.dumps({"mlflow": mlflow_kept(store, contexts), "wandb": wandb_kept(folder, contexts)}))


def mlflow_kept(store: str, contexts: list[str]) -> Kept:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("tracked")
    kept: Kept = {}
    for run in client.search_runs([experiment.experiment_id]):
        history = {c: client.get_metric_history(run.info.run_id, f"gap/{c}") for c in contexts}
        kept[run.info.run_name] = {
            "learning_rate": run.data.params["learning_rate"],
            "optimizer": run.data.params["optimizer"],
            "outcomes": {c: run.data.tags[f"outcome.{c}"] for c in contexts},
            "gaps": {c: [(m.step, m.value) for m in history[c]] for c in contexts},
        }
    return kept


def wandb_kept(folder: Path, contexts: list[str]) -> Kept:
    from wandb.proto import wandb_internal_pb2

    kept: Kept = {}
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        records = [wandb_internal_pb2.Record.FromString(data) for data in leveldb_records(file.read_bytes())]
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        rows: list[dict[str, Any]] = []
        name = ""
        for record in records:
            name = record.run.display_name or name
            for update in (record.run.config, record.config):
                config |= {item.key: json.loads(item.value_json) for item in update.update if item.key}
            summary |= _items(record.summary.update)
            if record.history.item:
                rows.append(_items(record.history.item))
        kept[name] = {
            "learning_rate": config["learning_rate"],
            "optimizer": config["optimizer"],
            "outcomes": {c: summary[f"outcome/{c}"] for c in contexts},
            "gaps": {
                c: [(row["_step"], row[f"gap/{c}"]) for row in rows if f"gap/{c}" in row] for c in contexts
            },
        }
    return kept


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
