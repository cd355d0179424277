"""What the law is asked: κ where training stands, and the range of Π_c that ships."""

from __future__ import annotations

import pytest
import torch

from phantom_dist.contexts import tokenise
from phantom_dist.core.trial import Optimizer, Problem
from phantom_dist.engines.probe import probe
from phantom_dist.models import load
from phantom_dist.monitor.rate import law_says, optimizer_settings, pi_c_range

from . import loop


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_kappa_of_the_untouched_model_is_the_probes(name):
    loaded = load("zoo:llama-a")
    (context,) = loop.contexts("guilt")
    problem = Problem(
        model="zoo:llama-a", context=context, method="full", optimizer=Optimizer(name=name), steps=8
    )
    measured = probe(loaded, problem)
    kinds = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
    optimizer = kinds[name](loaded.model.parameters(), lr=0.1)
    says = law_says(loaded.model, optimizer, measured.tokens, 0.1 * 8)
    assert says.kappa == pytest.approx(measured.kappa, rel=1e-4)
    assert says.pi == pytest.approx(0.8 * measured.kappa / abs(measured.gap_0), rel=1e-4)
    assert says.way == f"full {name}"
    assert not says.in_domain
    assert says.reason


def test_momentum_builds_up():
    model, tokenizer = loop.fresh("llama-a")
    tokens = loop_tokens(model, tokenizer)
    plain = law_says(model, torch.optim.SGD(model.parameters(), lr=0.1), tokens, 1.0)
    heavy = law_says(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), tokens, 1.0)
    assert heavy.pi == pytest.approx(10 * plain.pi)


def test_lora_asks_the_adapters_alone():
    model, tokenizer = loop.fresh("llama-a", lora=True)
    loop.train(model, tokenizer, steps=2, learning_rate=1e-2, taught=loop.contexts("guilt"))
    says = law_says(model, loop.adamw(model, 1e-2), loop_tokens(model, tokenizer), 0.1)
    assert says.way == "lora adamw"
    assert says.kappa > 0


def test_ranges_hold_one_and_ways_without_calibration_have_none():
    for way in ("full sgd", "full adamw"):
        low, high = pi_c_range(way)
        assert 0.3 < low < 1 < high < 2
    assert pi_c_range("lora sgd") is None


def test_optimizers_that_the_law_does_not_know():
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    assert optimizer_settings(torch.optim.Adagrad(parameters)) is None
    assert optimizer_settings(None) is None
    assert optimizer_settings(torch.optim.Adam(parameters, eps=1e-6)).epsilon == 1e-6
    model, tokenizer = loop.fresh("llama-a")
    assert (
        law_says(model, torch.optim.Adagrad(model.parameters()), loop_tokens(model, tokenizer), 1.0) is None
    )


def loop_tokens(model, tokenizer):
    return tokenise(tokenizer, loop.contexts("guilt")[0])
