"""The search as an Optuna study: the same root, few trials, state in the storage alone."""

from __future__ import annotations

import json
import math
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
from phantom_dist.refinement.sampler import CriticalRateSampler, ask, ask_batch, journal, tell
from tests.servers.ports import free_ports

optuna.logging.set_verbosity(optuna.logging.ERROR)


def gap(rate: float, *, root: float = 3e-4, bend: float = 0.0, gap_0: float = -4.0) -> float:
    """A curve with value gap_0 at 0 and one zero at the root."""
    x = rate / root
    return gap_0 * (1 - x) * (1 + bend * x)


def sampler(*, root: float = 3e-4, bend: float = 0.0, tolerance: float = 0.01, **more) -> CriticalRateSampler:
    return CriticalRateSampler(gap_0=-4.0, slope_0=4.0 * (1 - bend) / root, tolerance=tolerance, **more)


def search(study: optuna.Study, together: int = 1, **shape) -> int:
    rounds = 0
    while trials := ask_batch(study, together):
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
    together=st.integers(1, 3),
)
def test_it_closes_a_bracket_around_the_root_however_far_off_the_prediction_is(
    exponent, bend, off, tolerance, together
):
    root = 10**exponent
    guess = root * math.exp(off)
    made = sampler(root=root, bend=bend, tolerance=tolerance, expected=(guess * 0.97, guess, guess * 1.03))
    study = optuna.create_study(sampler=made)
    search(study, together, root=root, bend=bend)
    found = made.result(study)
    assert isinstance(found, Bracket)
    assert found.width <= tolerance * (1 + 1e-9)
    assert found.low <= root * (1 + 1e-9)
    assert found.high >= root * (1 - 1e-9)
    assert len(study.trials) <= 20


def test_four_trials_at_once_hold_the_crossing_and_a_second_round_closes_it():
    made = sampler(bend=0.3, expected=(2.9e-4, 3.05e-4, 3.15e-4))
    study = optuna.create_study(sampler=made)
    assert search(study, together=4, bend=0.3) == 2
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


def test_optuna_dashboard_opens_the_study(tmp_path):
    place = tmp_path / "journal.log"
    study = optuna.create_study(storage=journal(str(place)), study_name="shame, guilt", sampler=sampler())
    search(study)
    (port,) = free_ports(1)
    program = Path(sys.executable).with_name("optuna-dashboard")
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
    """What the dashboard's API says, as soon as the server listens."""
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


def test_replicas_are_averaged():
    made = sampler(replicas=3, tolerance=0.05)
    study = optuna.create_study(sampler=made)
    shifts = [0.15, -0.15, 0.0]
    while (trial := ask(study)) is not None:
        rate = trial.params["learning_rate"]
        seen = sum(t.params["learning_rate"] == rate for t in study.trials) - 1
        tell(study, trial, gap=gap(rate) + shifts[seen])
    found = made.result(study)
    assert isinstance(found, Bracket)
    assert found.low <= 3e-4 <= found.high
    counts = [sum(t.params == u.params for u in study.trials) for t in study.trials]
    assert set(counts) == {3}


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
    with pytest.raises(ValueError, match="'learning_rate' alone, not 'momentum'"):
        study.ask().suggest_float("momentum", 0, 1)


def test_a_finished_search_says_so():
    study = optuna.create_study(sampler=sampler())
    search(study)
    assert ask(study) is None
    with pytest.raises(RuntimeError, match="asks for nothing more"):
        study.ask({"learning_rate": optuna.distributions.FloatDistribution(1e-12, 1e6, log=True)})
