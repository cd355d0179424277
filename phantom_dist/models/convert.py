"""Weights in another form than safetensors become a plain float32 model folder in the cache."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

MARKS_OF_QUANTISATION = ("quantization_config", "_pre_quantization_dtype")
NOT_THE_REST = (
    "*.safetensors",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.index.json",
    "config.json",
    "generation_config.json",
    "adapter_*",
    "trainer_state.json",
    "README*",
    ".*",
)


def save_plain(model: PreTrainedModel, folder: Path) -> None:
    """Save as float32 safetensors.

    transformers refuses to save what it has marked as quantised, even after it was dequantised; so the state goes
    into a fresh model of the same configuration. Matrices that are tied in `model` stay tied, and those that are not
    stay apart even where the configuration wanted them tied.

    Raises:
        ValueError: some of the matrices that the configuration ties are tied in `model`, and some are not.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    for mark in MARKS_OF_QUANTISATION:
        if hasattr(config, mark):
            delattr(config, mark)
    fresh = _fresh(config)
    apart = _apart(model, fresh)
    if apart:
        if len(apart) < len(fresh.all_tied_weights_keys):
            raise ValueError(f"its configuration ties {apart[0]} and others, and that one alone is not tied")
        config.tie_word_embeddings = False
        fresh = _fresh(config)
    fresh.load_state_dict(model.state_dict())
    fresh.save_pretrained(folder, safe_serialization=True)


def rest_of(folder: Path) -> list[Path]:
    """The files of a model folder that are neither weights nor their configuration: the tokenizer's, and code."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if not any(fnmatch(file.name, pattern) for pattern in NOT_THE_REST)]


def copy_rest(folder: Path, to: Path) -> None:
    """Copy the tokenizer's files as they are: read and saved again they might split another way."""
    for file in rest_of(folder):
        shutil.copyfile(file, to / file.name)


def _fresh(config: PretrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and overwritten
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _apart(model: PreTrainedModel, fresh: PreTrainedModel) -> list[str]:
    """The parameters that a fresh model ties to another and `model` doesn't."""
    ours = dict(model.named_parameters(remove_duplicate=False))
    ties = fresh.all_tied_weights_keys.items()
    return [name for name, source in ties if ours.get(name) is not ours.get(source)]
