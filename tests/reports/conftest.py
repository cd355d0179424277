"""A small Llama, trained and measured at several learning rates."""

from __future__ import annotations

import pytest
import torch

from phantom_dist.core.trial import Optimizer
from phantom_dist.reports import RunTables

from .plain_loop import Case, assemble, search


@pytest.fixture(scope="session")
def tiny_cases() -> list[Case]:
    """Three prompts, each under full SGD and LoRA AdamW, for a random Llama of 20,000 parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.25,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    ways = [("full", Optimizer(name="sgd")), ("lora", Optimizer(name="adamw"))]
    cases = []
    for number, prompt in enumerate([(5, 17, 40, 8), (60, 2, 33), (9, 71, 28, 50, 3)]):
        with torch.no_grad():
            order = model(torch.tensor([prompt])).logits[0, -1].argsort(descending=True).tolist()
        cases += [
            Case(
                model=model,
                name="zoo:tiny",
                context=f"prompt-{number}",
                prompt=prompt,
                words=(order[3], order[0]),
                spelling=(f" word{order[3]}", f" word{order[0]}"),
                method=method,
                optimizer=optimizer,
            )
            for method, optimizer in ways
        ]
    return cases


@pytest.fixture(scope="session")
def tiny_run(tiny_cases: list[Case]) -> RunTables:
    """Critical rates to 1 %, with a failure below each and two wild rates far above."""
    return assemble("tiny", [search(case, extra=(0.9, 30.0, 1000.0)) for case in tiny_cases])
