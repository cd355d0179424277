"""Facts about a model that need none of its weights: from its configuration, or as recorded in this package."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from phantom_dist.models.adapter import ModelMetadata, Permissions
from phantom_dist.models.folder import read_config
from phantom_dist.models.identity import weight_files
from phantom_dist.models.quiet import quiet
from phantom_dist.models.ties import left_apart


def describe_folder(folder: Path, reference: str, title: str, permissions: Permissions) -> ModelMetadata:
    """Describe the model in a folder with safetensors, as `load` would find it.

    Raises:
        InputError: its configuration can't be used, or its files are damaged.
    """
    config = read_config(folder, reference, permissions)
    return describe_config(config, reference, title, weight_files(folder), permissions)


def describe_config(
    config: PretrainedConfig,
    reference: str,
    title: str,
    weights: Sequence[Path] = (),
    permissions: Permissions = Permissions(),
) -> ModelMetadata:
    """Describe the model that a configuration makes, built on torch's meta device: shapes without memory.

    Where the weights are at hand, their header and the matrices in question say whether what the configuration ties is
    one; without them the configuration is believed.
    """
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=permissions.remote_code)
    readout = model.get_output_embeddings().weight
    text = config.get_text_config()
    sizes = dict(model.named_parameters(remove_duplicate=False))
    apart = left_apart(model, weights)
    readout_is_apart = any(sizes[name] is readout for name in apart)
    return ModelMetadata(
        reference=reference,
        title=title,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()) + sum(sizes[name].numel() for name in apart),
        width=readout.shape[1],
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        vocabulary_size=readout.shape[0],
        tied=readout is model.get_input_embeddings().weight and not readout_is_apart,
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
