"""The same points and gradients in both coordinates: by parameter, and in the dual form."""

from __future__ import annotations

import pytest
import torch

from phantom_dist.contexts import tokens
from phantom_dist.engines import probe as probe_module
from phantom_dist.engines.coordinates import ParameterCoordinates
from phantom_dist.engines.lanes import leaves
from phantom_dist.engines.lanes.dual_coordinates import dual_coordinates
from phantom_dist.engines.lanes.support import GRADIENTS, dual_pays
from phantom_dist.engines.objective import gap_of, loss_of
from phantom_dist.engines.path.cost import shares
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.probe import probe
from phantom_dist.engines.trainable import trainable
from phantom_dist.models.zoo import names

from .problems import CONTEXTS, load, problem


def measured(coordinates, pair):
    """κ, then the inner products of the gradients at three points, and the logits at four."""
    untouched_1V = coordinates.untouched_logits()
    logits = [untouched_1V[0]]
    kappa, first = coordinates.first_order(untouched_1V, pair, keep=True)
    step = 0.5 / coordinates.inner(first, first)
    logits.append(coordinates.logits(step * first)[0])
    second = coordinates.gradient(loss_of(logits[1], pair))
    moved = step * first + 0.3 * step * second
    logits.append(coordinates.logits(moved)[0])
    third = coordinates.gradient(gap_of(logits[2], pair))
    with torch.no_grad():
        logits.append(coordinates.logits(moved - 0.2 * step * third)[0])
    vectors = (first, second, third)
    products = torch.tensor(
        [[coordinates.inner(a, b) for a in vectors] for b in vectors], dtype=torch.float64
    )
    return kappa, products, [each.detach() for each in logits]


def check_both(loaded, asked, prompt, pair):
    with trainable(loaded, asked) as ready:
        kappa, products, logits = measured(ParameterCoordinates(ready, [prompt], asked), pair)
    with dual_coordinates(loaded, asked, prompt) as coordinates:
        dual_kappa, dual_products, dual_logits = measured(coordinates, pair)
    # An entry of a gradient is a float32 sum over tokens and widths, off by 1e-7 times the root of their number, 30 at
    # most, and so are the factors' products. The points themselves differ by as much again.
    lengths = products.diagonal().sqrt()
    assert dual_kappa == pytest.approx(kappa, abs=3e-6 * float(lengths[0] * lengths[2]))
    assert torch.all((dual_products - products).abs() <= 6e-6 * lengths[:, None] * lengths)
    for ours, theirs in zip(dual_logits, logits, strict=True):
        # a few layers, each rounding to 1e-7 of logits of about 10, and the 3e-5 of the points themselves
        assert torch.allclose(ours, theirs, atol=5e-5)
    assert float((logits[1] - logits[0]).abs().max()) > 0.01, "the points are no points of their own"


@pytest.mark.parametrize("name", names())
def test_the_dual_form_gives_what_the_entries_give(name):
    loaded = load(f"zoo:{name}")
    asked = problem("full", "sgd")
    (prompt,), _ = tokens.prompts_and_target(loaded.tokenizer, asked.context)
    pair = probe(loaded, asked).tokens
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    check_both(loaded, asked, prompt, pair)
    assert all(torch.equal(value, before[key]) for key, value in loaded.model.state_dict().items())


def test_a_prompt_that_says_a_word_twice_has_one_row_for_it(loaded):
    """The gradients of both places add up in one row of the tied matrix."""
    twice = CONTEXTS["guilt"]
    asked = problem(
        "full", "sgd", context=twice.model_copy(update={"text": f"{twice.text} her closest brother"})
    )
    (prompt,), _ = tokens.prompts_and_target(loaded.tokenizer, asked.context)
    assert len(set(prompt)) < len(prompt)
    pair = probe(loaded, problem("full", "sgd", context=twice)).tokens
    check_both(loaded, asked, prompt, pair)


@pytest.mark.parametrize("steps", [2, 8, 40])
@pytest.mark.parametrize("more", [{}, {"momentum": 0.9}, {"schedule": {"name": "linear"}}])
def test_a_path_is_the_same_in_both(loaded, monkeypatch, steps, more):
    asked = problem("full", "sgd", steps=steps, context=CONTEXTS["guilt"], **more)
    plain = probe_path(loaded, asked)
    monkeypatch.setattr(probe_module, "dual_pays", lambda *_: True)
    dual = probe_path(loaded, asked)
    assert dual.kappa == pytest.approx(plain.kappa, rel=1e-4)
    assert (dual.tokens, dual.path.trial_steps) == (plain.tokens, plain.path.trial_steps)
    # The solver stops when a rate changes by less than 1e-3, so the points may lie that far apart. The last
    # correction removes the effect on the answer, except for second order and the polynomials between the points.
    assert dual.path.learning_rates[:-1] == pytest.approx(plain.path.learning_rates[:-1], rel=2e-3)
    assert dual.path.learning_rates[-1] == pytest.approx(plain.path.learning_rates[-1], rel=2e-4)
    assert dual.path.log_odds_0 == pytest.approx(plain.path.log_odds_0, abs=1e-5)


def test_a_model_without_leaves_here_is_probed_entry_by_entry(loaded, monkeypatch):
    plain = probe(loaded, problem("full", "sgd"))
    monkeypatch.setattr(probe_module, "dual_pays", lambda *_: True)
    monkeypatch.setattr(leaves, "LEAVES", ())
    assert probe(loaded, problem("full", "sgd")) == plain


def test_what_is_probed_in_the_dual_form():
    large, small, short = 135_000_000, 100_000, 9
    assert dual_pays(problem("full", "sgd"), large, short)
    assert not dual_pays(problem("full", "sgd"), small, short)
    assert not dual_pays(problem("full", "sgd", weight_decay=0.1), large, short), (
        "u is not the gradient alone"
    )
    assert not dual_pays(problem("full", "adamw"), large, short)
    assert not dual_pays(problem("lora", "sgd"), large, short)
    assert not dual_pays(problem("full", "sgd"), large, 500), "its factors are no longer small"


@pytest.mark.parametrize("steps", [8, 128])
def test_there_is_room_for_every_gradient_of_a_path(steps):
    assert 2 + len(shares(problem("full", "sgd", steps=steps))) <= GRADIENTS
