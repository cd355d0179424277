"""Prompts on both sides of a rotary embedding's threshold: probes and lanes don't depend on other forward passes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn

from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial
from phantom_dist.core.probe_result import Measured
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models import zoo

from .problems import CONTEXTS, lanes_for, load, problem
from .test_padding_conformance import Counting


@pytest.fixture
def longrope(tmp_path):
    """`zoo:llama-b` with prompts of 10 to 15 tokens on both sides of LongRoPE's original length."""
    folder = tmp_path / "m"
    shutil.copytree(zoo.folder("llama-b"), folder)
    config = json.loads((folder / "config.json").read_text())
    width = config["hidden_size"] // config["num_attention_heads"] // 2
    config["rope_parameters"] = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * width,
        "long_factor": [4.0] * width,
        "original_max_position_embeddings": 10,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return load(str(folder))


@pytest.mark.parametrize("way", [("full", "sgd"), ("full", "adamw"), ("lora", "adamw")])
def test_a_short_prompt_keeps_its_short_factors(longrope, way):
    contexts = [CONTEXTS[name] for name in ("rage", "surprise-mad", "guilt")]
    trials = []
    for context in contexts:
        measured = probe(longrope, problem(*way, context=context))
        if isinstance(measured, Measured):
            rate = abs(measured.gap_0) / (4 * measured.kappa)
            trials += [Trial(measured=measured, learning_rate=rate * factor) for factor in (0.5, 1.0)]
    lengths = {len(trial.measured.tokens.prompt) for trial in trials}
    assert min(lengths) <= 10 < max(lengths)
    expected = {r.trial.id: r for r in SingleEngine().run(longrope, trials)}
    for result in lanes_for(trials[0].problem).run(longrope, trials):
        assert result.engine.endswith("lanes")
        alone = expected[result.trial.id]
        assert [m.logit_gap for m in result.trace] == pytest.approx(
            [m.logit_gap for m in alone.trace], abs=1e-3, rel=1e-4
        )


@pytest.mark.parametrize("way", [("full", "sgd"), ("lora", "adamw")])
def test_a_probe_is_what_it_is_alone(way):
    """The model keeps state of every forward pass, in a buffer and in an attribute."""

    def strange():
        loaded = load("zoo:gpt2-a")
        loaded.model.transformer.drop = nn.Sequential(loaded.model.transformer.drop, Counting())
        return loaded

    asked = [problem(*way, context=context) for context in list(CONTEXTS.values())[:3]]
    alone = [probe(strange(), one) for one in asked]
    loaded = strange()
    for order in (range(3), range(2, -1, -1)):
        for number in order:
            assert repr(probe(loaded, asked[number])) == repr(alone[number])


def test_a_model_that_changes_its_weights_as_it_computes_is_refused():
    class Rescaling(nn.Module):
        """Like Rwkv, it halves its weights at the first forward pass."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.rescaled = False

        def forward(self, x):
            if not self.rescaled:
                with torch.no_grad():
                    self.weight.div_(2)
                self.rescaled = True
            return x * self.weight

    loaded = load("zoo:gpt2-a")
    loaded.model.transformer.drop = Rescaling()
    with pytest.raises(
        InputError, match=r"changes its own weights in its forward pass \(transformer.drop.weight\)"
    ):
        probe(loaded, problem())
