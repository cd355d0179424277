"""Save a model that was read from another format as a plain float32 safetensors folder."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

QUANTISATION_KEYS = ("quantization_config", "_pre_quantization_dtype")
WEIGHTS_AND_METADATA = (
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

    transformers refuses to save a model that it has marked as quantised, even after dequantising it. So the state dict
    is copied into a fresh model of the same configuration. Matrices that are tied in `model` stay tied; others stay
    separate even where the configuration ties them.

    Raises:
        ValueError: only some of the matrices that the configuration ties are tied in `model`.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    for mark in QUANTISATION_KEYS:
        if hasattr(config, mark):
            delattr(config, mark)
    fresh = _fresh(config)
    apart = _untied(model, fresh)
    if apart:
        if len(apart) < len(fresh.all_tied_weights_keys):
            raise ValueError(
                f"its configuration ties {apart[0]} and others, but only some of them are tied in the model"
            )
        config.tie_word_embeddings = False
        fresh = _fresh(config)
    fresh.load_state_dict(model.state_dict())
    fresh.save_pretrained(folder, safe_serialization=True)


def other_files(folder: Path) -> list[Path]:
    """The files of a model folder besides weights and configuration: the tokenizer's files and code."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [
        file for file in files if not any(fnmatch(file.name, pattern) for pattern in WEIGHTS_AND_METADATA)
    ]


def copy_other_files(folder: Path, to: Path) -> None:
    """Copy the tokenizer's files unchanged; loading and saving a tokenizer may change how it splits text."""
    for file in other_files(folder):
        shutil.copyfile(file, to / file.name)


def _fresh(config: PretrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):  # random initial weights, all overwritten
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _untied(model: PreTrainedModel, fresh: PreTrainedModel) -> list[str]:
    """Names of parameters that the configuration ties to another one and `model` doesn't."""
    ours = dict(model.named_parameters(remove_duplicate=False))
    ties = fresh.all_tied_weights_keys.items()
    return [name for name, source in ties if ours.get(name) is not ours.get(source)]
