"""The search as an Optuna study: the same root, few trials, and no state but the storage."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.root_search import Bracket, NoRoot
from phantom_dist.refinement.sampler import (
    MOST_REPLICAS,
    CriticalRateSampler,
    abandon_running,
    ask,
    ask_batch,
    journal,
    record,
    suggest,
    tell,
)
from tests.servers.ports import free_ports

optuna.logging.set_verbosity(optuna.logging.ERROR)


def gap(rate: float, *, root: float = 3e-4, bend: float = 0.0, gap_0: float = -4.0) -> float:
    """A curve with value gap_0 at 0 and one zero at the root."""
    x = rate / root
    return gap_0 * (1 - x) * (1 + bend * x)


def sampler(*, root: float = 3e-4, bend: float = 0.0, tolerance: float = 0.01, **more) -> CriticalRateSampler:
    return CriticalRateSampler(gap_0=-4.0, slope_0=4.0 * (1 - bend) / root, tolerance=tolerance, **more)


def search(study: optuna.Study, trials_per_search: int = 1, **shape) -> int:
    rounds = 0
    while trials := ask_batch(study, trials_per_search):
        rounds += 1
        for trial in trials:
            tell(study, trial, gap=gap(trial.params["learning_rate"], **shape))
    return rounds


@settings(max_examples=60)
@given(
    exponent=st.floats(-6, 0),
    bend=st.floats(-0.5, 0.6),
    off=st.floats(-0.3, 0.3),
    tolerance=st.sampled_from([0.01, 0.001]),
    trials_per_search=st.integers(1, 3),
)
def test_it_closes_a_bracket_around_the_root_however_far_off_the_prediction_is(
    exponent, bend, off, tolerance, trials_per_search
):
    root = 10**exponent
    guess = root * math.exp(off)
    made = sampler(root=root, bend=bend, tolerance=tolerance, expected=(guess * 0.97, guess, guess * 1.03))
    study = optuna.create_study(sampler=made)
    search(study, trials_per_search, root=root, bend=bend)
    found = made.result(study)
    assert isinstance(found, Bracket)
    assert found.width <= tolerance * (1 + 1e-9)
    assert found.low <= root * (1 + 1e-9)
    assert found.high >= root * (1 - 1e-9)
    assert len(study.trials) <= 20


def test_four_trials_at_once_hold_the_crossing_and_a_second_round_closes_it():
    made = sampler(bend=0.3, expected=(2.9e-4, 3.05e-4, 3.15e-4))
    study = optuna.create_study(sampler=made)
    assert search(study, trials_per_search=4, bend=0.3) == 2
    first = sorted(t.params["learning_rate"] for t in study.trials[:4])
    apart = 1.0095**0.5
    assert first == pytest.approx([2.9e-4, 3.05e-4 / apart, 3.05e-4 * apart, 3.15e-4])


def test_a_good_prediction_takes_two_trials():
    made = sampler(bend=0.5, expected=(2.9e-4, 3.004e-4, 3.1e-4))
    study = optuna.create_study(sampler=made)
    search(study, bend=0.5)
    assert len(study.trials) == 2
    assert isinstance(made.result(study), Bracket)


def test_a_search_continues_from_its_storage(tmp_path):
    def opened():
        return optuna.create_study(
            storage=journal(str(tmp_path / "journal.log")),
            study_name="s",
            load_if_exists=True,
            sampler=sampler(bend=0.4),
        )

    straight = optuna.create_study(sampler=sampler(bend=0.4))
    search(straight, bend=0.4)
    first = opened()
    tell(first, ask(first), gap=gap(first.trials[0].params["learning_rate"], bend=0.4))
    again = opened()
    search(again, bend=0.4)
    assert [t.params for t in again.trials] == [t.params for t in straight.trials]


def test_a_search_that_died_while_it_trained_goes_on(tmp_path):
    """The dead process's trial stays RUNNING in the storage, where it looks like one that is being trained."""

    def opened():
        return optuna.create_study(
            storage=journal(str(tmp_path / "journal.log")),
            study_name="s",
            load_if_exists=True,
            sampler=sampler(),
        )

    died = opened()
    lost = ask(died).params
    again = opened()
    assert ask(again) is None, "it waits for what is running"
    assert abandon_running(again) == 1
    assert ask(again).params == lost
    assert abandon_running(again) == 1
    search(again)
    assert isinstance(again.sampler.result(again), Bracket)


def test_a_gap_that_was_recorded_before_the_process_died_is_not_trained_again(tmp_path):
    study = optuna.create_study(sampler=sampler())
    trial = ask(study)
    record(trial, gap=gap(suggest(trial)))
    rest = ask(study)
    assert rest is not None
    assert rest.params != trial.params


