"""Another package adds models, columns and lanes; what it gets wrong is said in one message, nothing else changes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import phantom_dist
from phantom_dist.campaign.preview import plan
from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial
from phantom_dist.core.quantities import Quantity
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.single import SingleEngine
from phantom_dist.instruments import plugin_instruments
from phantom_dist.instruments.plugin_instruments import Instrument, Readout
from phantom_dist.machine import doctor
from phantom_dist.models.load import load
from phantom_dist.scheduling.executor import WorkerSettings
from phantom_dist.scheduling.tasks import probe_task
from phantom_dist.scheduling.worker import Worker
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest
from tests.engines.problems import measured_of
from tests.models.conformance import ModelAdapterConformance
from tests.scheduling.conformance import problem

COLUMNS = ["mylab.bulk_share", "mylab.entropy"]


def sweep(model: str = "mylab:gpt2-a", **more):
    context = problem().context.model_dump()
    return {
        "name": "others",
        "models": model,
        "contexts": [context],
        "methods": ["full", {"lora": {"optimizers": "adamw"}}],
        "learning_rates": [1e-3, 2e-3],
        "steps": 3,
        **more,
    }


def run(out, **more):
    result = phantom_dist.run(sweep(**more), out, executor="inprocess", engine="lanes")
    assert result.state == "complete"
    return RunDirectory(Store(out))


@pytest.mark.usefixtures("mylab")
class TestAdapterOfTheExample(ModelAdapterConformance):
    """The suite that every adapter passes."""

    @pytest.fixture
    def reference(self) -> str:
        return "mylab:gpt2-a"


@pytest.mark.usefixtures("mylab")
def test_all_three_in_a_run(tmp_path):
    directory = run(tmp_path, instruments=["mylab"])
    trials = directory.trials().to_pylist()
    assert all(row["engine"].endswith(" lanes") for row in trials), "the leaf makes lanes of it"
    assert {row["note"] for row in trials} == {None}
    assert {row["architecture"] for row in trials} == {"GainedLMHeadModel"}
    assert all(row["versions"].endswith("mylab 1.2.0") for row in trials)
    traces = directory.traces()
    assert traces.column_names[-2:] == COLUMNS
    field = traces.schema.field("mylab.entropy")
    assert field.metadata[b"unit"] == b"nat"
    assert field.metadata[b"description"] == b"-sum_i p_i ln p_i"
    for row in traces.to_pylist():
        assert 0 < row["mylab.entropy"] < math.log(1000)
        assert math.isnan(row["mylab.bulk_share"]) == (row["step"] == 0)
    frame = phantom_dist.open_run(tmp_path).traces(as_="polars").select(COLUMNS).collect()
    assert frame.height == traces.num_rows


@pytest.mark.usefixtures("mylab")
def test_an_archive_leaves_the_columns_out_and_says_so(tmp_path):
    run(tmp_path / "run", model="zoo:gpt2-a", instruments=["mylab"])
    packed = phantom_dist.archive_pack([tmp_path / "run"], tmp_path / "archive", authors=["Lab"])
    assert packed.notices == ("columns of plug-in instruments are left out (mylab)",)
    opened = phantom_dist.open_run(tmp_path / "archive").traces()
    assert not set(COLUMNS) & set(opened.column_names)
    assert opened.num_rows == packed.rows


@pytest.mark.usefixtures("mylab")
def test_an_instrument_changes_nothing_else(tmp_path):
    without, with_it = (
        run(tmp_path / "a", model="zoo:gpt2-a"),
        run(tmp_path / "b", model="zoo:gpt2-a", instruments="mylab"),
    )
    assert without.traces().column_names == with_it.traces().column_names[:-2]
    assert sorted(without.trials()["trial_id"].to_pylist()) == sorted(
        with_it.trials()["trial_id"].to_pylist()
    )
    assert results_digest(without) == results_digest(with_it)


@pytest.mark.usefixtures("mylab")
def test_every_engine_measures_the_same():
    loaded, instruments = load("mylab:gpt2-a"), plugin_instruments.load(["mylab"])
    measured = measured_of(loaded)
    trials = [Trial(measured=measured, learning_rate=rate) for rate in (1e-4, 2e-4)]
    lanes = {r.trial.id: r for r in LanesEngine(instruments, ways=("dual",)).run(loaded, trials)}
    for solo in SingleEngine(instruments).run(loaded, trials):
        lane = lanes[solo.trial.id]
        assert (lane.engine, solo.engine) == ("dual lanes", "single")
        for one, other in zip(lane.trace, solo.trace, strict=True):
            assert one.plugin_values == pytest.approx(other.plugin_values, abs=1e-4, nan_ok=True)


@pytest.mark.usefixtures("mylab")
def test_batches_without_the_columns_read_as_null(tmp_path):
    directory = run(tmp_path, instruments=["mylab"])
    row = directory.trials().to_pylist()[0]
    again = {"trial_id": "later", "model": row["model"], "outcome": "committed"}
    directory.write_batch("later", [again], {row["model"]: [{"trial_id": "later", "step": 0}]})
    traces = directory.traces()
    assert traces["mylab.entropy"].null_count == 1


@pytest.mark.usefixtures("mylab")
@pytest.mark.slow
@pytest.mark.ray
def test_through_ray(tmp_path):
    out = tmp_path / "ray"
    where = {"executor": "ray", "address": "local", "workers": 1}
    result = phantom_dist.run(sweep(instruments=["mylab"]), out, engine="lanes", **where)
    assert result.state == "complete"
    there, here = RunDirectory(Store(out)), run(tmp_path / "here", instruments=["mylab"])
    keys = [("trial_id", "ascending"), ("step", "ascending")]
    assert results_digest(there) == results_digest(here)
    assert there.traces().sort_by(keys)["mylab.entropy"].equals(here.traces().sort_by(keys)["mylab.entropy"])


@pytest.mark.usefixtures("mylab")
def test_doctor_lists_them():
    found = [check for check in doctor().checks if check.name.startswith("plug-in")]
    assert {check.name for check in found} == {f"plug-in mylab ({group})" for group in plugins.GROUPS}
    assert all(check.ok and check.found == "mylab 1.2.0" for check in found)


@pytest.mark.usefixtures("mylab")
def test_the_adapters_own_message_reaches_the_user():
    with pytest.raises(InputError, match=r"mylab has no such model. Allowed: gpt2-a, gpt2-b"):
        plan(sweep("mylab:gpt3"))


def test_a_worker_that_lacks_one_says_so(tmp_path):
    needed = plugins.Plugin(plugins.INSTRUMENTS, "mylab", "mylab", "1.2.0", "mylab.entropy:Entropy")
    worker = Worker(
        WorkerSettings(location=str(tmp_path), driver="d", instruments=("mylab",), plugins=(needed,))
    )
    with pytest.raises(
        InputError,
        match=r"a worker on \S+ lacks the plug-in .*'mylab' of the package mylab 1.2.0. Install mylab==1.2.0 on every",
    ):
        worker.do(probe_task([problem()]), 1, 1)


@pytest.mark.usefixtures("mylab")
def test_another_version_on_a_worker_is_no_substitute():
    (mine,) = plugins.installed(plugins.INSTRUMENTS)
    plugins.check_here([mine])
    with pytest.raises(InputError, match=r"Install mylab==2\.0 on every node"):
        plugins.check_here([dataclasses.replace(mine, version="2.0")])


def test_what_nobody_adds_is_refused_by_name(tmp_path):
    with pytest.raises(
        InputError,
        match=r"'mylab': no installed package has an entry point of this name in phantom_dist.instruments",
    ):
        run(tmp_path / "out", model="zoo:gpt2-a", instruments=["mylab"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="unknown kind 'mylab:'"):
        plan(sweep("mylab:gpt2-a"))


def test_a_broken_one_stops_who_asks_for_it_and_nobody_else(package, tmp_path):
    point = "broken = broken:Thing"
    package(
        "broken",
        "0.3",
        code="import nothing_of_that_name",
        instruments=point,
        model_adapters=point,
        engine_leaves=point,
    )
    run(tmp_path / "out", model="zoo:gpt2-a")
    message = (
        r"of the package broken 0.3: broken:Thing can't be loaded \(ModuleNotFoundError.* Fix or uninstall"
    )
    with pytest.raises(InputError, match=f"phantom_dist.instruments 'broken' {message}"):
        plan(sweep("zoo:gpt2-a", instruments=["broken"]))
    with pytest.raises(InputError, match=f"phantom_dist.model_adapters 'broken' {message}"):
        plan(sweep("broken:model"))
    found = [check for check in doctor().checks if check.name.startswith("plug-in broken")]
    assert [(check.ok, check.needed) for check in found] == [(False, False)] * 3


@pytest.mark.usefixtures("mylab")
def test_a_broken_leaf_leaves_the_reference_engine(package):
    package("broken", code="raise RuntimeError('oh')", engine_leaves="broken = broken:Thing")
    loaded = load("mylab:gpt2-a")
    measured = measured_of(loaded)
    results = list(
        LanesEngine(ways=("dual",)).run(
            loaded, [Trial(measured=measured, learning_rate=rate) for rate in (1e-4, 2e-4)]
        )
    )
    assert {r.engine for r in results} == {"single"}
    assert all(
        "of the package broken 1.0: broken:Thing can't be loaded (RuntimeError: oh)" in r.note
        for r in results
    )


@pytest.mark.usefixtures("mylab")
def test_two_of_one_name_are_refused_naming_both(package):
    package("twin", "0.1", instruments="mylab = twin:Thing")
    with pytest.raises(
        InputError, match=r"two plug-ins have the same name: .*package mylab 1.2.0, and .*package twin 0.1"
    ):
        plugin_instruments.load(["mylab"])
    (check,) = [c for c in doctor().checks if c.found.startswith("twin")]
    assert not check.ok


def test_what_is_no_instrument_is_refused(package):
    package("liar", code="class Thing: pass", instruments="liar = liar:Thing")
    with pytest.raises(
        InputError,
        match=r"liar:Thing is not a class derived from phantom_dist.instruments.plugin_instruments.Instrument",
    ):
        plugin_instruments.load(["liar"])


def test_none_takes_over_what_works_without_it(package):
    package("liar", code="class Thing: pass", model_adapters="zoo = liar:Thing")
    assert plan(sweep("zoo:gpt2-a")).plan.models["zoo:gpt2-a"].verified


@pytest.mark.parametrize("given", [{}, {"a": torch.zeros(3)}, {"a": torch.zeros(2), "b": torch.zeros(2)}])
def test_wrong_shapes_and_columns_are_one_message(given):
    class Wrong(Instrument):
        columns = (quantity("a"),)

        def measure(self, readout: Readout):
            return given

    with pytest.raises(
        InputError, match=r"instrument 'wrong' gave .*; it should give a, each of shape \(2,\)"
    ):
        plugin_instruments.Named("wrong", Wrong()).measure(readout())


def test_a_failing_instrument_is_named():
    class Failing(Instrument):
        columns = (quantity("a"),)

        def measure(self, readout: Readout):
            raise ZeroDivisionError("by zero")

    with pytest.raises(InputError, match="instrument 'failing' failed at step 4: ZeroDivisionError: by zero"):
        plugin_instruments.Named("failing", Failing()).measure(readout())


def quantity(name: str):
    return Quantity(name=name, type="float64", description="x")


def readout() -> Readout:
    row, token = torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)
    return Readout(
        step=4,
        logits_LV=row,
        probabilities_LV=row,
        lever_LV=row,
        target_L=token,
        competitor_L=token,
        overlap_L=token,
    )
