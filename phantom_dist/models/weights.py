"""The weights of a model folder become a model, with nothing taken from beside them and nothing made up."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import ModelFolder, Permissions
from phantom_dist.models.folder import first_line
from phantom_dist.models.staging import staged

ATTENTION = "eager"
"""Attention written as plain matrix products and a softmax. torch's fused kernels are chosen by shape and device, and
some of their backward passes are not deterministic on CUDA; prompts are so short that they would save nothing."""


UNREADABLE = (
    SafetensorError,
    OSError,
    ImportError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
)
"""What transformers raises where files and configuration don't make a model."""


def read_model(folder: ModelFolder, files: list[Path], permissions: Permissions) -> PreTrainedModel:
    """The model from exactly these files, as float32: what else lies in the folder is no part of its identity.

    Raises:
        InputError: they can't be read, or lack a tensor.
    """
    with staged(files, folder.path.resolve().name) as alone:
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                alone,
                dtype=torch.float32,
                attn_implementation=ATTENTION,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=permissions.remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # named below, by us
            )
        except UNREADABLE as error:
            why = first_line(error).replace(str(alone), str(folder.path))
            raise InputError(f"model {folder.reference!r} ({folder.path}) can't be loaded: {why}") from None
    model.name_or_path = model.config.name_or_path = str(folder.path)
    # transformers would fill these with random numbers
    unfilled = sorted({*found["missing_keys"], *(str(key[0]) for key in found["mismatched_keys"])})
    if unfilled:
        raise InputError(
            f"model {folder.reference!r} ({folder.path}): the weights don't fit config.json: nothing for "
            f"{', '.join(unfilled[:3])}{f' and {len(unfilled) - 3} more' if len(unfilled) > 3 else ''}"
        )
    return model
