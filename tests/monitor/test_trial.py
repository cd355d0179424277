"""A small part of `python -m tests.benchmarks.monitor`, with a look every few steps regardless of its cost."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from phantom_dist.monitor import MonitorSettings
from tests.benchmarks import monitor as trial

SETTINGS = MonitorSettings(every=5, budget=1.0)


def shortened(seed: int, **changes) -> trial.Recipe:
    return dataclasses.replace(trial.recipe(seed), model="gpt2-a", lora=False, steps=100, **changes)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_failing_run_is_caught_in_time(seed):
    result = trial.train(shortened(seed, learning_rate=5e-5), SETTINGS)
    assert result.stopped is None
    assert result.verdict == "failing"
    assert result.lead is not None
    assert result.lead >= 0.2
    assert {name for _, name, _ in result.warnings} <= result.failed


@pytest.mark.parametrize("seed", [3, 4])
def test_a_healthy_run_brings_no_alarm(seed):
    result = trial.train(shortened(seed, learning_rate=2e-3, share=0.5), SETTINGS)
    assert result.stopped is None
    assert result.verdict == "healthy"
    assert result.warnings == []


def test_the_summary_counts_what_it_says():
    recipe = trial.recipe(5)
    names = [context.id for context in recipe.contexts]

    def result(gap: float, warnings: list[tuple[int, str, str]]) -> trial.Result:
        return trial.Result(
            recipe=recipe,
            before=dict.fromkeys(names, (5.0, -2.0)),
            after=dict.fromkeys(names, (3.0, gap)),
            warnings=warnings,
            looks=9,
            cost_share=0.01,
            stopped=None,
            seconds=1.0,
        )

    half = recipe.steps // 2
    runs = [
        result(-1.0, [(half, names[0], "kinematic")]),
        result(-1.0, []),
        result(1.0, []),
        result(1.0, [(half, names[1], "structural")]),
    ]
    figures = trial.summary(runs)
    assert (figures["failing"], figures["caught"]) == (2, 1)
    assert (figures["healthy"], figures["false_alarms"]) == (2, 1)
    assert figures["lead_median"] == pytest.approx(0.5)
    assert (figures["contexts_failed"], figures["contexts_caught"]) == (6, 1)
    assert (figures["contexts_overtook"], figures["contexts_false_alarms"]) == (6, 1)
