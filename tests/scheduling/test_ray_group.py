"""A group of two ranks behaves as one worker: it probes, trains, stores once, and is rebuilt after a lost rank."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest
import ray

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, Refused
from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models.load import load
from phantom_dist.scheduling.executor import WorkerSettings
from phantom_dist.scheduling.messages import Done, Joined, Lost, Start
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.ray_cluster import RayCluster
from phantom_dist.scheduling.tasks import probe_task, train_task
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.leases import Leases

from .conformance import CONTEXTS, PREFERRED, next_event, problem, with_prompt

pytestmark = [pytest.mark.slow, pytest.mark.ray]

TIMEOUT_S = 8.0
"""Of the group, for a stuck rank."""

SLACK_S = 8.0
"""What it may take beyond that, and what a dead rank may take, on a machine that does much else besides."""

LEASES = range(1, 20)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A Ray with two CPUs, enough for one group of two ranks; executors join it and leave it running."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class TestGroup:
    """Whose ranks train one trial after another together."""

    group = RankGroup(ranks=2, stage=2, timeout_s=TIMEOUT_S)
    engine = "deepspeed 2"
    several = 50
    """Trials that take some seconds."""

    numbers = iter(LEASES)

    @pytest.fixture(scope="class")
    @classmethod
    def location(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("run")

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, location):
        leases = Leases(Store(location))
        for number in LEASES:
            leases.grant(number)
        settings = WorkerSettings(location=str(location), driver=leases.driver, group=cls.group)
        executor = RayCluster("local").executor(settings, workers=None, useful=8)
        assert next_event(executor) == Joined("worker-0")
        yield executor
        executor.close()

    @pytest.fixture(scope="class")
    @classmethod
    def measured(cls, executor):
        (measured,) = cls.finish(executor, probe_task([problem()])).probed
        return measured

    @classmethod
    def begin(cls, executor, task) -> int:
        lease = next(cls.numbers)
        executor.start(Start("worker-0", task, 1, lease))
        return lease

    @classmethod
    def finish(cls, executor, task):
        lease = cls.begin(executor, task)
        finished = next_event(executor)
        assert finished.event == Done("worker-0", lease), finished.event
        return finished

    def works_again(self, executor, location, task):
        """The ledger replaces the group and repeats the task: it is stored once, equal to one process's result."""
        executor.replace("worker-0")
        assert executor.workers == (), "it is away until it is ready"
        assert next_event(executor) == Joined("worker-0")
        self.finish(executor, task)
        directory = RunDirectory(Store(location))
        stored = [row for row in directory.trials().to_pylist() if row["batch"] == task.id]
        assert sorted(row["trial_id"] for row in stored) == sorted(trial.id for trial in task.trials)
        assert directory.traces([t.id for t in task.trials]).num_rows == 3 * len(task.trials)
        gaps = {row["trial_id"]: row["gap_final"] for row in stored}
        for result in SingleEngine().run(load("zoo:gpt2-a"), task.trials[:3]):
            assert gaps[result.trial.id] == pytest.approx(result.trace[-1].logit_gap, abs=1e-4)

    def test_is_one_worker(self, executor):
        assert executor.workers == ("worker-0",), "two CPUs have room for one group of two"

    def test_a_probe_sends_its_results_and_stores_them(self, executor, location):
        finished = self.finish(executor, probe_task([problem(), problem(**PREFERRED)], paths=True))
        measured, refused = finished.probed
        assert isinstance(measured, Measured)
        assert isinstance(refused, Refused)
        assert refused.outcome is Outcome.REFUSED_COMMITTED
        stored = RunDirectory(Store(location)).probes()
        assert set(stored["problem"].to_pylist()) >= {result.problem.key for result in finished.probed}

    def test_a_batch_is_stored_by_one_rank_and_comes_back_as_summaries(self, executor, location, measured):
        task = train_task(Trial(measured=measured, learning_rate=rate) for rate in (1e-3, 2e-3))
        finished = self.finish(executor, task)
        stored = {row["trial_id"]: row for row in RunDirectory(Store(location)).trials().to_pylist()}
        assert {trial.trial_id for trial in finished.trials} == {t.id for t in task.trials} == set(stored)
        for trial in finished.trials:
            row = stored[trial.trial_id]
            assert trial.gap_final == row["gap_final"]
            assert (row["batch"], row["engine"], row["threads"]) == (task.id, self.engine, 1)
            assert "deepspeed 0." in row["versions"]

    def test_a_model_that_does_not_exist_is_the_whole_runs_error(self, executor):
        with pytest.raises(InputError, match="no-such-model"):
            self.finish(executor, probe_task([problem(model="zoo:no-such-model")]))
        self.finish(executor, probe_task([problem()]))

    def test_a_killed_rank_ends_the_attempt_in_seconds(self, executor, location, measured):
        task = long_task(measured, 4e-3, self.several)
        victim = processes(executor)[1]
        lease = self.begin(executor, task)
        time.sleep(0.5)
        os.kill(victim.pid, signal.SIGKILL)
        began = time.monotonic()
        event = next_event(executor).event
        assert time.monotonic() - began < SLACK_S
        assert event == Lost("worker-0", lease, event.message)
        assert event.message.startswith("rank 1 of 2 died")
        self.works_again(executor, location, task)

    def test_a_stuck_rank_ends_the_attempt_in_seconds_and_its_process_ends(
        self, executor, location, measured
    ):
        task = long_task(measured, 5e-3, self.several)
        ranks = processes(executor)
        lease = self.begin(executor, task)
        time.sleep(0.5)
        ranks[0].send_signal(signal.SIGSTOP)
        began = time.monotonic()
        event = next_event(executor).event
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S
        assert event == Lost("worker-0", lease, event.message)
        assert event.message == f"rank 0 of 2 is stuck: it hasn't responded for {TIMEOUT_S:g} s"
        self.works_again(executor, location, task)
        _, alive = psutil.wait_procs(ranks, timeout=30)
        assert not alive, "the new group has the CPUs to itself"

    def test_an_error_within_a_task_costs_the_group(self, executor, measured):
        """A token id beyond the vocabulary: the embedding raises on both ranks, and the group counts as lost."""
        broken = Trial(measured=with_prompt(measured, (10**6,)), learning_rate=1e-3)
        lease = self.begin(executor, train_task([broken]))
        event = next_event(executor).event
        assert event == Lost("worker-0", lease, event.message, outcome=Outcome.ERROR)
        assert "IndexError" in event.message


