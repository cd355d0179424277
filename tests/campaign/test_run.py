"""From a sweep to critical rates, in process and through Ray; interrupted, continued, extended, refused."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter

import pyarrow.parquet as pq
import pytest

import phantom_dist
from phantom_dist.campaign import run_driver
from phantom_dist.core.errors import InputError
from phantom_dist.planning.summary import plan_rows
from phantom_dist.scheduling.inprocess import ThisProcess
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.traces import RunDirectory, Store, directory_and_sweep
from phantom_dist.traces.claim import claim
from phantom_dist.traces.decode import probe_summaries

from .runs import digest, rows, run


def test_every_critical_rate_is_bracketed_by_two_stored_trials(sweep, tmp_path):
    result = run(sweep, tmp_path)
    assert result.state == "complete"
    assert len(result.critical_rates) == 4
    by_rate = {(r["context"], r["method"], r["learning_rate"]): r for r in rows(tmp_path)}
    for entry in result.critical_rates:
        assert entry.reason is None
        low, high = entry.bracket
        assert low <= entry.eta_c <= high <= low * 1.05
        assert by_rate[entry.context, entry.method, low]["gap_final"] <= 0
        assert by_rate[entry.context, entry.method, high]["gap_final"] > 0
        assert entry.pi_c == pytest.approx(entry.eta_c * 4 * entry.kappa / abs(entry.gap_0))
    assert result.trials.done == result.trials.total == len(by_rate)
    assert sum(result.outcomes.values()) == len(by_rate)


def test_the_directory_holds_what_the_contract_names(sweep, tmp_path):
    run(sweep, tmp_path)
    directory, spec = directory_and_sweep(tmp_path)
    assert spec.name == "small"
    trials, traces = directory.trials(), directory.traces()
    steps = {r["trial_id"]: r["steps_taken"] for r in trials.to_pylist()}
    assert len(steps) == trials.num_rows, "rows come once per trial"
    assert traces.num_rows == sum(s + 1 for s in steps.values())
    assert set(traces["model"].to_pylist()) == {"zoo:gpt2-a"}
    plan = pq.read_table(directory.store.path("plan.parquet")).to_pylist()
    assert {(p["problem"], p["learning_rate"], p["batch"]) for p in plan} == {
        (r["problem"], r["learning_rate"], r["batch"]) for r in trials.to_pylist()
    }


def test_the_plan_keeps_what_was_predicted_beside_what_was_used(sweep, tmp_path):
    run(sweep, tmp_path)
    directory, _ = directory_and_sweep(tmp_path)
    used = {(r["problem"], r["learning_rate"]): r for r in rows(tmp_path)}
    for row in pq.read_table(directory.store.path("plan.parquet")).to_pylist():
        trial = used[row["problem"], row["learning_rate"]]
        assert row["wall_time"] == trial["wall_time"] > 0
        assert row["process_bytes"] == trial["process_bytes"] > 1e8
        assert row["predicted_trial_steps"] == trial["steps"]
        assert 0 < row["predicted_seconds"] < 60
        assert 1e8 < row["predicted_process_bytes"] < 1e10


def test_running_again_repeats_nothing(sweep, tmp_path):
    run(sweep, tmp_path)
    stamps = {r["trial_id"]: r["finished_at"] for r in rows(tmp_path)}
    assert run(sweep, tmp_path).state == "complete"
    assert {r["trial_id"]: r["finished_at"] for r in rows(tmp_path)} == stamps


class Interrupt:
    """An observer that raises KeyboardInterrupt after so many trials."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, progress) -> None:
        if progress.done >= self.after:
            self.after = 10**9
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_interrupted_run_is_finished_with_the_same_results(sweep, tmp_path, after, monkeypatch):
    monkeypatch.setattr(run_driver, "HEARTBEAT_S", 0.0)
    run(sweep, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path / "cut", observer=Interrupt(after))
    assert phantom_dist.status(tmp_path / "cut").state == "interrupted"
    kept = {r["trial_id"]: r["finished_at"] for r in rows(tmp_path / "cut")}
    assert phantom_dist.resume(tmp_path / "cut", executor="inprocess").state == "complete"
    assert kept.items() <= {r["trial_id"]: r["finished_at"] for r in rows(tmp_path / "cut")}.items()
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_given_learning_rates_run_as_planned(sweep, tmp_path):
    sweep["learning_rates"] = {"log": [1e-3, 1e-1, 5]}
    planned = phantom_dist.plan(sweep)
    result = run(sweep, tmp_path)
    assert result.to_json()["trials"] == {"total": 20, "done": 20, "failed": 0}
    assert {(r["problem"], r["learning_rate"], r["batch"]) for r in rows(tmp_path)} == {
        (r["problem"], r["learning_rate"], r["batch"]) for r in plan_rows(planned.plan)
    }


