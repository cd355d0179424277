"""Early stopping: a decided trial is the beginning of the whole one, on every engine, and has an id of its own."""

from __future__ import annotations

import pytest

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.trial import Problem
from phantom_dist.engines.probe import probe
from phantom_dist.models.load import load
from phantom_dist.records import trial_row

from .problems import CONTEXTS, engine_for, problem
from .test_training_sets import RATES, problems, trained

STEPS = 24
CLOSE = {"rel": 1e-4, "abs": 1e-3}


def first_order(measured: Measured) -> float:
    return abs(measured.gap_0) / (measured.kappa * measured.problem.steps)


def run(engine: str, of: list[Problem], shares: tuple[float, ...]) -> list[TrialResult]:
    loaded = load("zoo:gpt2-a")
    probed = [probe(loaded, asked) for asked in of]
    trials = [
        Trial(measured=m, learning_rate=share * first_order(m))
        for m in probed
        if isinstance(m, Measured)
        for share in shares
    ]
    results = {
        (r.trial.measured.problem.context.id, r.trial.learning_rate): r
        for r in engine_for(engine, trials[0].problem).run(loaded, trials)
    }
    return [results[t.problem.context.id, t.learning_rate] for t in trials]


def same_beginning(stopped: TrialResult, whole: TrialResult) -> bool:
    """Whether it was stopped; it is the beginning of the whole one, with the same outcome."""
    assert stopped.id != whole.id
    for a, b in zip(stopped.trace, whole.trace, strict=False):
        assert (a.step, a.logit_gap) == (b.step, pytest.approx(b.logit_gap, **CLOSE))
    is_short = len(stopped.trace) < len(whole.trace)
    assert stopped.stopped_early == ("decided" if is_short else None)
    assert (stopped.trace[-1].gradient_norm, stopped.trace[-2].gradient_norm is None) == (None, False)
    row, expected = trial_row(stopped), trial_row(whole)
    assert (row["early_stopping"], expected["early_stopping"]) == (True, None)
    assert row["outcome"] == expected["outcome"]
    assert row["steps_taken"] == stopped.trace[-1].step
    return is_short


@pytest.mark.parametrize("way", [("full", "sgd"), ("full", "adamw"), ("lora", "adamw")], ids="-".join)
def test_a_decided_trial_is_the_beginning_of_the_whole_one(way: tuple[str, str]) -> None:
    contexts, shares = list(CONTEXTS.values())[:3], (0.2, 0.4, 0.8)
    settings = {"steps": STEPS, "schedule": {"name": "cosine"}}
    whole = [problem(*way, context=c, **settings) for c in contexts]
    stopping = [asked.model_copy(update={"early_stopping": True}) for asked in whole]
    full = run("single", whole, shares)
    for engine in ("single", "lanes"):
        stopped = run(engine, stopping, shares)
        short = [same_beginning(a, b) for a, b in zip(stopped, full, strict=True)]
        assert any(short), "else the test shows nothing"
        assert len({len(result.trace) for result in stopped}) > 1, "each when it is decided"
    assert [len(a.trace) for a in stopped] == [len(a.trace) for a in run("single", stopping, shares)]


@pytest.mark.parametrize("engine", ["single", "lanes"])
def test_a_training_ends_once_all_its_words_are_decided(engine: str) -> None:
    loaded, kind = load("zoo:gpt2-a"), "full adamw"
    whole = problems(kind, steps=STEPS, schedule={"name": "cosine"})
    stopping = [asked.model_copy(update={"early_stopping": True}) for asked in whole]
    rates = [0.02 * RATES[kind], 3 * RATES[kind]]
    full, stopped = trained(loaded, whole, rates), trained(loaded, stopping, rates, engine)
    short = {name: same_beginning(stopped[name], full[name]) for name in full}
    assert any(short.values())
    for rate in rates:
        assert len({len(r.trace) for (_, own, _), r in stopped.items() if own == rate}) == 1
    for name, result in stopped.items():
        assert len(result.training_losses) == result.trace[-1].step
        assert result.training_losses == pytest.approx(
            full[name].training_losses[: result.trace[-1].step], rel=1e-4
        )
