"""Mirrors trainings into the trackers that a team already uses: TensorBoard, MLflow, Weights & Biases.

The driver writes them, after a batch is stored; Parquet stays the source. A training is a run of the tracker: its
settings as parameters, and for each measured step the gap and loss of every watched word, and the training loss. A
tracker that fails says so once and is left out; the run goes on.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import by_training
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.records import problem_row
from phantom_dist.scheduling.tasks import TrainTask
from phantom_dist.traces import RunDirectory

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedTraining:
    """One training as trackers show it.

    Attributes:
        sweep: name of the sweep: the tracker's experiment or project.
        name: the training's content address, or that of its only trial.
        settings: model, method, optimizer, …, and the learning rate.
        steps: metrics by step, in order.
        outcomes: by context, how its trial ended.
    """

    sweep: str
    name: str
    settings: Mapping[str, Any]
    steps: Sequence[tuple[int, Mapping[str, float]]]
    outcomes: Mapping[str, str]


class Tracker(Protocol):
    """A tracker."""

    def add(self, training: TrackedTraining) -> None:
        """Record one training."""
        ...


class TensorBoard:
    """TensorBoard's event files, below `TENSORBOARD_LOGGING_DIR` or the folder `tensorboard` of the run directory."""

    def __init__(self, directory: RunDirectory) -> None:
        local = directory.store.local_path
        folder = os.environ.get("TENSORBOARD_LOGGING_DIR") or (local and str(local / "tensorboard"))
        if not folder:
            raise InputError(
                "execution.report_to: the run directory is in an object store, where TensorBoard can't write; set "
                "TENSORBOARD_LOGGING_DIR to a folder"
            )
        self._folder = folder

    def add(self, training: TrackedTraining) -> None:
        """See `Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(f"{self._folder}/{training.name}") as writer:
            settings = "\n".join(f"- {key}: {value}" for key, value in training.settings.items())
            ends = "\n".join(f"- {context}: {outcome}" for context, outcome in training.outcomes.items())
            writer.add_text("settings", settings)
            writer.add_text("outcomes", ends)
            for step, metrics in training.steps:
                for name, value in metrics.items():
                    writer.add_scalar(name, value, step)


class MlFlow:
    """MLflow, at `MLFLOW_TRACKING_URI`: an experiment for the sweep, a run for each training."""

    def __init__(self, directory: RunDirectory) -> None:
        import mlflow

        self._client: Any = mlflow.MlflowClient()

    def add(self, training: TrackedTraining) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric, Param, RunTag

        client = self._client
        known = client.get_experiment_by_name(training.sweep)
        experiment = client.create_experiment(training.sweep) if known is None else known.experiment_id
        run = client.create_run(experiment, run_name=training.name).info.run_id
        client.log_batch(
            run,
            params=[Param(key, str(value)) for key, value in training.settings.items()],
            tags=[RunTag(f"outcome.{context}", outcome) for context, outcome in training.outcomes.items()],
        )
        metrics = [
            Metric(name, value, 0, step) for step, values in training.steps for name, value in values.items()
        ]
        for start in range(0, len(metrics), 1000):  # MLflow's limit
            client.log_batch(run, metrics=metrics[start : start + 1000])
        client.set_terminated(run)


class WeightsAndBiases:
    """Weights & Biases: a project for the sweep, a run for each training; `WANDB_MODE=offline` keeps it here."""

    def __init__(self, directory: RunDirectory) -> None:
        import wandb

        self._wandb: Any = wandb

    def add(self, training: TrackedTraining) -> None:
        """See `Tracker`."""
        run = self._wandb.init(
            project=training.sweep,
            name=training.name,
            config=dict(training.settings),
            reinit="finish_previous",
            settings=self._wandb.Settings(console="off", silent=True),
        )
        for step, metrics in training.steps:
            run.log(dict(metrics), step=step)
        run.summary.update({f"outcome/{context}": outcome for context, outcome in training.outcomes.items()})
        run.finish()


TRACKERS: dict[str, tuple[str, Callable[[RunDirectory], Tracker]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "mlflow": ("mlflow", MlFlow),
    "wandb": ("wandb", WeightsAndBiases),
}
"""By name: the package that it needs, and the tracker."""


class Trackers:
    """The trackers that a sweep names.

    Raises:
        InputError: one of their packages isn't installed, or a tracker has no place to write to.
    """

    def __init__(self, names: Iterable[str], sweep: str, directory: RunDirectory) -> None:
        self._sweep, self._directory = sweep, directory
        self._trackers: dict[str, Tracker] = {}
        for name in names:
            package, tracker = TRACKERS[name]
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"execution.report_to: {name} needs the package {package}: pip install {package}"
                )
            self._trackers[name] = tracker(directory)

    def add(self, task: TrainTask, trials: Sequence[TrialSummary]) -> None:
        """Mirror a batch that is stored."""
        if not self._trackers:
            return
        trainings = list(self._trainings(task, trials))
        for name, tracker in list(self._trackers.items()):
            try:
                for training in trainings:
                    tracker.add(training)
            except Exception as error:  # a tracker's server may fail in any way; the run must not
                LOGGER.warning("report_to %s: left out from here on: %s", name, error)
                del self._trackers[name]

    def _trainings(self, task: TrainTask, trials: Sequence[TrialSummary]) -> Iterator[TrackedTraining]:
        outcomes = {trial.trial_id: trial.outcome.value for trial in trials}
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self._directory.traces_of(task.id, task.model).to_pylist():
            rows.setdefault(row["trial_id"], []).append(row)
        for watched in by_training(task.trials):
            first = watched[0]
            steps: dict[int, dict[str, float]] = {}
            for trial in watched:
                context = trial.problem.context.id
                for row in sorted(rows.get(trial.id, ()), key=lambda row: int(row["step"])):
                    metrics = steps.setdefault(row["step"], {})
                    metrics |= {f"gap/{context}": row["logit_gap"], f"loss/{context}": row["loss"]}
                    if row["training_loss"] is not None:
                        metrics["training_loss"] = row["training_loss"]
            settings = {
                key: value
                for key, value in problem_row(first.problem).items()
                if value is not None and key not in ("problem", "context", "target", "competitor", "held_out")
            }
            yield TrackedTraining(
                sweep=self._sweep,
                name=first.training_id or first.id,
                settings=settings | {"learning_rate": first.learning_rate},
                steps=[(step, _finite(metrics)) for step, metrics in sorted(steps.items())],
                outcomes={trial.problem.context.id: outcomes.get(trial.id, "") for trial in watched},
            )


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
