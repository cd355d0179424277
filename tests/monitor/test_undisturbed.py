"""A training with the monitor ends at the same weights, bit for bit, as one without it."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from phantom_dist.monitor import Monitor, MonitorSettings
from phantom_dist.monitor.rate import compare_with_law
from phantom_dist.monitor.undisturbed import undisturbed

from . import loop
from .guests import GUESTS

EVERY_STEP = MonitorSettings(every=1, budget=1.0)
EAGER = MonitorSettings(every=1, budget=1.0, fewest_looks=3, judged_from=0.0, streak=1, loss_fall=0.0)
WATCHED = loop.contexts("guilt", "rage", "clever")
_AFTER, _REST = WATCHED[0].text.split(" ", 1)
LONG = WATCHED[0].model_copy(
    update={"id": "long", "text": f"{_AFTER}{' the unfair tax,' * 8} {_REST}"}  # words that the zoo knows
)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "settings", "training"),
    [
        ("gpt2-a", {}, {}),  # tied, dropout
        ("phi-a", {}, {"accumulate": 2}),  # untied
        ("opt-a", {"lora": True}, {}),  # draws random numbers of its own
        ("llama-a", {}, {"autocast": True}),
        ("gpt2-a", {"lora": True}, {"autocast": True, "accumulate": 2}),
    ],
)
def test_weights_are_bit_identical(name, settings, training):
    ends = []
    for monitored in (False, True):
        model, tokenizer = loop.fresh(name, **settings)
        optimizer = loop.adamw(model, 1e-3)
        monitor = None
        if monitored:
            monitor = Monitor(
                model, tokenizer, WATCHED, optimizer=optimizer, total_steps=8, settings=EVERY_STEP
            )

        def after(n, monitor=monitor, model=model, optimizer=optimizer):
            if monitor:
                monitor.step(n)
                compare_with_law(monitor.model, optimizer, monitor.watched[0].tokens, 0.01)

        loop.train(
            model,
            tokenizer,
            steps=8,
            learning_rate=1e-3,
            taught=WATCHED,
            optimizer=optimizer,
            after=after,
            **training,
        )
        if monitor:
            assert monitor.stopped is None
            assert monitor.pacing.looks == 9
        ends.append(weights(model))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("name", GUESTS)
def test_any_training_ends_as_without_the_monitor(name):
    """Includes warnings, whose comparison with the law takes gradients, and a state that is saved and restored."""
    ends = []
    for monitored in (False, True):
        guest = GUESTS[name]()
        random.seed(0)
        np.random.seed(0)
        monitors = []

        def watch(state=None, guest=guest, monitors=monitors):
            monitors.append(
                Monitor(
                    guest.called,
                    guest.tokenizer,
                    [*WATCHED, LONG],
                    optimizer=guest.optimizer,
                    scheduler=guest.scheduler,
                    total_steps=6,
                    settings=EAGER,
                    state=state,
                )
            )

        def after(n, guest=guest, monitors=monitors, monitored=monitored, watch=watch):
            if guest.scheduler is not None:
                guest.scheduler.step()
            if monitored:
                monitors[-1].step(n)
            if monitored and n == 4:
                watch(json.loads(json.dumps(monitors[-1].state_dict())))

        if monitored:
            watch()
        loop.train(
            guest.called,
            guest.tokenizer,
            steps=6,
            learning_rate=1e-3,
            taught=WATCHED,
            optimizer=guest.optimizer,
            after=after,
        )
        if monitored:
            monitors[-1].finish()
            stopped = [m.stopped for m in monitors if m.stopped is not None]
            if name == "dynamic rope" and stopped:  # what it gives a prompt depends on what it read before
                assert all("differently among others than alone" in sentence for sentence in stopped)
            else:
                assert stopped == []
                assert [m.pacing.looks for m in monitors] == [5, 2]
            assert not monitors[0].refused
        compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"] if "compiled" in name else 0
        generators = (random.random(), np.random.random(), torch.get_rng_state())
        ends.append((weights(guest.model), compiled, generators))
    assert all(torch.equal(ends[0][0][key], ends[1][0][key]) for key in ends[0][0])
    assert ends[0][1] == ends[1][1]
    assert ends[0][2][:2] == ends[1][2][:2]
    assert torch.equal(ends[0][2][2], ends[1][2][2])


def test_modes_gradients_and_generators_are_as_before():
    model, tokenizer = loop.fresh("gpt2-a")
    frozen = model.transformer.h[0]
    frozen.eval()
    next(frozen.parameters()).requires_grad_(False)
    model(**loop.encode(tokenizer, loop.texts(4, WATCHED))).loss.backward()
    flags = [m.training for m in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    before = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    optimizer = loop.adamw(model, 1e-3)
    monitor = Monitor(model, tokenizer, WATCHED, optimizer=optimizer, total_steps=9, settings=EVERY_STEP)
    monitor.step(1)
    assert compare_with_law(model, optimizer, monitor.watched[0].tokens, 0.01) is not None
    assert [m.training for m in model.modules()] == flags
    assert [p.requires_grad for p in model.parameters()] == wanted
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if gradient is None else torch.equal(parameter.grad, gradient)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.is_grad_enabled()


def test_everything_comes_back_after_an_error_too():
    model, _ = loop.fresh("gpt2-a")
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        _ = 1 / 0
    assert model.training
    assert torch.is_grad_enabled()


def test_a_look_inside_an_autocast_region_leaves_no_casts_without_gradient():
    """torch caches cast weights until the outermost region ends; those of a pass without gradients carry none."""
    model, tokenizer = loop.fresh("llama-a")
    monitor = Monitor(model, tokenizer, WATCHED, settings=EVERY_STEP)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        monitor.step(1)
        model(**loop.encode(tokenizer, loop.texts(4, WATCHED))).loss.backward()
    assert monitor.stopped is None
    assert monitor.pacing.looks == 2
    assert all(p.grad is not None for p in model.parameters())
