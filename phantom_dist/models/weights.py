"""Load a model from exactly the given weight files: no neighbouring file is used and no missing tensor is filled."""

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
"""Attention as plain matrix products and a softmax. torch chooses its fused kernels by shape and device, and some of
their backward passes are not deterministic on CUDA. Prompts are too short to benefit from them."""


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
"""What transformers raises where files and configuration don't fit together."""


def read_model(folder: ModelFolder, files: list[Path], permissions: Permissions) -> PreTrainedModel:
    """Load the model from exactly these files, as float32; other files in the folder are not part of its identity.

    Raises:
        InputError: they can't be read, or a tensor is missing.
    """
    with staged(files, folder.path.resolve().name) as staging_folder:
        try:
            model, loading_info = AutoModelForCausalLM.from_pretrained(
                staging_folder,
                dtype=torch.float32,
                attn_implementation=ATTENTION,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=permissions.remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below
            )
        except UNREADABLE as error:
            why = first_line(error).replace(str(staging_folder), str(folder.path))
            raise InputError(f"model {folder.reference!r} ({folder.path}) can't be loaded: {why}") from None
    model.name_or_path = model.config.name_or_path = str(folder.path)
    # transformers fills these with random numbers
    mismatched = (str(key[0]) for key in loading_info["mismatched_keys"])
    unfilled = sorted({*loading_info["missing_keys"], *mismatched})
    if unfilled:
        raise InputError(
            f"model {folder.reference!r} ({folder.path}): the weights don't fit config.json: nothing for "
            f"{', '.join(unfilled[:3])}{f' and {len(unfilled) - 3} more' if len(unfilled) > 3 else ''}"
        )
    return model
