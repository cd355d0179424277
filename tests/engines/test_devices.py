"""A GPU gives the same results as a CPU: the reference engine, κ and the path, for every zoo architecture.

Runs only with `PHANTOM_DIST_TEST_DEVICE=cuda pytest tests/engines`. The tolerance is that of lanes, up to a trial's
first jump: float32 logits of size 10 in another order of operations, over a few steps.
"""

from __future__ import annotations

import math

import pytest
import torch

from phantom_dist.core.measurement import Trial
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import trainable
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.models.load import load as load_here
from phantom_dist.models.zoo import names
from phantom_dist.records import trial_row

from .problems import CONTEXTS, DEVICE, load, problem

pytestmark = pytest.mark.skipif(DEVICE == "cpu", reason="no GPU asked for: PHANTOM_DIST_TEST_DEVICE=cuda")

WAYS = {
    "sgd": ("full", "sgd", {"momentum": 0.9}),
    "adamw": ("full", "adamw", {"weight_decay": 0.01}),
    "lora": ("lora", "adamw", {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", names())
def test_a_gpu_equals_the_cpu(name, way):
    method, optimizer, more = WAYS[way]
    here, there = load_here(f"zoo:{name}"), load(f"zoo:{name}")
    asked = problem(method, optimizer, steps=6, **more).model_copy(update={"model": f"zoo:{name}"})
    probed = [probe(loaded, asked) for loaded in (here, there)]
    assert probed[1].kappa == pytest.approx(probed[0].kappa, rel=1e-4)
    assert probed[1].tokens == probed[0].tokens
    assert probed[1].identity == probed[0].identity
    steps = effective_steps(asked.steps, asked.schedule, asked.optimizer)
    rate = abs(probed[0].gap_0) / (steps * probed[0].kappa)
    for factor in (0.4, 0.9):
        trial = Trial(measured=probed[0], learning_rate=factor * rate)
        expected, got = (next(iter(SingleEngine().run(loaded, [trial]))) for loaded in (here, there))
        jump = trial_row(expected)["jump_step"] or len(expected.trace)
        for a, b in list(zip(expected.trace, got.trace, strict=True))[:jump]:
            assert b.logit_gap == pytest.approx(a.logit_gap, abs=1e-3, rel=1e-4)
            assert (a.readout_hash, a.step) == (b.readout_hash, b.step)


@pytest.mark.parametrize(("method", "optimizer"), [("full", "sgd"), ("full", "adamw"), ("lora", "adamw")])
def test_a_path_is_the_cpus_path(loaded, method, optimizer):
    """Newton's step divides by a slope of float32's accuracy, hence the tolerance of a thousandth of the rate."""
    asked = problem(method, optimizer, steps=8, context=CONTEXTS["guilt"])
    here, there = (probe_path(each, asked).path for each in (load_here("zoo:gpt2-a"), loaded))
    logs = [[math.log(rate) for rate in path.learning_rates] for path in (here, there)]
    assert logs[1] == pytest.approx(logs[0], abs=1e-3)
    assert there.trial_steps == here.trial_steps


def test_adapters_are_drawn_alike_on_every_device(loaded):
    asked = problem("lora", "adamw")
    drawn = []
    for each in (load_here("zoo:gpt2-a"), loaded):
        with trainable(each, asked) as ready:
            drawn.append([p.detach().cpu() for p in ready.parameters])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