class TestGroupOfLanes(TestGroup):
    """Whose ranks share one sharded model and train lanes of their own."""

    group = RankGroup(ranks=2, stage=3, timeout_s=TIMEOUT_S, lanes=True)
    engine = "dual lanes, 2 ranks"
    several = 3000
    numbers = iter(LEASES)

    def test_another_optimizer_in_between_is_trained_by_all_ranks_together(self, executor, location):
        """AdamW changes every weight: the group loads the model under ZeRO, and then in shards again."""
        for optimizer, engine in (("adamw", "deepspeed 3"), ("sgd", self.engine), ("adamw", "deepspeed 3")):
            asked = problem().model_copy(update={"optimizer": Optimizer(name=optimizer), "seed": 7})
            (measured,) = self.finish(executor, probe_task([asked])).probed
            assert isinstance(measured, Measured)
            task = train_task([Trial(measured=measured, learning_rate=1e-4)])
            self.finish(executor, task)
            stored = [r for r in RunDirectory(Store(location)).trials().to_pylist() if r["batch"] == task.id]
            assert {row["engine"] for row in stored} == {engine}
            (expected,) = SingleEngine().run(load("zoo:gpt2-a"), task.trials)
            assert stored[0]["gap_final"] == pytest.approx(expected.trace[-1].logit_gap, abs=1e-4)


def long_task(measured, rate: float, several: int):
    """Some seconds of work."""
    return train_task(Trial(measured=measured, learning_rate=rate * (1 + i / 1e5)) for i in range(several))


def processes(executor) -> list[psutil.Process]:
    ranks = executor.actors_of("worker-0")
    pids = ray.get([rank.__ray_call__.remote(lambda rank: os.getpid()) for rank in ranks])
    return [psutil.Process(pid) for pid in pids]


