"""Metadata of a model without loading its weights: from its configuration, or from the records in this package."""

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
from phantom_dist.models.ties import untied_parameters


def describe_folder(folder: Path, reference: str, title: str, permissions: Permissions) -> ModelMetadata:
    """Metadata of a folder with safetensors; agrees with what `load` loads from it.

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
    """Metadata of the model that a configuration describes, built on torch's meta device: shapes without memory.

    Where `weights` are given, the files decide whether the matrices that the configuration ties are really equal.
    Without weights they are assumed to be tied.
    """
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=permissions.remote_code)
    readout = model.get_output_embeddings().weight
    text = config.get_text_config()
    sizes = dict(model.named_parameters(remove_duplicate=False))
    apart = untied_parameters(model, weights)
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
    """Recorded metadata of well-known models: {hub name: {metadata..., `config`: explicit configuration}}."""
    text = (
        resources.files("phantom_dist.models").joinpath("recorded_metadata.json").read_text(encoding="utf-8")
    )
    models: dict[str, dict[str, Any]] = json.loads(text)
    return models


def describe_recorded(reference: str, name: str, reason: str) -> ModelMetadata | None:
    """Recorded metadata of a hub model, marked unverified with the reason; None if there is none."""
    metadata = recorded().get(name)
    if metadata is None:
        return None
    known = {key: value for key, value in metadata.items() if key != "config"}
    return ModelMetadata(
        reference=reference, title=name.rsplit("/", 1)[-1], **known, verified=False, reason=reason
    )
