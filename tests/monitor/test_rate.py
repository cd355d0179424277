"""The comparison with the law: κ at the present weights, the shipped range of Π_c, and what the law isn't used for."""

from __future__ import annotations

import peft
import pytest
import torch

from phantom_dist.contexts import tokenise
from phantom_dist.core.trial import Optimizer, Problem
from phantom_dist.engines.probe import probe
from phantom_dist.models.load import load
from phantom_dist.monitor.rate import compare_with_law, optimizer_settings, pi_c_range

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
    law = compare_with_law(loaded.model, optimizer, measured.tokens, 0.1 * 8)
    assert law.kappa == pytest.approx(measured.kappa, rel=1e-4)
    assert law.pi == pytest.approx(0.8 * measured.kappa / abs(measured.gap_0), rel=1e-4)
    assert law.training_class == law.to_json()["way"] == f"full {name}"
    assert not law.in_domain
    assert law.reason


def test_momentum_builds_up():
    model, tokenizer = loop.fresh("llama-a")
    tokens = loop_tokens(model, tokenizer)
    plain = compare_with_law(model, torch.optim.SGD(model.parameters(), lr=0.1), tokens, 1.0)
    heavy = compare_with_law(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), tokens, 1.0)
    assert heavy.pi == pytest.approx(10 * plain.pi)


def test_under_lora_kappa_is_that_of_the_adapters_alone():
    model, tokenizer = loop.fresh("llama-a", lora=True)
    loop.train(model, tokenizer, steps=2, learning_rate=1e-2, taught=loop.contexts("guilt"))
    law = compare_with_law(model, loop.adamw(model, 1e-2), loop_tokens(model, tokenizer), 0.1)
    assert law.training_class == "lora adamw"
    assert law.kappa > 0


def test_ranges_contain_one_and_classes_without_calibration_have_none():
    for training_class in ("full sgd", "full adamw"):
        low, high = pi_c_range(training_class)
        assert 0.3 < low < 1 < high < 2
    assert pi_c_range("lora sgd") is None


def test_optimizers_that_the_law_does_not_know():
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    assert optimizer_settings(torch.optim.Adagrad(parameters)) is None
    assert optimizer_settings(None) is None
    assert optimizer_settings(torch.optim.Adam(parameters, eps=1e-6)).epsilon == 1e-6
    model, tokenizer = loop.fresh("llama-a")
    adagrad = torch.optim.Adagrad(model.parameters())
    assert compare_with_law(model, adagrad, loop_tokens(model, tokenizer), 1.0) is None


@pytest.mark.parametrize("kind", [torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam])
def test_relatives_of_adam_are_not_taken_for_adamw(kind):
    assert optimizer_settings(kind([torch.nn.Parameter(torch.zeros(2))])) is None


@pytest.mark.parametrize(
    ("kind", "settings", "known"),
    [
        (torch.optim.Adam, {}, True),
        (torch.optim.Adam, {"weight_decay": 0.1}, False),  # inside the gradient, whose sign it changes
        (torch.optim.Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}, True),
        (torch.optim.AdamW, {"weight_decay": 0.1, "amsgrad": True}, True),
        (torch.optim.AdamW, {"maximize": True}, False),
        (torch.optim.SGD, {"weight_decay": 0.1, "momentum": 0.9, "nesterov": True}, True),
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}, False),
        (torch.optim.SGD, {"maximize": True}, False),
    ],
)
def test_settings_under_which_the_steps_are_others(kind, settings, known):
    optimizer = kind([torch.nn.Parameter(torch.zeros(2))], lr=0.1, **settings)
    assert (optimizer_settings(optimizer) is not None) == known


def test_adam_classes_that_mark_decoupled_weight_decay_on_themselves():
    """As apex's and DeepSpeed's `FusedAdam` do; bitsandbytes' and torchao's classes have AdamW in their names."""
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    names = {
        "FusedAdam": True,
        "DeepSpeedCPUAdam": True,
        "AdamW8bit": True,
        "AdamWScheduleFree": False,
        "GaLoreAdamW": False,
    }
    for name, known in names.items():
        kind = type(name, (torch.optim.Adam,), {"adam_w_mode": 1})
        assert (optimizer_settings(kind(parameters, weight_decay=0.1)) is not None) == known, name


@pytest.mark.parametrize(
    "config", [peft.IA3Config(task_type="CAUSAL_LM"), peft.LoraConfig(task_type="CAUSAL_LM", use_dora=True)]
)
def test_other_methods_of_peft_are_not_taken_for_lora(config):
    model, tokenizer = loop.fresh("llama-a")
    adapted = peft.get_peft_model(model, config)
    optimizer = loop.adamw(adapted, 1e-2)
    assert compare_with_law(adapted, optimizer, loop_tokens(adapted, tokenizer), 0.1) is None


def loop_tokens(model, tokenizer):
    return tokenise(tokenizer, loop.contexts("guilt")[0])