def test_a_group_larger_than_the_cluster_is_one_clear_message(tmp_path):
    settings = WorkerSettings(location=str(tmp_path), driver="d", group=RankGroup(ranks=3, stage=3))
    with pytest.raises(
        InputError, match=r"group of 3 ranks, of which each needs 1 CPUs .*execution\.group\.ranks"
    ):
        RayCluster("local").executor(settings, workers=None, useful=1)


@pytest.mark.parametrize(
    ("stage", "engines"),
    [(3, {"deepspeed 3"}), ("auto", {"dual lanes, 2 ranks", "lora lanes, 2 ranks"})],
)
def test_a_sweep_on_a_group_finds_the_references_critical_rates(tmp_path, monkeypatch, stage, engines):
    """The predicted memory exceeds that of one worker, because the worker is given very little."""
    small = WorkerKind(count=2, memory_bytes=0.65e9)
    monkeypatch.setattr(RayCluster, "worker_kinds", lambda self, device, threads: (small,))
    sweep = {
        "models": ["zoo:gpt2-a"],
        "contexts": [context.model_dump() for context in CONTEXTS[:2]],
        "methods": [
            {"full": {"optimizers": ["sgd"]}},
            {"lora": {"rank": 4, "alpha": 8, "optimizers": ["adamw"]}},
        ],
        "learning_rates": {"critical": {"tolerance": 0.05, "start": "first_order"}},
        "steps": [4],
        "execution": {"group": {"stage": stage}},
    }
    result = phantom_dist.run(sweep, tmp_path / "group")
    expected = phantom_dist.run(sweep, tmp_path / "single", executor="inprocess", engine="single")
    rows = RunDirectory(Store(tmp_path / "group")).trials().to_pylist()
    assert {row["engine"] for row in rows} == engines
    assert len({row["trial_id"] for row in rows}) == len(rows)
    assert result.state == "complete"
    assert len(result.critical_rates) == 4
    for got, reference in zip(result.critical_rates, expected.critical_rates, strict=True):
        for key in ("context", "method", "reason"):
            assert getattr(got, key) == getattr(reference, key)
        if stage == 3:
            assert got.trials_used == reference.trials_used
            assert got.eta_c == pytest.approx(reference.eta_c, rel=1e-4)
            assert got.bracket == pytest.approx(reference.bracket, rel=1e-4)
        else:  # a batch of lanes has room for two trials of a search, so its rates differ
            assert got.eta_c == pytest.approx(reference.eta_c, rel=0.05)


@pytest.mark.parametrize(
    ("method", "stage", "engine"),
    [("full", 2, "deepspeed 2"), ({"lora": {"rank": 4, "alpha": 8}}, "auto", "lora lanes, 2 ranks")],
    ids=["together", "lanes"],
)
def test_a_group_trains_on_a_data_set(tmp_path, method, stage, engine):
    """Its ranks share batches and prompts, or each trains at other rates; rank 0 stores each word's trial."""
    data = tmp_path / "words.jsonl"
    rows = [{"prompt": c.text, "completion": c.target} for c in CONTEXTS[:4]] * 2
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep = {
        "models": ["zoo:gpt2-a"],
        "contexts": [context.model_dump() for context in CONTEXTS[:3]],
        "methods": [method],
        "optimizers": ["adamw"],
        "training": {"data": str(data), "batch_size": 4, "accumulate": 2},
        "learning_rates": [3e-4, 1e-3],
        "steps": [3],
        "execution": {"group": {"ranks": 2, "stage": stage}},
    }
    status = phantom_dist.run(sweep, tmp_path / "group", engine="deepspeed")
    assert status.state == "complete"
    phantom_dist.run(sweep, tmp_path / "single", executor="inprocess", engine="single")
    got, expected = (
        {row["trial_id"]: row for row in RunDirectory(Store(tmp_path / name)).trials().to_pylist()}
        for name in ("group", "single")
    )
    assert got.keys() == expected.keys()
    assert {row["engine"] for row in got.values()} == {engine}
    for name, row in got.items():
        for column in ("gap_final", "training_loss_last", "kappa"):
            assert row[column] == pytest.approx(expected[name][column], rel=1e-4), column
        assert row["training_id"] == expected[name]["training_id"]
