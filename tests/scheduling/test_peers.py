"""The comparison of `make bench-peers`: both sides run every trial once and train the same trials."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("ray.tune", reason="needs ray[tune]", exc_type=ImportError)

from phantom_dist.core.measurement import Trial
from phantom_dist.core.trial import Lora, Optimizer
from phantom_dist.engines import ENGINES
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models.load import load
from tests.benchmarks.peers import idle, tuned
from tests.benchmarks.peers.local_ray import local_ray
from tests.benchmarks.peers.rate import rate_of
from tests.benchmarks.peers.searches import SEARCHES, ManySearches
from tests.benchmarks.peers.training import final_gap

from .conformance import problem

pytestmark = pytest.mark.ray


@pytest.mark.slow
def test_both_sides_run_every_trial_once(tmp_path, monkeypatch):
    for engine in (idle.IdleEngine, idle.SleepEngine):
        monkeypatch.setitem(ENGINES, engine.name, engine)  # so that they are gone afterwards
    with local_ray(idle.HOOK):
        ours = idle.ours(idle.IdleEngine, 2 * idle.BATCH, tmp_path / "ours")
    with local_ray():
        theirs = tuned.ray_tune(0.0, 20, tmp_path / "theirs", tuned.Setting(files="none"))
    assert (ours.trials, theirs.trials) == (96, 20)
    assert min(ours.steady, ours.whole, theirs.steady, theirs.whole) > 0


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"], ["a", "b", "c", "c"]])
def test_a_missing_or_doubled_trial_is_no_rate(names):
    with pytest.raises(RuntimeError, match="3 trials were asked for"):
        rate_of(names, [1.0] * len(names), asked=3, seconds=1.0)


def test_a_rate_counts_what_ended_after_the_first_batch():
    rate = rate_of(["a", "b", "c", "d"], [5.0, 5.0, 6.0, 7.0], asked=4, seconds=8.0)
    assert (rate.steady, rate.whole) == (1.0, 0.5)


@pytest.mark.parametrize("way", ["bisection", "tpe", "gp"])
def test_searches_stop_at_a_bracket_or_at_the_most_trials(way):
    """Two curves g = ln(η / root), side by side, one trial each at a time."""
    roots = {"a": 0.9, "b": 2.7}
    search = ManySearches({key: SEARCHES[way](0.25, 4.0) for key in roots}, tolerance=0.01, most=12)
    number = 0
    while (config := search.suggest(str(number))) != ManySearches.FINISHED:
        other = search.suggest("other")
        running = {str(number): config} | ({} if other in (None, ManySearches.FINISHED) else {"other": other})
        assert len({c["problem"] for c in running.values()}) == len(running)
        for name, tried in running.items():
            gap = math.log(tried["learning_rate"] / roots[tried["problem"]])
            search.on_trial_complete(name, {"gap": gap, "size": abs(gap)})
        number += 1
    if way == "bisection":
        assert search.trials == 22
        for key, root in roots.items():
            assert search.closed(key).low <= root <= search.closed(key).high
    assert search.trials <= 24


@pytest.mark.parametrize("method", ["full", "lora"])
def test_tune_trains_what_the_reference_engine_trains(method):
    lora = Lora(rank=4) if method == "lora" else None
    changes = {"method": method, "lora": lora, "optimizer": Optimizer(name="adamw" if lora else "sgd")}
    asked = problem().model_copy(update=changes)
    loaded = load(asked.model)
    trial = Trial(measured=probe(loaded, asked), learning_rate=3e-3)
    (result,) = SingleEngine().run(loaded, [trial])
    assert result.trace[-1].logit_gap != result.trace[0].logit_gap
    for _ in range(2):  # the model is left untouched
        assert final_gap(loaded, asked, 3e-3) == pytest.approx(result.trace[-1].logit_gap, abs=1e-5)