def test_optuna_runs_the_search_and_it_ends_by_itself():
    study = optuna.create_study(sampler=sampler(bend=0.4))
    study.optimize(lambda trial: record(trial, gap=gap(suggest(trial), bend=0.4)))
    straight = optuna.create_study(sampler=sampler(bend=0.4))
    search(straight, bend=0.4)
    assert isinstance(study.sampler.result(study), Bracket)
    assert [t.params for t in study.trials] == [t.params for t in straight.trials]


def test_a_trial_without_its_gap_is_an_error_and_not_asked_for_for_ever():
    study = optuna.create_study(sampler=sampler())
    with pytest.raises(RuntimeError, match="trial 0 was told"):
        study.optimize(lambda trial: abs(gap(suggest(trial))), n_trials=50)


def test_optuna_dashboard_opens_the_study(tmp_path):
    place = tmp_path / "journal.log"
    study = optuna.create_study(storage=journal(str(place)), study_name="shame, guilt", sampler=sampler())
    search(study)
    (port,) = free_ports(1)
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        pytest.skip("optuna-dashboard is not installed")
    with subprocess.Popen(
        [program, place, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            (summary,) = answer(port, "studies")["study_summaries"]
            assert summary["study_name"] == "shame, guilt"
            shown = answer(port, f"studies/{summary['study_id']}?after=0")["trials"]
        finally:
            server.terminate()
    rates = [float(t["params"][0]["param_external_value"]) for t in shown]
    assert rates == pytest.approx([t.params["learning_rate"] for t in study.trials])


def answer(port, path):
    """The response of the dashboard's API, once the server listens."""
    for attempt in range(120):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=30) as reply:
                return json.load(reply)
        except urllib.error.URLError:
            if attempt == 119:
                raise
            time.sleep(0.5)


def test_any_other_storage_does(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", sampler=sampler())
    search(study)
    assert isinstance(study.sampler.result(study), Bracket)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_noisy_ends_are_replicated_until_their_signs_are_clear(seed):
    """Noise of 0.1 logits, ends up to 0.2 apart: three replicas often leave a sign open; at most twelve are trained."""
    made = sampler(replicas=3, tolerance=0.05)
    study = optuna.create_study(sampler=made)
    noise = random.Random(seed)
    while (trial := ask(study)) is not None:
        tell(study, trial, gap=gap(trial.params["learning_rate"]) + noise.gauss(0, 0.1))
    found = made.result(study)
    assert isinstance(found, Bracket)
    for end in (found.low, found.high):
        gaps = [t.user_attrs["gap"] for t in study.trials if t.params["learning_rate"] == end]
        error = statistics.stdev(gaps) / math.sqrt(len(gaps))
        assert 3 <= len(gaps) <= 3 * MOST_REPLICAS
        assert abs(statistics.fmean(gaps)) >= 2 * error or len(gaps) == 3 * MOST_REPLICAS
    counts = [sum(t.params == u.params for u in study.trials) for t in study.trials]
    assert min(counts) >= 3


def test_replicas_that_agree_are_not_repeated():
    made = sampler(replicas=3, tolerance=0.05)
    study = optuna.create_study(sampler=made)
    search(study)
    assert {sum(t.params == u.params for u in study.trials) for t in study.trials} == {3}


def test_divergence_is_an_upper_end_and_no_crossing_has_its_reason():
    made = sampler(root=1.0)
    study = optuna.create_study(sampler=made)
    while (trial := ask(study)) is not None:
        rate = trial.params["learning_rate"]
        tell(study, trial, gap=math.nan if rate > 0.3 else gap(rate, root=1.0))
    assert made.result(study) == NoRoot("diverges_before_crossing")
    assert {t.user_attrs["outcome"] for t in study.trials} == {
        Outcome.DIVERGED.value,
        Outcome.KINEMATIC.value,
    }
    stuck = CriticalRateSampler(gap_0=-1.0, slope_0=-1.0, tolerance=0.01)
    empty = optuna.create_study(sampler=stuck)
    assert ask(empty) is None
    assert stuck.result(empty) == NoRoot("kappa_not_positive")


def test_another_parameter_is_refused():
    study = optuna.create_study(sampler=sampler())
    with pytest.raises(ValueError, match="parameter 'momentum': this sampler supports 'learning_rate' only"):
        study.ask().suggest_float("momentum", 0, 1)


def test_a_finished_search_says_so():
    study = optuna.create_study(sampler=sampler())
    search(study)
    assert ask(study) is None
    with pytest.raises(RuntimeError, match="proposes no further trial"):
        study.ask({"learning_rate": optuna.distributions.FloatDistribution(1e-12, 1e6, log=True)})
