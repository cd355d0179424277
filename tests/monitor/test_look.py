"""A look reads what the reference engine's instruments read, whatever the architecture, padding and adapters."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from phantom_dist.contexts import load_contexts
from phantom_dist.engines.recorder import Recorder, SoloGeometry
from phantom_dist.engines.trainable import Trainable, readout_matrix
from phantom_dist.models import zoo
from phantom_dist.models.last_logits import last_logits
from phantom_dist.monitor import Monitor, MonitorSettings, look, readout_geometry
from phantom_dist.monitor.look import read
from phantom_dist.monitor.readout_geometry import ReadoutGeometry
from phantom_dist.monitor.undisturbed import undisturbed

from . import loop

EVERY_STEP = MonitorSettings(every=1, budget=1.0)


def watched(model, tokenizer):
    return Monitor(model, tokenizer, load_contexts(loop.CONTEXTS), settings=EVERY_STEP).watched


@pytest.mark.parametrize("name", zoo.names())
def test_readings_are_the_reference_engines(name):
    model, tokenizer = loop.fresh(name)
    pairs = [w.tokens for w in watched(model, tokenizer)]
    assert len({len(pair.prompt) for pair in pairs}) > 1  # so some are padded
    with undisturbed(model):
        readings = read(model, pairs, ReadoutGeometry(model, pairs))
    model.eval()
    matrix = readout_matrix(model)
    ready = Trainable(
        model=model, parameters=(), readout_Vd=matrix, initial_readout_Vd=matrix, readout_frozen=False
    )
    for pair, reading in zip(pairs, readings, strict=True):
        recorder = Recorder(SoloGeometry(ready), [pair], model.device)
        (expected,) = recorder.measure(0, last_logits(model, pair.prompt).detach()[None])
        for key, value in asdict(reading).items():
            assert value == pytest.approx(getattr(expected, key), abs=2e-5), key
        assert reading.order_parameter == pytest.approx(reading.signal + reading.drag, abs=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [True, False])
def test_the_tokenizers_padding_does_not_matter(side, pad):
    model, tokenizer = loop.fresh("llama-a")
    expected = watched(model, tokenizer)
    tokenizer.padding_side = side
    if not pad:
        tokenizer.pad_token = None
    monitor = Monitor(model, tokenizer, load_contexts(loop.CONTEXTS), settings=EVERY_STEP)
    assert monitor.watched == expected
    assert tokenizer.padding_side == side
    assert (tokenizer.pad_token is not None) == pad


def test_a_long_list_is_looked_at_in_parts(monkeypatch):
    model, tokenizer = loop.fresh("llama-a")
    pairs = [w.tokens for w in watched(model, tokenizer)]
    with undisturbed(model):
        whole = read(model, pairs, ReadoutGeometry(model, pairs))
        monkeypatch.setattr(look, "ENTRIES", 3 * model.config.vocab_size * max(len(p.prompt) for p in pairs))
        parts = read(model, pairs, ReadoutGeometry(model, pairs))
    assert [r.logit_gap for r in parts] == pytest.approx([r.logit_gap for r in whole], abs=1e-5)


def test_overlaps_are_measured_once_where_the_readout_is_frozen(monkeypatch):
    counted = []
    real = readout_geometry.overlap.overlap_rows
    monkeypatch.setattr(readout_geometry.overlap, "overlap_rows", lambda *a: (counted.append(1), real(*a))[1])
    for lora, expected in ((True, 1), (False, 3)):
        model, tokenizer = loop.fresh("llama-a", lora=lora)
        pairs = [w.tokens for w in watched(model, tokenizer)]
        geometry = ReadoutGeometry(model, pairs)
        assert geometry.frozen == lora
        counted.clear()
        for _ in range(3):
            geometry.now()
        assert len(counted) == expected


@pytest.mark.parametrize("how", ["adapter", "copy"])
def test_a_readout_that_peft_trains_is_read_as_the_logits_see_it(how):
    settings = {"targets": ["lm_head", "q_proj"]} if how == "adapter" else {"modules_to_save": ["lm_head"]}
    model, tokenizer = loop.fresh("llama-b", lora=True, **settings)
    assert not ReadoutGeometry(model, []).frozen
    loop.train(model, tokenizer, steps=3, learning_rate=1e-2, taught=loop.contexts("guilt"))
    model.eval()
    states = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: states.append(inputs[0])
    )
    with torch.no_grad():
        logits = model(**loop.encode(tokenizer, ["the king was"])).logits
    matrix = readout_geometry.effective_matrix(readout_geometry.readout_module(model))
    assert torch.allclose(states[0] @ matrix.T, logits, atol=1e-4)


def test_models_that_cannot_be_read_are_said_and_left():
    model, tokenizer = loop.fresh("gpt2-a")
    assert "no output embedding" in Monitor(torch.nn.Linear(2, 2), tokenizer).stopped
    model.lm_head.weight = torch.nn.Parameter(torch.empty(0))
    assert "sharded" in Monitor(model, tokenizer).stopped


LONG = {
    "longrope": {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "original_max_position_embeddings": 10},
    "dynamic": {},
    "default": {},
}


def _tiny(rope):
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=96,
        max_position_embeddings=10 if rope == "dynamic" else 64,
        rope_parameters={"rope_type": rope, "rope_theta": 100.0, "factor": 4.0, **LONG[rope]},
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.ndim > 1 else 1)
    return model.eval()


class _Backwards(torch.nn.Module):
    """Every position sees the last one, a little."""

    def forward(self, x):
        return x + 0.1 * x[:, -1:]


@pytest.mark.parametrize("rope", [*LONG, "backwards"])
def test_a_look_is_what_each_prompt_is_alone(rope):
    """A look doesn't depend on what the training read before, and changes nothing for its next batch."""

    def fresh():
        model = _tiny("default" if rope == "backwards" else rope)
        if rope == "backwards":
            layer = model.model.layers[0]
            layer.mlp = torch.nn.Sequential(layer.mlp, _Backwards())
        return model

    generator = torch.Generator().manual_seed(0)
    prompts = [
        tuple(torch.randint(96, (length,), generator=generator).tolist())
        for length in (1, 9, 10, 11, 11, 40, 64)
    ]
    with torch.no_grad():
        alone = torch.stack([last_logits(fresh(), prompt) for prompt in prompts])
        model = fresh()
        model(input_ids=torch.zeros(1, 50, dtype=torch.int64))
        buffers = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
        rotary = dict(vars(model.model.rotary_emb))
        for _ in range(3):
            assert torch.allclose(look.logits_of(model, prompts), alone, atol=1e-4, rtol=1e-4)
            for one, expected in zip(prompts, alone, strict=True):
                assert torch.allclose(look.logits_of(model, [one])[0], expected, atol=1e-4, rtol=1e-4)
    for name, buffer in model.named_buffers():
        assert buffer is buffers[name][0]
        assert torch.equal(buffer, buffers[name][1])
    for name, value in vars(model.model.rotary_emb).items():
        assert value is rotary[name]


def test_prompts_are_padded_where_that_changes_nothing():
    passes = []
    prompts = [tuple(range(1, length)) for length in (3, 7, 12)]
    for rope, expected in (("default", 1), ("longrope", 3)):
        model = _tiny(rope)
        model.register_forward_hook(lambda *_: passes.append(1))
        with torch.no_grad():
            look.logits_of(model, prompts)
            passes.clear()
            look.logits_of(model, prompts)
        assert len(passes) == expected
