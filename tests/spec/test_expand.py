"""Which problems a sweep spans, and in which order."""

from __future__ import annotations

from itertools import product

from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import Lora, Optimizer
from phantom_dist.spec import expand, from_yaml

CONTRACT = """
name: example
models: [zoo:gpt2-a, "gguf:smollm2-135m-instruct", "gguf:models/x.gguf", EleutherAI/pythia-160m, ./my-model]
contexts:
  - {id: overcome, text: "After betraying him he was overcome with", target: " shame", competitor: " guilt"}
  - {id: better,   text: "They moved to the city to find a better", target: " career", competitor: auto}
methods: [full, {lora: {rank: 8, alpha: 16, targets: [q_proj, v_proj]}}]
optimizers: [sgd, {sgd: {momentum: 0.9}}, adamw]
learning_rates: {critical: {tolerance: 0.01}}   # or {log: [1e-6, 1e-3, 13]}, or a list
steps: [8, 32]
seeds: [0]
precision: [float32]                        # also bfloat16
schedule: [constant]                        # also linear, cosine, with warm-up steps
"""


def test_the_example_of_the_contract() -> None:
    problems = expand(from_yaml(CONTRACT))
    assert len(problems) == 5 * 2 * 2 * 3 * 2
    assert len(set(problems)) == len(problems)
    first = problems[0]
    assert (first.model, first.context.id, first.method, first.steps) == ("zoo:gpt2-a", "overcome", "full", 8)
    lora = [problem for problem in problems if problem.method == "lora"]
    assert {problem.lora for problem in lora} == {Lora(rank=8, alpha=16, targets=("q_proj", "v_proj"))}
    assert {problem.optimizer for problem in problems} == {
        Optimizer(name="sgd"),
        Optimizer(name="sgd", momentum=0.9),
        Optimizer(name="adamw"),
    }


def test_order_models_outermost_precision_innermost() -> None:
    spec = from_yaml(
        "models: [m, n]\n"
        "contexts: [{id: a, text: x, target: y}, {id: b, text: x, target: y}]\n"
        "methods: [lora]\noptimizers: [sgd, adamw]\nlearning_rates: 1\nsteps: [4, 8]\nseeds: [0, 1]\n"
        "precision: [float32, bfloat16]\nschedule: [constant, {linear: {warmup_steps: 2}}]\n"
    )
    found = [
        (p.model, p.context.id, p.optimizer.name, p.schedule.name, p.steps, p.seed, p.precision)
        for p in expand(spec)
    ]
    axes = ("mn", "ab", ["sgd", "adamw"], ["constant", "linear"], [4, 8], [0, 1], ["float32", "bfloat16"])
    assert found == list(product(*axes))
    assert expand(spec)[-1].schedule == Schedule(name="linear", warmup_steps=2)


def test_axes_side_by_side() -> None:
    """An axis of one value has it everywhere; models, contexts and learning rates are crossed."""
    spec = from_yaml(
        "models: [m, n]\ncontexts: [{id: a, text: x, target: y}]\nlearning_rates: [1, 2]\ncombine: zip\n"
        "methods: [full, lora, {lora: {rank: 2, optimizers: sgd}}]\noptimizers: [sgd, adamw, adamw]\n"
        "steps: [2, 8, 16]\nseeds: [7]\nschedule: [constant, {linear: {warmup_steps: 4}}, constant]\n"
    )
    found = [
        (
            p.model,
            p.method,
            p.lora and p.lora.rank,
            p.optimizer.name,
            p.steps,
            p.schedule.warmup_steps,
            p.seed,
        )
        for p in expand(spec)
    ]
    ways = [("full", None, "sgd", 2, 0, 7), ("lora", 8, "adamw", 8, 4, 7), ("lora", 2, "sgd", 16, 0, 7)]
    assert found == [(model, *way) for model in "mn" for way in ways]


def test_seeds_side_by_side_are_trained_once_under_full_fine_tuning() -> None:
    spec = from_yaml(
        "models: m\ncontexts: [{id: a, text: x, target: y}]\nlearning_rates: 1\ncombine: zip\n"
        "methods: [full, lora, {lora: {rank: 2}}]\nseeds: [5, 6, 7]\n"
    )
    assert [(p.method, p.seed) for p in expand(spec)] == [("full", 5), ("lora", 6), ("lora", 7)]


def test_a_warmup_ratio_is_steps_for_each_length_rounded_up() -> None:
    spec = from_yaml(
        "models: m\ncontexts: [{id: a, text: x, target: y}]\nlearning_rates: 1\nsteps: [5, 20]\n"
        "schedule: [{linear: {warmup_ratio: 0.1, warmup_from_zero: true}}]\n"
    )
    wanted = [Schedule(name="linear", warmup_steps=w, warmup_from_zero=True) for w in (1, 2)]
    assert [p.schedule for p in expand(spec)] == wanted


def test_full_fine_tuning_takes_the_first_seed_only() -> None:
    spec = from_yaml(
        "models: m\ncontexts: [{id: a, text: x, target: y}]\nlearning_rates: 1\n"
        "methods: [full, lora]\nseeds: [5, 6, 7]\n"
    )
    assert [(p.method, p.seed) for p in expand(spec)] == [("full", 5), ("lora", 5), ("lora", 6), ("lora", 7)]


def test_a_method_can_name_its_own_optimizers() -> None:
    spec = from_yaml(
        "models: m\ncontexts: [{id: a, text: x, target: y}]\nlearning_rates: 1\noptimizers: [sgd]\n"
        "methods: [full, {lora: {rank: 2, optimizers: [adamw, {sgd: {momentum: 0.5}}]}}, {lora: {rank: 4}}]\n"
    )
    assert [(p.lora and p.lora.rank, p.optimizer.name, p.optimizer.momentum) for p in expand(spec)] == [
        (None, "sgd", 0.0),
        (2, "adamw", 0.0),
        (2, "sgd", 0.5),
        (4, "sgd", 0.0),
    ]


def test_thresholds_reach_the_problems() -> None:
    spec = from_yaml(
        "models: m\ncontexts: [{id: a, text: x, target: y}]\nlearning_rates: 1\nthresholds: {jump_size: 0.25}"
    )
    assert expand(spec)[0].thresholds.jump_size == 0.25
