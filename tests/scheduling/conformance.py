"""What every cluster and its executor must do. Inherited by the test class of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.measurement import Trial
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, Refused
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.core.trial import Optimizer, Problem
from phantom_dist.scheduling.executor import Executor, WorkerSettings
from phantom_dist.scheduling.messages import Done, Failed, Joined, Start
from phantom_dist.scheduling.tasks import probe_task, train_task
from phantom_dist.spec import load_contexts
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.leases import Leases

LEASES = range(1, 100)
CONTEXTS = load_contexts(Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml")


PREFERRED = {"target": CONTEXTS[0].competitor, "competitor": CONTEXTS[0].target}
"""A pair whose target the model prefers already."""


def problem(model: str = "zoo:gpt2-a", **changes) -> Problem:
    context = CONTEXTS[0].model_copy(update=changes)
    return Problem(model=model, context=context, method="full", optimizer=Optimizer(name="sgd"), steps=2)


class ExecutorConformance:
    """Subclasses define `cluster()`, and how many workers its executor has."""

    workers = 1
    numbers = iter(LEASES)

    @pytest.fixture(scope="class")
    @classmethod
    def location(cls, tmp_path_factory) -> Path:
        return tmp_path_factory.mktemp("run")

    @pytest.fixture(scope="class")
    @classmethod
    def leases(cls, location):
        return Leases(Store(location))

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, location, leases):
        for number in LEASES:
            leases.grant(number)
        settings = WorkerSettings(location=str(location), driver=leases.driver)
        with cls.cluster() as cluster:
            executor = cluster.executor(settings, workers=2, useful=8)
            kinds = cluster.worker_kinds(settings.device, settings.threads)
            while len(executor.workers) < cls.workers:
                joined = next_event(executor)
                assert isinstance(joined, Joined)
                assert joined.memory_bytes >= kinds[0].memory_bytes
            yield executor
            executor.close()

    def finish(self, executor: Executor, task):
        lease = next(self.numbers)
        executor.start(Start(executor.workers[0], task, 1, lease))
        finished = next_event(executor)
        assert finished.task == task
        assert (finished.event.worker, finished.event.lease) == (executor.workers[0], lease)
        return finished

    def probed(self, executor, *problems):
        return self.finish(executor, probe_task(problems)).probed

    def test_nothing_comes_of_nothing(self, executor):
        assert executor.wait(0.01) is None

    def test_a_probe_sends_its_results_and_stores_them(self, executor, location):
        finished = self.finish(executor, probe_task([problem(), problem(**PREFERRED)]))
        assert isinstance(finished.event, Done)
        measured, refused = finished.probed
        assert isinstance(measured, Measured)
        assert isinstance(refused, Refused)
        assert refused.outcome is Outcome.REFUSED_COMMITTED
        stored = RunDirectory(Store(location)).probes()
        assert set(stored["problem"].to_pylist()) >= {result.problem.key for result in finished.probed}

    def test_a_batch_is_stored_by_the_worker_and_comes_back_as_summaries(self, executor, location):
        (measured,) = self.probed(executor, problem())
        task = train_task(Trial(measured=measured, learning_rate=rate) for rate in (1e-3, 2e-3))
        finished = self.finish(executor, task)
        directory = RunDirectory(Store(location))
        stored = {row["trial_id"]: row for row in directory.trials().to_pylist()}
        assert {trial.trial_id for trial in finished.trials} == {t.id for t in task.trials}
        for trial in finished.trials:
            row = stored[trial.trial_id]
            assert trial == TrialSummary.from_row(row)
            assert (row["batch"], row["attempt"], row["threads"], row["engine"]) == (
                task.id,
                1,
                1,
                "single",
            )
        assert directory.traces([t.id for t in task.trials]).num_rows == 6

    def test_a_model_that_does_not_exist_is_the_whole_runs_error(self, executor):
        with pytest.raises(InputError, match="no-such-model"):
            self.finish(executor, probe_task([problem(model="zoo:no-such-model")]))
        assert isinstance(self.finish(executor, probe_task([problem()])).event, Done), "the worker lives on"

    def test_an_error_within_a_task_comes_back_as_an_event(self, executor):
        """A token id beyond the vocabulary: the embedding raises."""
        (measured,) = self.probed(executor, problem())
        broken = Trial(measured=with_prompt(measured, (10**6,)), learning_rate=1e-3)
        finished = self.finish(executor, train_task([broken]))
        assert isinstance(finished.event, Failed)
        assert finished.event.outcome is Outcome.ERROR
        assert "IndexError" in finished.event.message

    def test_a_changed_model_is_refused(self, executor):
        import dataclasses

        (measured,) = self.probed(executor, problem())
        identity = measured.model.identity.model_copy(update={"weights": "0" * 64})
        changed = dataclasses.replace(measured.model, identity=identity)
        trial = Trial(measured=dataclasses.replace(measured, model=changed), learning_rate=1e-3)
        with pytest.raises(InputError, match=r"model 'zoo:gpt2-a' has changed since this run began"):
            self.finish(executor, train_task([trial]))

    def test_a_replaced_worker_works(self, executor):
        worker = executor.workers[0]
        executor.replace(worker)
        assert next_event(executor).worker == worker
        assert isinstance(self.finish(executor, probe_task([problem()])).event, Done)

    def test_nothing_is_stored_under_a_lease_that_is_over(self, executor, location, leases):
        """A worker whose lease is over can't overwrite its successor's files, and its end doesn't count as done."""
        (measured,) = self.probed(executor, problem())
        task = train_task([Trial(measured=measured, learning_rate=7e-3)])
        lease = next(self.numbers)
        leases.end(lease)
        executor.start(Start(executor.workers[0], task, 1, lease))
        with pytest.raises(StoreError, match="another process has taken over"):
            next_event(executor)
        directory = RunDirectory(Store(location))
        assert task.trials[0].id not in directory.trials()["trial_id"].to_pylist()
        assert not [name for name in directory.store.names() if task.id in name]


def next_event(executor: Executor):
    """Wait for the next event without a limit."""
    while (happened := executor.wait(5.0)) is None:
        pass
    return happened


def with_prompt(measured, prompt):
    import dataclasses

    tokens = measured.tokens.model_copy(update={"prompt": prompt})
    return dataclasses.replace(measured, pair=dataclasses.replace(measured.pair, tokens=tokens))
