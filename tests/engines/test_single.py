"""The reference engine."""

from __future__ import annotations

import dataclasses
import math
import struct

import peft
import pytest
import torch

from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Lora
from phantom_dist.engines import engine_named
from phantom_dist.engines.deepspeed_group import load_sharded
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import ADAPTABLE, lora_targets
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.models import Permissions
from phantom_dist.models.quiet import quiet
from phantom_dist.models.zoo import names
from phantom_dist.records import trace_rows, trial_row

from . import plain
from .problems import load, measured_of, problem

FROM_ZERO = {"name": "linear", "warmup_steps": 2, "warmup_from_zero": True}
"""As transformers' `Trainer` has it."""

WAYS = [
    ("full", "sgd", {}),
    ("full", "sgd", {"momentum": 0.9}),
    ("full", "adamw", {}),
    ("lora", "adamw", {}),
    ("lora", "sgd", {}),
    ("full", "sgd", {"momentum": 0.9, "gradient_clipping": 1.0}),
    ("full", "sgd", {"weight_decay": 1.0, "decay": "weights"}),
    ("full", "adamw", {"weight_decay": 0.1, "decay": "weights"}),
    ("lora", "adamw", {"gradient_clipping": 0.01, "rslora": True, "schedule": FROM_ZERO}),
]


def first_order(measured) -> float:
    p = measured.problem
    return abs(measured.gap_0) / (effective_steps(p.steps, p.schedule, p.optimizer) * measured.kappa)


def run(loaded, measured, *rates):
    return list(SingleEngine().run(loaded, [Trial(measured=measured, learning_rate=rate) for rate in rates]))


def bits(model) -> dict[str, bytes]:
    return {name: p.detach().cpu().numpy().tobytes() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("method", "optimizer", "more"), WAYS, ids=str)
def test_agrees_with_a_straight_loop(loaded, method, optimizer, more):
    if method == "lora":
        more = more | {"targets": lora_targets(loaded.model, Lora())}
    measured = measured_of(loaded, method, optimizer, **more)
    eta = first_order(measured)
    (result,) = run(loaded, measured, eta)
    expected = plain.gaps(loaded, measured.problem, measured.tokens, eta)
    # Same operations in another order (fused update): float32 rounding of logits of size 10, over a few steps.
    tolerance = 1e-3 if optimizer == "adamw" else 1e-4
    assert [m.logit_gap for m in result.trace] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("method", "optimizer"), [("full", "sgd"), ("lora", "adamw")])
def test_mixed_precision_is_torchs_autocast(loaded, method, optimizer):
    """At first bit for bit; later fused and unfused updates differ by rounding, which bfloat16 logits of size 10 show.

    Lanes don't support it, and say so; a group of ranks refuses it.
    """
    more = {"targets": lora_targets(loaded.model, Lora())} if method == "lora" else {}
    measured = measured_of(loaded, method, optimizer, precision="bfloat16-mixed", **more)
    eta = first_order(measured)
    (result,) = run(loaded, measured, eta)
    expected = plain.gaps(loaded, measured.problem, measured.tokens, eta)
    found = [m.logit_gap for m in result.trace]
    assert found[0] == expected[0]
    assert found == pytest.approx(expected, abs=4 * 2**-8 * 10)
    assert found[-1] > found[0] + 0.5, "it learns"
    exact = measured_of(loaded, method, optimizer, **more)
    assert 0 < abs(found[0] - exact.gap_0) < 2 * 2**-8 * 10
    assert measured.kappa == pytest.approx(exact.kappa, rel=0.05)
    trials = [Trial(measured=measured, learning_rate=rate) for rate in (eta, eta / 2)]
    first, second = LanesEngine().run(loaded, trials)
    assert first.trace == result.trace
    assert first.trace != second.trace
    assert (first.engine, first.note) == ("single", "lanes don't support the precision bfloat16-mixed")
    with pytest.raises(InputError, match="precision bfloat16-mixed: groups of ranks"):
        load_sharded(measured.problem, 3, None, Permissions())


@pytest.mark.parametrize(("method", "optimizer", "more"), WAYS, ids=str)
def test_leaves_the_model_bit_for_bit_as_it_was(loaded, method, optimizer, more):
    before = bits(loaded.model)
    measured = measured_of(loaded, method, optimizer, **more)
    run(loaded, measured, first_order(measured), 1e6)
    assert bits(loaded.model) == before
    assert all(p.requires_grad and p.grad is None for p in loaded.model.parameters())


def test_the_same_trial_twice_is_bit_identical(loaded):
    measured = measured_of(loaded, "lora", "adamw")
    first, second = run(loaded, measured, 1e-3, 1e-3)
    assert trace_rows(first) == trace_rows(second)


