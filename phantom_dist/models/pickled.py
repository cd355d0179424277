"""Convert weights that exist only as pickle, with torch's restricted unpickler and only if the user allows it."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.cache import building, cache_folder, content_key
from phantom_dist.models.convert import copy_other_files, other_files, save_plain
from phantom_dist.models.folder import first_line, pickled_weights
from phantom_dist.models.identity import code_files
from phantom_dist.models.quiet import quiet
from phantom_dist.models.staging import staged

CONVERSION = 2
"""Raise this number when the conversion of the same files gives a different model. Since 2, the tokenizer's files are
part of the key."""
INDEX = "pytorch_model.bin.index.json"


def converted_folder(folder: Path, permissions: Permissions) -> Path:
    """The cache folder of the model as safetensors; its key covers every file that affects the conversion."""
    versions = (CONVERSION, transformers.__version__, permissions.remote_code)
    key = content_key(versions, {*_sources(folder, permissions), *other_files(folder)})
    return cache_folder() / "pickle" / key


def convert_pickled(folder: Path, reference: str, permissions: Permissions) -> Path:
    """The same model as safetensors in the cache; converts it first if necessary.

    Raises:
        InputError: torch.load(weights_only=True) can't read the files, or they don't make a model.
    """
    final = converted_folder(folder, permissions)
    if final.is_dir():
        return final
    sources = _sources(folder, permissions)
    with building(final) as scratch, quiet(), staged(sources, folder.resolve().name) as source_folder:
        try:
            # transformers loads *.bin with weights_only=True: tensors and containers, no code
            model, loading_info = AutoModelForCausalLM.from_pretrained(
                source_folder,
                dtype=torch.float32,
                use_safetensors=False,
                local_files_only=True,
                trust_remote_code=permissions.remote_code,
                output_loading_info=True,
            )
            missing = sorted(loading_info["missing_keys"])
            if missing:  # transformers fills these with random numbers
                raise ValueError(f"nothing for {', '.join(missing[:3])}")
            save_plain(model, scratch)
        except Exception as error:  # a damaged or malicious pickle may raise anything
            names = ", ".join(f.name for f in pickled_weights(folder))
            raise InputError(
                f"model {reference!r}: its pickled weights ({folder}: {names}) can't be read: {first_line(error)}"
            ) from None
        copy_other_files(folder, scratch)
    return final


def _sources(folder: Path, permissions: Permissions) -> list[Path]:
    index = [folder / INDEX] if (folder / INDEX).is_file() else []
    code = code_files(folder) if permissions.remote_code else []
    return [folder / "config.json", *index, *pickled_weights(folder), *code]
