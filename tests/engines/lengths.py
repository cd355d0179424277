"""Trials with prompts of given lengths, without a tokenizer, and the comparison of lanes with the reference on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured, ModelReading, PairReading
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context, Lora, ModelIdentity, Optimizer, Problem
from phantom_dist.engines.lanes import engine
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import lora_targets, readout_matrix, trainable
from phantom_dist.instruments import readout
from phantom_dist.models.adapter import ModelFolder
from phantom_dist.models.forward_state import memoryless
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel

from .problems import lanes_for

WAYS: dict[str, dict[str, Any]] = {
    "SGD": {"method": "full", "optimizer": Optimizer(name="sgd")},
    "AdamW": {"method": "full", "optimizer": Optimizer(name="adamw", epsilon=1e-3)},
    "LoRA": {
        "method": "lora",
        "optimizer": Optimizer(name="adamw", epsilon=1e-3),
        "lora": Lora(rank=2, alpha=4),
    },
}
"""ε is large: with a small ε, gradients that are only rounding errors would become steps of full size."""


def ways(loaded: LoadedModel) -> dict[str, dict[str, Any]]:
    """`WAYS` for a model; without attention modules, LoRA adapts every linear module but the readout."""
    linear = {n: m for n, m in loaded.model.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
    if any("attn" in name or "attention" in name for name in linear):
        return WAYS
    readout = loaded.model.get_output_embeddings()
    names = {name.split(".")[-1] for name, module in linear.items() if module is not readout}
    names -= {"out_proj"}  # peft takes none at Mamba's
    return WAYS | {"LoRA": WAYS["LoRA"] | {"lora": Lora(rank=2, alpha=4, targets=tuple(sorted(names)))}}


STEP = 0.3
"""The fall of the loss in each step, to first order; nats."""


def loaded_as(model: Any) -> LoadedModel:
    """A model built in a test, in the form of a loaded one."""
    identity = ModelIdentity(
        weights="0" * 64,
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    folder = ModelFolder(reference="tiny", path=Path("tiny"), title="tiny")
    return LoadedModel(
        model=model.eval().requires_grad_(True), tokenizer=None, folder=folder, identity=identity
    )  # type: ignore[arg-type]


def trials_of(loaded: LoadedModel, way: str, lengths: list[int], steps: int = 2) -> list[Trial]:
    """A trial for each length, measured on its prompt alone, at a rate that lowers the loss by `STEP` in each step."""
    vocabulary = loaded.model.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(1)
    training = ways(loaded)[way]
    problems = [
        Problem(
            model="tiny",
            context=Context(id=f"c{number}", text="x", target=" a", competitor=" b"),
            steps=steps,
            **training,
        )
        for number in range(len(lengths))
    ]
    lora = problems[0].lora
    model = ModelReading(
        identity=loaded.identity,
        width=readout_matrix(loaded.model).shape[1],
        lora_targets=None if lora is None else lora_targets(loaded.model, lora),
    )
    trials = []
    # One set of adapters for all prompts: peft makes them slowly.
    with trainable(loaded, problems[0]) as ready:
        for problem, length in zip(problems, lengths, strict=True):
            prompt = tuple(torch.randint(4, vocabulary, (length,), generator=generator).tolist())
            with memoryless(loaded.model):
                logits_V = last_logits(ready.model, prompt).float()
                *_, competitor, target = logits_V.detach()[:vocabulary].topk(5).indices.tolist()
                loss = torch.nn.functional.cross_entropy(logits_V, torch.tensor(target))
                gradients = torch.autograd.grad(loss, ready.parameters, allow_unused=True)
            epsilon = WAYS[way]["optimizer"].epsilon
            fall = sum(float(_fall(g.double(), way, epsilon).sum()) for g in gradients if g is not None)
            tokens = Tokens(
                prompt=prompt, target=target, competitor=competitor, target_text=" a", competitor_text=" b"
            )
            seen_V = logits_V.detach()
            pair = PairReading(
                tokens=tokens,
                gap_0=float(readout.logit_gap(seen_V, target, competitor)),
                loss_0=float(readout.cross_entropy(seen_V, target)),
                overlap_0=math.nan,  # no engine reads overlaps or kappa
                centred_overlap=math.nan,
                synonym_floor=math.nan,
            )
            measured = Measured(problem=problem, model=model, pair=pair, kappa=math.nan)
            trials.append(Trial(measured=measured, learning_rate=STEP / fall))
    return trials


def _fall(gradient: Tensor, way: str, epsilon: float) -> Tensor:
    """The fall of the loss in the first step at a learning rate of 1, to first order."""
    return gradient.square() if way == "SGD" else gradient.square() / (gradient.abs() + epsilon)


def check_lanes(loaded: LoadedModel, trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> str:
    """Compare lanes with the reference engine on each trial; returns the cell of the README's table.

    That is `lanes`, `lanes by length`, or `reference: REASON`. Tolerances are those of the suite of lanes: logit gaps
    within 1e-3 or 1e-4 of their size.
    """
    batches: list[set[int]] = []
    real = engine.train

    def spied(loaded: LoadedModel, trials: list[Trial], *more: Any) -> Any:
        lanes = real(loaded, trials, *more)
        batches.append({len(trial.measured.tokens.prompt) for trial in trials})
        return lanes

    got: dict[str, TrialResult] = {}
    with monkeypatch.context() as patched:
        patched.setattr(engine, "train", spied)
        for result in lanes_for(trials[0].problem).run(loaded, trials):
            if result.note is not None:
                assert result.engine == "single"
                return f"reference: {result.note}"
            got[result.trial.id] = result
    assert batches, "no batch of lanes was trained"
    for expected in SingleEngine().run(loaded, list(reversed(trials))):
        near(got[expected.trial.id], expected)
    everything = {len(trial.measured.tokens.prompt) for trial in trials}
    return "lanes" if batches == [everything] else "lanes by length"


def near(lane: TrialResult, alone: TrialResult) -> None:
    """Within the suite's tolerances; and the loss changed by much more than these."""
    assert len(lane.trace) == len(alone.trace)
    for a, b in zip(lane.trace, alone.trace, strict=True):
        tolerance = max(1e-3, 1e-4 * abs(b.logit_gap))
        assert a.logit_gap == pytest.approx(b.logit_gap, abs=tolerance)
        assert a.loss == pytest.approx(b.loss, abs=2 * tolerance)
        assert a.embedding_drift == pytest.approx(b.embedding_drift, rel=1e-3, abs=1e-7)
        if b.gradient_norm is not None:
            assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=2 * tolerance + 1e-3)
    assert abs(alone.trace[-1].loss - alone.trace[0].loss) > 20 * 1e-3