def test_lora_leaves_the_readout_bit_identical_and_has_no_geometry_share(loaded):
    measured = measured_of(loaded, "lora", "adamw")
    (result,) = run(loaded, measured, 5 * first_order(measured))
    hashes = {m.readout_hash for m in result.trace}
    assert len(hashes) == 1
    assert None not in hashes
    assert [m.geometry_change for m in result.trace[1:]] == [0.0] * measured.problem.steps
    assert {m.embedding_drift for m in result.trace} == {0.0}


def test_full_fine_tuning_moves_the_readout(loaded):
    (result,) = run(loaded, measured_of(loaded), 0.1)
    drift = [m.embedding_drift for m in result.trace]
    assert drift[0] == 0.0
    assert all(b > 0 for b in drift[1:])
    assert any(m.geometry_change != 0 for m in result.trace[1:])
    assert {m.readout_hash for m in result.trace} == {None}


@pytest.mark.parametrize("rate", [1e-3, 1e-1])
def test_every_row_keeps_the_theorys_identities(loaded, rate):
    measured = measured_of(loaded)
    (result,) = run(loaded, measured, rate)
    for before, m in zip((None, *result.trace), result.trace, strict=False):
        assert m.order_parameter == pytest.approx(m.signal + m.drag, abs=1e-12)
        if before is None:
            assert (m.readout_change, m.geometry_change) == (None, None)
        else:
            change = m.order_parameter - before.order_parameter
            assert m.readout_change + m.geometry_change == pytest.approx(change, abs=1e-12)
    assert [m.step for m in result.trace] == list(range(measured.problem.steps + 1))
    assert [m.gradient_norm is None for m in result.trace] == [False] * measured.problem.steps + [True]
    assert result.trace[0].logit_gap == pytest.approx(measured.gap_0, abs=1e-6)


def test_a_diverging_trial_is_a_result_and_touches_no_other(loaded):
    measured = measured_of(loaded)
    alone = trace_rows(run(loaded, measured, 1e-3)[0])
    blown, after = run(loaded, measured, 1e30, 1e-3)
    row = trial_row(blown)
    assert row["outcome"] == Outcome.DIVERGED
    assert row["stopped_early"] == "non_finite"
    assert len(blown.trace) < measured.problem.steps + 1
    assert not math.isfinite(blown.trace[-1].loss)
    assert blown.trace[-1].rank_target is None
    assert trace_rows(after) == alone


def test_kappa_is_the_gaps_rate_at_a_tiny_step(loaded):
    """(g_1 - g_0) / η -> κ as η -> 0, for every way of training."""
    for method, optimizer, more in WAYS:
        measured = measured_of(loaded, method, optimizer, steps=1, **more | {"schedule": {}})
        eta = 1e-3 * first_order(measured)
        (result,) = run(loaded, measured, eta)
        rate = (result.trace[1].logit_gap - result.trace[0].logit_gap) / eta
        # gaps of size |g_0| carry rounding of about 1e-6 |g_0|, the change is 1e-3 |g_0|; the curvature adds as much
        assert rate == pytest.approx(measured.kappa, rel=0.02), (method, optimizer)


def test_schedules_and_momentum_reach_the_optimizer(loaded):
    """To first order the gap moves by η T κ with the effective number of steps."""
    for more in ({"schedule": {"name": "cosine", "warmup_steps": 2}}, {"momentum": 0.9}, {}):
        measured = measured_of(loaded, steps=6, **more)
        (result,) = run(loaded, measured, 0.01 * first_order(measured))
        moved = result.trace[-1].logit_gap - result.trace[0].logit_gap
        assert moved == pytest.approx(0.01 * abs(measured.gap_0), rel=0.05), more


def test_the_seed_draws_the_adapters(loaded):
    gap = {}
    for seed in (0, 1):
        measured = measured_of(loaded, "lora", "sgd", seed=seed)
        gap[seed] = (
            run(loaded, measured, first_order(measured_of(loaded, "lora", "sgd")))[0].trace[-1].logit_gap
        )
    assert gap[0] != gap[1]


@pytest.mark.parametrize(("method", "optimizer", "more"), WAYS, ids=str)
def test_bfloat16_takes_the_same_way_as_float32(loaded, method, optimizer, more):
    """Weights of size 1 are rounded to 2^-9; over the few steps to Π = 2 logits of size 10 may shift by some tenths."""
    measured = measured_of(loaded, method, optimizer, **more)
    rate = 2 * first_order(measured)
    short = load("zoo:gpt2-a", precision="bfloat16")
    (expected,) = run(loaded, measured, rate)
    (result,) = run(short, measured_of(short, method, optimizer, precision="bfloat16", **more), rate)
    assert trial_row(result)["precision"] == "bfloat16"
    moved = [m.logit_gap - r.trace[0].logit_gap for r in (result, expected) for m in r.trace[-1:]]
    assert moved[0] == pytest.approx(moved[1], rel=0.3)


