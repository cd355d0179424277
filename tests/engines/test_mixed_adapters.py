"""Lanes of one batch with other ranks, alphas, targets and dropout: each is its trial's solo run."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.core.measurement import Trial
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.trial import Lora
from phantom_dist.engines.lanes import engine
from phantom_dist.engines.lanes.choice import lanes_for as build
from phantom_dist.engines.lanes.kind import Shape
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine

from .problems import CONTEXTS, lanes_for, load, problem
from .test_training_sets import assert_equal, problems, trained

LORAS = (
    Lora(rank=4, alpha=8),
    Lora(rank=1, alpha=8, targets="all-linear"),
    Lora(rank=8, alpha=8, rslora=True),
    Lora(rank=3, alpha=12, targets="all-linear", rslora=True),
)


def trials(name: str, loras, optimizer: str = "adamw", **more) -> list[Trial]:
    loaded, made = load(f"zoo:{name}"), []
    contexts = itertools.cycle([CONTEXTS["guilt"], *list(CONTEXTS.values())[:2]])
    for lora, context in zip(loras, contexts, strict=False):
        asked = problem("lora", optimizer, context=context, **more)
        measured = probe(loaded, asked.model_copy(update={"lora": lora, "model": f"zoo:{name}"}))
        assert isinstance(measured, Measured), measured
        rate = abs(measured.gap_0) / (4 * abs(measured.kappa))
        made += [Trial(measured=measured, learning_rate=rate * factor) for factor in (0.5, 1.2)]
    return made


def assert_as_alone(name: str, asked: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, sizes, real = load(f"zoo:{name}"), [], engine.train
    with monkeypatch.context() as patched:
        patched.setattr(engine, "train", lambda m, t, *more: sizes.append(len(t)) or real(m, t, *more))
        got = {r.trial.id: r for r in lanes_for(asked[0].problem).run(loaded, asked)}
    assert sizes == [len(asked)], "one batch"
    for solo in SingleEngine().run(loaded, asked):
        lane = got[solo.trial.id]
        assert lane.engine == "lora lanes"
        assert [m.logit_gap for m in lane.trace] == pytest.approx(
            [m.logit_gap for m in solo.trace], abs=1e-3, rel=1e-4
        )
        norms = [m.gradient_norm for m in solo.trace[:-1]]
        assert [m.gradient_norm for m in lane.trace[:-1]] == pytest.approx(norms, rel=3e-3)


@pytest.mark.parametrize("name", ["gpt2-a", "llama-a", "bloom-a", "qwen3-a"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.02},
        {"weight_decay": 0.1, "gradient_clipping": 0.1},
    ],
    ids=["adamw", "sgd", "clipped"],
)
def test_each_lane_is_its_solo_run(name, more, monkeypatch):
    assert_as_alone(name, trials(name, LORAS, **more), monkeypatch)


@settings(max_examples=12, deadline=None)
@given(
    loras=st.lists(
        st.builds(
            Lora,
            rank=st.integers(1, 16),
            alpha=st.sampled_from([1.0, 16.0]),
            rslora=st.booleans(),
            targets=st.sampled_from(["attention", "all-linear", "peft"]),
        ),
        min_size=2,
        max_size=3,
    )
)
def test_any_settings_share_a_batch(loras):
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert_as_alone("gpt2-a", trials("gpt2-a", loras, steps=2), monkeypatch)


@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.3, 0.1), (0.0, 0.2)])
def test_trainings_on_a_set_share_a_batch(dropout):
    loaded = load("zoo:gpt2-a")
    loras = ({"rank": 4}, {"rank": 2, "alpha": 16, "targets": "all-linear"})
    asked = [
        one
        for seed, (lora, share) in enumerate(zip(loras, dropout, strict=True))
        for one in problems("lora adamw", lora=lora | {"dropout": share}, seed=seed)
    ]
    together, alone = (trained(loaded, asked, (5e-3, 1e-2), engine) for engine in ("lanes", "single"))
    assert {result.engine for result in together.values()} == {"lora lanes"}
    assert len(alone) == len(asked) * 2
    assert_equal(together, alone)


def test_scales_are_not_rounded_with_the_weights():
    """In bfloat16 2.6667 would become 2.6719, and a lane would depend on what shares its batch."""
    short = load("zoo:gpt2-a", precision="bfloat16")
    loras = (Lora(rank=6, alpha=16), Lora(rank=6, alpha=8), Lora(rank=3, alpha=12, rslora=True))
    asked = problem("lora", "sgd", precision="bfloat16")
    firsts = [asked.model_copy(update={"lora": lora}) for lora in loras]
    lanes = build(short, firsts, Shape(first=3, lanes=3, steps=1, tokens=8), "lora")
    lanes.replacements(short.model)
    lanes.allocate()
    assert lanes._scale.flatten().tolist() == pytest.approx([lora.scale for lora in loras], rel=2**-24)
    lanes.select([2, 2])
    assert lanes._scale == loras[2].scale
