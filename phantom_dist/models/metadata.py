"""Facts about a model that need none of its weights: from its configuration, or as recorded in this package."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from phantom_dist.models.adapter import ModelMetadata
from phantom_dist.models.quiet import quiet


def describe_config(config: PretrainedConfig, reference: str, title: str) -> ModelMetadata:
    """Describe the model that a configuration makes, built on torch's meta device: shapes without memory."""
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    readout = model.get_output_embeddings().weight
    text = config.get_text_config()
    return ModelMetadata(
        reference=reference,
        title=title,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()),
        width=readout.shape[1],
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        vocabulary_size=readout.shape[0],
        tied=readout is model.get_input_embeddings().weight,
    )


@functools.cache
def recorded() -> dict[str, dict[str, Any]]:
    """What the package knows about well-known models: {hub name: {facts..., `config`: explicit configuration}}."""
    text = (
        resources.files("phantom_dist.models").joinpath("recorded_metadata.json").read_text(encoding="utf-8")
    )
    models: dict[str, dict[str, Any]] = json.loads(text)
    return models


def describe_recorded(reference: str, name: str, reason: str) -> ModelMetadata | None:
    """The recorded facts about a hub model of this name, marked unverified with the reason; None if there are none."""
    facts = recorded().get(name)
    if facts is None:
        return None
    known = {key: value for key, value in facts.items() if key != "config"}
    return ModelMetadata(
        reference=reference, title=name.rsplit("/", 1)[-1], **known, verified=False, reason=reason
    )