def test_more_values_on_an_axis_extend_a_run(sweep, tmp_path):
    sweep["learning_rates"] = [1e-3]
    run(sweep, tmp_path)
    stamps = {r["trial_id"]: r["finished_at"] for r in rows(tmp_path)}
    sweep["learning_rates"] = [1e-3, 2e-3]
    assert run(sweep, tmp_path).trials.done == 8
    assert stamps.items() <= {r["trial_id"]: r["finished_at"] for r in rows(tmp_path)}.items()


def test_another_sweep_is_refused_with_the_difference(sweep, tmp_path):
    sweep["learning_rates"] = [1e-3]
    run(sweep, tmp_path)
    other = copy.deepcopy(sweep) | {"steps": [5]}
    before = rows(tmp_path)
    with pytest.raises(InputError, match=r"belongs to another sweep(.|\n)*steps"):
        run(other, tmp_path)
    assert rows(tmp_path) == before


def test_a_directory_with_other_files_is_refused(sweep, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty and holds no run"):
        run(sweep, tmp_path)


def test_a_start_that_was_killed_right_after_its_plan_can_be_repeated(sweep, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "write_sweep", killed)
        with pytest.raises(KeyboardInterrupt):
            run(sweep, tmp_path)
    assert RunDirectory(Store(tmp_path)).store.names() == ["plan.parquet"]
    assert run(sweep, tmp_path).state == "complete"


def test_a_second_driver_is_refused(sweep, tmp_path):
    with claim(RunDirectory(Store(tmp_path))), pytest.raises(InputError, match="another run is writing here"):
        run(sweep, tmp_path)


def test_refused_pairs_are_outcomes_and_the_rest_runs(sweep, tmp_path):
    good = sweep["contexts"][0]
    sweep["contexts"] = [
        good,
        good | {"id": "committed", "target": good["competitor"], "competitor": good["target"]},
        good | {"id": "auto", "competitor": "auto"},
        good | {"id": "twice", "competitor": good["target"]},
        good | {"id": "unknown", "target": " quixotry"},
    ]
    sweep["thresholds"] = {"synonym_floor_rms": 1000}  # so that `auto` finds none
    result = run(sweep, tmp_path)
    assert result.outcomes["refused_committed"] == 2
    assert result.outcomes["refused_not_synonym"] == 2
    assert result.outcomes["refused_tokens"] == 4
    reasons = {(e.context, e.reason) for e in result.critical_rates if e.eta_c is None}
    assert reasons == {
        ("committed", "refused_committed"),
        ("auto", "refused_not_synonym"),
        ("twice", "refused_tokens"),
        ("unknown", "refused_tokens"),
    }
    assert sum(e.eta_c is not None for e in result.critical_rates) == 2
    assert not result.errors, "a refusal is no failure"
    refused = [r for r in rows(tmp_path) if r["outcome"].startswith("refused")]
    assert all(r["error"] for r in refused)
    assert {(r.context, r.outcome) for r in result.refusals} == reasons, "each told once, for all methods"
    shown = str(result)
    for entry in result.refusals:
        assert f"{entry.outcome}: zoo:gpt2-a {entry.context}: {entry.error}" in shown
    assert run(sweep, tmp_path).trials.done == result.trials.done, "and is recorded once"


def test_lanes_find_the_critical_rates_of_the_reference_engine(sweep, tmp_path):
    sweep["learning_rates"] = {"critical": {"tolerance": 0.01}}
    sweep["methods"] = [{"full": {"optimizers": ["sgd", "adamw"]}}, sweep["methods"][1]]
    for engine in ("auto", "single"):
        run(sweep, tmp_path / engine, engine=engine)
    # A lone full trial of so small a model is trained by the reference, which is faster there.
    assert {r["engine"] for r in rows(tmp_path / "auto")} - {"single"} == {
        "dual lanes",
        "stacked lanes",
        "lora lanes",
    }
    assert {r["engine"] for r in rows(tmp_path / "single")} == {"single"}
    expected = {
        (e.context, e.method, e.optimizer): e.eta_c
        for e in phantom_dist.status(tmp_path / "single").critical_rates
    }
    found = phantom_dist.status(tmp_path / "auto").critical_rates
    assert len(found) == len(expected) == 6
    for e in found:
        assert e.eta_c == pytest.approx(expected[e.context, e.method, e.optimizer], rel=5e-4)


def test_a_run_goes_on_with_the_engine_that_it_began_with(sweep, tmp_path):
    """Otherwise another engine would train the rest of a resumed run, in other batches."""
    sweep["learning_rates"] = {"critical": {"tolerance": 0.01}}
    run(sweep, tmp_path, engine="single", max_trials=1)
    assert phantom_dist.status(tmp_path).state == "interrupted"
    phantom_dist.resume(tmp_path, executor="inprocess")
    assert phantom_dist.status(tmp_path).state == "complete"
    assert {r["engine"] for r in rows(tmp_path)} == {"single"}
    sweep["steps"] = [*(sweep["steps"] if isinstance(sweep["steps"], list) else [sweep["steps"]]), 3]
    run(sweep, tmp_path)
    assert {r["engine"] for r in rows(tmp_path)} == {"single"}, "an extended run as well"


def test_as_many_workers_are_useful_as_there_are_tasks(sweep):
    sweep |= {"learning_rates": {"log": [1e-5, 1e-2, 500]}, "contexts": sweep["contexts"][:1]}
    many = phantom_dist.plan(sweep).plan
    assert len(many.problems) < many.phases[0].max_concurrent_tasks == len(many.batch_groups)
    sweep["learning_rates"] = {"critical": {}}
    searches = phantom_dist.plan(sweep).plan
    assert searches.phases[0].max_concurrent_tasks <= len(searches.problems)


def test_searches_of_one_way_share_every_batch(sweep, tmp_path):
    run(sweep, tmp_path)
    by_batch: dict[str, list] = {}
    for row in rows(tmp_path):
        by_batch.setdefault(row["batch"], []).append(row)
    assert all(len({(r["method"], r["optimizer"]) for r in batch}) == 1 for batch in by_batch.values())
    counts = [Counter(r["problem"] for r in batch) for batch in by_batch.values()]
    assert max(max(count.values()) for count in counts) <= 2, "spare lanes take a second trial of a search"
    assert sum(len(count) == 2 for count in counts) >= 4, "two contexts, round by round"


@pytest.mark.parametrize("start", ["law", "first_order"])
def test_a_search_starts_where_it_is_told_to(sweep, tmp_path, start):
    sweep["learning_rates"] = {"critical": {"tolerance": 0.01, "start": start}}
    sweep["steps"] = [8]
    result = run(sweep, tmp_path)
    probes = directory_and_sweep(tmp_path)[0].probes().to_pylist()
    assert all((row["path_rates"] is not None) == (start == "law") for row in probes)
    for entry in result.critical_rates:
        steps = 8 * entry.trials_used + (4 if start == "law" else 2)
        assert entry.trial_steps_used == pytest.approx(steps)
    used = [entry.trials_used for entry in result.critical_rates]
    assert sum(used) <= 12 if start == "law" else sum(used) >= 13, used


def test_a_model_that_lanes_do_not_know_is_trained_by_the_reference_and_status_says_why(
    sweep, tmp_path, monkeypatch
):
    from phantom_dist.engines.lanes import leaves

    without = tuple(kind for kind in leaves.LEAVES if kind is not leaves.LayerNorm)
    monkeypatch.setattr(leaves, "LEAVES", without)
    sweep["learning_rates"] = [1e-3]
    result = run(sweep, tmp_path, engine="lanes")
    assert {(r["method"], r["engine"]) for r in rows(tmp_path)} == {
        ("full", "single"),
        ("lora", "lora lanes"),
    }
    why = "transformer.h.0.ln_1 is a LayerNorm, for which lanes have no leaf"
    assert result.notes == {why: 2}
    assert f"2 trial(s) on the reference engine: {why}" in str(result)


def test_a_run_that_continues_packs_as_it_began(sweep, tmp_path, monkeypatch):
    """A machine with less memory continues the run with the same plan, and the results are equal to the last bit."""
    sweep["learning_rates"] = {"log": [1e-3, 1e-1, 5]}
    monkeypatch.setattr(run_driver, "HEARTBEAT_S", 0.0)
    run(sweep, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path / "cut", observer=Interrupt(1))
    assert 0 < len(rows(tmp_path / "cut")) < 20
    tiny = WorkerKind(count=1, memory_bytes=1.0)
    monkeypatch.setattr(ThisProcess, "worker_kinds", lambda self, device, threads: (tiny,))
    run(sweep, tmp_path / "cut")
    assert {r["batch"] for r in rows(tmp_path / "cut")} == {r["batch"] for r in rows(tmp_path / "whole")}
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


@pytest.mark.parametrize("model", ["zoo:no-such-model", "./no-such-folder", "gguf:no-such-file.gguf"])
def test_a_model_that_does_not_exist_stops_before_anything_is_written(sweep, tmp_path, model):
    sweep["models"] = [model]
    with pytest.raises(InputError, match=model.split(":")[-1].split("/")[-1]):
        run(sweep, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_lora_target_is_the_whole_sweeps_error(sweep, tmp_path):
    sweep["methods"] = [{"lora": {"targets": ["q_proj"], "optimizers": ["adamw"]}}]
    with pytest.raises(InputError, match="LoRA target 'q_proj' is no linear module of GPT2LMHeadModel"):
        run(sweep, tmp_path)


def test_no_run_in_a_directory(tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        phantom_dist.status(tmp_path)
    with pytest.raises(InputError, match="no run directory"):
        phantom_dist.resume(tmp_path)


def test_unknown_choices_stop_before_anything_is_written(sweep, tmp_path):
    for option in ({"executor": "dask"}, {"engine": "singel"}, {"retry": "all"}):
        ((name, value),) = option.items()
        with pytest.raises(InputError, match=rf"{name} {value}: there is no such choice"):
            phantom_dist.run(sweep, tmp_path / "run", **option)
    assert not (tmp_path / "run").exists()


def test_a_search_without_a_critical_rate_is_reported_with_its_reason(sweep, tmp_path):
    """Under a huge weight decay the update points along the weights, which widens the gap in this context."""
    text = "When the monster howled, the captain was overcome with"
    sweep["contexts"].append({"id": "widens", "text": text, "target": " dread", "competitor": " fear"})
    sweep["methods"] = [{"full": {"optimizers": [{"sgd": {"weight_decay": 1e5}}]}}]
    result = run(sweep, tmp_path)
    entries = result.critical_rates
    assert len(entries) == len(sweep["contexts"])
    assert [e.reason for e in entries if e.context == "widens"] == ["kappa_not_positive"]
    assert all(e.eta_c is not None or e.reason for e in entries)
    planned = pq.read_table(tmp_path / "plan.parquet")["context"].to_pylist()
    assert set(planned) == {c["id"] for c in sweep["contexts"]}


def test_kappa_below_zero_is_a_named_reason(sweep, tmp_path):
    """The entry follows from the stored probe alone; nothing was trained."""
    from phantom_dist.refinement.critical_rate import critical_rates

    run(sweep, tmp_path)
    stored = probe_summaries(RunDirectory(Store(tmp_path)).probes())
    probes = [dataclasses.replace(p, kappa=-abs(p.kappa)) for p in stored]
    entries = critical_rates(probes, [], 0.01)
    assert [e.reason for e in entries] == ["kappa_not_positive"] * 4
    assert [e.eta_c for e in entries] == [None] * 4


def test_the_same_context_under_two_names_is_refused(sweep, tmp_path):
    sweep["contexts"].append(sweep["contexts"][0] | {"id": "twin"})
    with pytest.raises(InputError, match="are the same problem: equal weights, tokens and settings"):
        run(sweep, tmp_path)


def test_a_start_that_measured_nothing_does_not_bind_the_directory(sweep, tmp_path):
    sweep["methods"] = [{"lora": {"targets": ["q_proj"], "optimizers": ["adamw"]}}]
    with pytest.raises(InputError, match="q_proj"):
        run(sweep, tmp_path)
    sweep["methods"] = [{"lora": {"targets": ["c_attn"], "optimizers": ["adamw"]}}]
    assert run(sweep, tmp_path).state == "complete"


def test_a_users_own_sweep_file_is_never_overwritten(sweep, tmp_path):
    (tmp_path / "sweep.yaml").write_text("# mine")
    with pytest.raises(InputError, match="not empty and holds no run"):
        run(sweep, tmp_path)
    assert (tmp_path / "sweep.yaml").read_text() == "# mine"


def test_an_out_that_is_a_file_is_refused(sweep, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"--out .*file: can't be written"):
        run(sweep, tmp_path / "file")


def test_a_path_that_looks_like_a_partition_changes_nothing(sweep, tmp_path):
    sweep["learning_rates"] = [1e-3]
    run(sweep, tmp_path / "model=x y")
    assert {r["model"] for r in rows(tmp_path / "model=x y")} == {"zoo:gpt2-a"}


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(sweep, tmp_path):
    long = sweep["contexts"][0] | {"id": "long", "text": sweep["contexts"][0]["text"] + " the" * 60}
    sweep["contexts"] = [long]
    result = run(sweep, tmp_path)
    assert result.outcomes == {"refused_tokens": 2}
    assert all("the model reads at most 64" in r["error"] for r in rows(tmp_path))


def test_running_a_complete_run_again_keeps_its_figures(sweep, tmp_path):
    first = run(sweep, tmp_path)
    again = run(sweep, tmp_path)
    assert (again.seconds, again.workers) == (first.seconds, first.workers)


def test_a_run_is_running_from_its_first_moment(sweep, tmp_path):
    states = []

    def look(progress):
        states.append(phantom_dist.status(tmp_path).state)

    run(sweep, tmp_path, observer=look)
    assert states[0] == "running"
    assert states[-1] == "complete"


def test_an_extension_plans_what_took_place(sweep, tmp_path):
    sweep["learning_rates"] = [1e-3]
    run(sweep, tmp_path)
    sweep["learning_rates"] = [1e-3, 2e-3, 4e-3]
    run(sweep, tmp_path)
    plan = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    assert {(p["problem"], p["learning_rate"], p["batch"]) for p in plan} == {
        (r["problem"], r["learning_rate"], r["batch"]) for r in rows(tmp_path)
    }


def test_the_shortest_run_knows_its_memory(sweep, tmp_path):
    sweep["learning_rates"] = [1e-3]
    assert run(sweep, tmp_path).peak_memory_bytes > 2**27, "torch alone takes more"


def test_progress_adds_up(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(run_driver, "HEARTBEAT_S", 0.0)
    seen = []
    run(sweep, tmp_path, observer=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    last = seen[-1]
    assert last.done == last.expected == sum(last.outcomes.values())
    assert all(s.finished for s in last.searches)
    assert all(low < high for low, high in (s.bracket for s in last.searches))


@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_same_results_with_one_worker_and_two(sweep, tmp_path):
    run(sweep, tmp_path / "inprocess")
    for workers in (1, 2):
        result = phantom_dist.run(sweep, tmp_path / f"ray{workers}", address="local", workers=workers)
        assert result.state == "complete"
        assert digest(tmp_path / f"ray{workers}") == digest(tmp_path / "inprocess")


def test_rates_beyond_a_critical_one_are_multiples_of_it(sweep, tmp_path):
    """An extended run trains what is missing; the critical rates stay."""
    search = sweep["learning_rates"]["critical"]
    search["multiples"] = [3, 30]
    first = run(sweep, tmp_path)
    search["multiples"] = [3, 30, 300]
    found = run(sweep, tmp_path)
    assert [(r.eta_c, r.bracket) for r in found.critical_rates] == [
        (r.eta_c, r.bracket) for r in first.critical_rates
    ]
    assert found.trials.done == first.trials.done + len(found.critical_rates)
    for entry in found.critical_rates:
        rates = {r["learning_rate"] for r in rows(tmp_path) if r["problem"] == entry.problem}
        assert {multiple * entry.eta_c for multiple in (3, 30, 300)} <= rates
        assert len(rates) == entry.trials_used
    search["multiples"] = [3]
    with pytest.raises(
        InputError, match="30 times the critical rate, 300 times the critical rate; the sweep does not"
    ):
        run(sweep, tmp_path)
