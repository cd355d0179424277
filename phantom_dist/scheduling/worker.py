"""What a worker does with a task: load the model or reuse it, probe or train, store the batch, return summaries."""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import torch

from phantom_dist.core import plugins
from phantom_dist.core.activity import Activity, activity, stopwatch
from phantom_dist.core.errors import InputError, OutOfMemory
from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.core.trial import ModelIdentity, Problem
from phantom_dist.engines import engine_named, kept_memory, probe
from phantom_dist.engines.engine import Engine
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.set_probe import probe_for_search
from phantom_dist.engines.training_sets import TrainingSets, forget_gradients
from phantom_dist.instruments import plugin_instruments
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.models.device import device_kind, device_of
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.records import ExecutionMetadata, execution_metadata, store_batch, store_probes
from phantom_dist.scheduling.executor import TaskOutput, WorkerSettings
from phantom_dist.scheduling.tasks import ProbeTask, Task, TrainTask
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.leases import lease_name
from phantom_dist.traces.training_data import read_examples

WARM_PARAMETERS = 200e6
"""Models stay loaded while they have at most so many parameters together; the latest one always stays."""


class Worker:
    """A long-lived worker; the same class runs in this process and in a Ray actor.

    Sets torch's number of threads and deterministic algorithms for its whole process.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        torch.set_num_threads(settings.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # makes cuBLAS deterministic
        self._settings = settings
        self._open = ExitStack()
        self._open.enter_context(kept_memory.kept())
        self._device = device_of(settings.device)
        self._directory = RunDirectory(Store(settings.location))
        self._warm: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()

    def close(self) -> None:
        """Return the memory that is kept between batches."""
        self._open.close()

    def do(self, task: Task, attempt: int, lease: int) -> TaskOutput:
        """Do a task and store its results under a lease.

        Raises:
            OutOfMemory: the task doesn't fit; nothing of it is stored.
            InputError: the model can't be used at all, or a plug-in is missing or fails.
            StoreError: the results can't be stored, for example because the lease is over.
        """
        _ = self._plugins_checked
        directory = self._directory.under(lease_name(self._settings.driver, lease))
        with out_of_memory_named(), stopwatch() as clock:
            if isinstance(task, ProbeTask):
                output = TaskOutput(probed=self._probe(task, directory))
            else:
                output = TaskOutput(trials=self._train(task, attempt, directory))
        return replace(output, activities=clock.seconds)

    def _probe(self, task: ProbeTask, directory: RunDirectory) -> tuple[ProbeResult, ...]:
        with activity(Activity.PROBING, f"probing {task.model}"):
            probed = self._probed_together(task) or tuple(
                self._measure(problem, path=task.paths) for problem in task.problems
            )
        if self._stores:
            with activity(Activity.STORING, "storing probes"):
                store_probes(directory, task.id, probed)
        return probed

    def _train(self, task: TrainTask, attempt: int, directory: RunDirectory) -> tuple[TrialSummary, ...]:
        identity = self._identity(task.trials[0].problem)
        for trial in task.trials:
            if trial.measured.model.identity != identity:
                raise InputError(
                    f"model {task.model!r} has changed since this run began: its weights or its configuration have "
                    f"another digest now. Start a new run directory, or bring the old model back."
                )
        with activity(Activity.TRAINING, f"training {task.model}"):
            results = self._results(task.trials)
        if not self._stores:
            return ()
        columns = plugin_instruments.columns_of(self._plugin_instruments)
        with activity(Activity.STORING, "storing trials"):
            return store_batch(
                directory, task.model, results, self._execution_metadata(task.id, attempt), columns
            )

    # -- what a rank of a group overrides ----------------------------------------------------------------------------

    @property
    def _stores(self) -> bool:
        """Whether this process writes what it measures."""
        return True

    def _identity(self, problem: Problem) -> ModelIdentity:
        return self._model(problem).identity

    def _results(self, trials: Sequence[Trial]) -> list[TrialResult]:
        loaded = self._model(trials[0].problem)
        forget_gradients(loaded)
        return list(self._engine.run(loaded, trials))

    def _probed_together(self, task: ProbeTask) -> tuple[ProbeResult, ...]:
        """All words of a training on a data set, with what predicts their rates; none where it can't be predicted."""
        if not task.paths or task.problems[0].training is None:
            return ()
        with suppress(OutOfMemory, ArithmeticError):
            return probe_for_search(self._model(task.problems[0]), task.problems, self._training_sets)
        return ()

    def _measure(self, problem: Problem, *, path: bool) -> ProbeResult:
        """Probe a problem; if its path can't be probed, fall back to κ alone, from which a search can start as well."""
        loaded = self._model(problem)
        if path and problem.training is None:
            try:
                return probe_path(loaded, problem)
            except (OutOfMemory, ArithmeticError):
                pass
        return probe.probe(loaded, problem, self._training_sets)

    @property
    def _more_packages(self) -> list[str]:
        """Further packages, with versions, to record in each row."""
        return sorted({f"{plugin.package} {plugin.version}" for plugin in self._settings.plugins})

    # -- model and engine of this process -----------------------------------------------------------------------------

    @functools.cached_property
    def _plugins_checked(self) -> bool:
        """Checked only once, because it takes as long as a small batch."""
        plugins.check_here(self._settings.plugins)
        return True

    @functools.cached_property
    def _plugin_instruments(self) -> tuple[Named, ...]:
        """The plug-in instruments that the sweep lists."""
        return plugin_instruments.load(self._settings.instruments)

    @functools.cached_property
    def _engine(self) -> Engine:
        return engine_named(self._settings.engine, self._plugin_instruments, self._training_sets)

    @functools.cached_property
    def _training_sets(self) -> TrainingSets:
        """The batches of training sets, from the examples in the run directory."""
        return TrainingSets(functools.partial(read_examples, self._directory))

    def _model(self, problem: Problem) -> LoadedModel:
        key = (problem.model, problem.weights_precision)
        if key not in self._warm:
            with activity(Activity.LOADING, f"loading {problem.model}"):
                self._warm[key] = load(
                    problem.model,
                    precision=problem.weights_precision,
                    device=self._device,
                    allow_pickle=self._settings.permissions.pickle,
                    trust_remote_code=self._settings.permissions.remote_code,
                )
        self._warm.move_to_end(key)
        while (
            len(self._warm) > 1 and sum(m.identity.parameters for m in self._warm.values()) > WARM_PARAMETERS
        ):
            self._warm.popitem(last=False)
        return self._warm[key]

    def _execution_metadata(self, batch: str, attempt: int) -> ExecutionMetadata:
        return execution_metadata(
            batch,
            attempt,
            device=device_kind(self._device),
            threads=self._settings.threads,
            more_packages=self._more_packages,
        )