@pytest.mark.parametrize("name", names())
def test_every_zoo_architecture_trains_both_ways(name):
    loaded = load(f"zoo:{name}")
    for method, optimizer in (("full", "sgd"), ("lora", "adamw")):
        measured = measured_of(loaded, method, optimizer, steps=2)
        (result,) = run(loaded, measured, 0.1 * first_order(measured))
        assert result.trace[-1].logit_gap > result.trace[0].logit_gap
        if method == "lora":
            assert trial_row(result)["lora_targets"]


def test_unknown_lora_target_names_what_the_model_has(loaded):
    with pytest.raises(
        InputError, match=r"LoRA target 'q_prj' is no linear module of GPT2LMHeadModel.*c_attn"
    ):
        measured_of(loaded, "lora", targets=("q_prj",))


@pytest.mark.parametrize("target", ["wte", "lm_head"])
def test_adapters_on_embedding_or_readout_are_refused(loaded, target):
    with pytest.raises(InputError, match=f"LoRA target '{target}' .*embedding and readout stay frozen"):
        measured_of(loaded, "lora", targets=(target,))


@pytest.mark.parametrize("name", names())
def test_all_linear_means_what_it_means_in_peft(name):
    """Every linear module but the readout; the same modules get adapters."""
    model = load(f"zoo:{name}").model
    adapted = []
    for targets in ("all-linear", list(lora_targets(model, Lora(targets="all-linear")))):
        with quiet():
            config = peft.LoraConfig(target_modules=targets, task_type="CAUSAL_LM")
            changed = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
        adapted.append([n for n, m in changed.named_modules() if hasattr(m, "lora_A")])
        changed.unload()
    assert adapted[0] == adapted[1] != []
    model.requires_grad_(True)


@pytest.mark.parametrize("name", names())
def test_attention_and_mlp_are_the_two_parts_of_all_linear(name):
    model = load(f"zoo:{name}").model
    linear = [n for n, m in model.named_modules() if isinstance(m, ADAPTABLE)]

    def adapted(targets: str) -> set[str]:
        ends = lora_targets(model, Lora(targets=targets))
        return {n for n in linear if any(n == end or n.endswith(f".{end}") for end in ends)}

    attention, mlp = adapted("attention"), adapted("mlp")
    assert attention
    assert mlp
    assert not attention & mlp
    assert attention | mlp == adapted("all-linear")


def test_attention_means_every_linear_module_of_the_attention_and_no_other(loaded):
    assert lora_targets(loaded.model, Lora()) == ("attn.c_proj", "c_attn")
    assert lora_targets(load("zoo:llama-a").model, Lora()) == ("k_proj", "o_proj", "q_proj", "v_proj")


def test_the_seed_is_no_part_of_a_full_trial(loaded):
    one, other = (Trial(measured=measured_of(loaded, seed=seed), learning_rate=0.1) for seed in (0, 1))
    assert one.id == other.id
    one, other = (
        Trial(measured=measured_of(loaded, "lora", seed=seed), learning_rate=0.1) for seed in (0, 1)
    )
    assert one.id != other.id


def test_unknown_engine_names_near_misses():
    with pytest.raises(InputError, match=r"engine 'singel' doesn't exist\. Did you mean 'single'"):
        engine_named("singel")


def test_trial_ids_are_content_addresses(loaded):
    measured = measured_of(loaded)
    again = Trial(measured=measured_of(loaded), learning_rate=0.1)
    assert Trial(measured=measured, learning_rate=0.1).id == again.id
    others = [
        Trial(
            measured=measured,
            learning_rate=struct.unpack(
                "d", struct.pack("q", struct.unpack("q", struct.pack("d", 0.1))[0] + 1)
            )[0],
        ),
        Trial(measured=measured_of(loaded, steps=5), learning_rate=0.1),
        Trial(measured=measured_of(loaded, momentum=0.5), learning_rate=0.1),
        Trial(measured=measured_of(loaded, "lora"), learning_rate=0.1),
        Trial(measured=measured_of(load("zoo:gpt2-b")), learning_rate=0.1),
    ]
    assert len({again.id, *(t.id for t in others)}) == 1 + len(others)


def test_a_trial_id_does_not_depend_on_names(loaded):
    measured = measured_of(loaded)
    renamed = problem(context=measured.problem.context.model_copy(update={"id": "another"})).model_copy(
        update={"model": "./elsewhere"}
    )
    same = Trial(measured=dataclasses.replace(measured, problem=renamed), learning_rate=0.1)
    assert same.id == Trial(measured=measured, learning_rate=0.1).id


def test_torch_is_deterministic_here():
    assert torch.get_num_threads() == 1
