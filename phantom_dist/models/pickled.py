"""Weights that exist as pickle alone, read with torch's restricted unpickler once the user has allowed it."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.cache import building, cache_folder, content_key
from phantom_dist.models.convert import copy_rest, rest_of, save_plain
from phantom_dist.models.folder import first_line, pickled_weights
from phantom_dist.models.identity import code_files
from phantom_dist.models.quiet import quiet
from phantom_dist.models.staging import staged

CONVERSION = 2
"""Raised where a conversion of the same files gives another model: since 2 the tokenizer's files count."""
INDEX = "pytorch_model.bin.index.json"


def converted(folder: Path, permissions: Permissions) -> Path:
    """Where the same model lies as safetensors once it is converted; its key covers every file that counts."""
    versions = (CONVERSION, transformers.__version__, permissions.remote_code)
    key = content_key(versions, {*_sources(folder, permissions), *rest_of(folder)})
    return cache_folder() / "pickle" / key


def without_pickle(folder: Path, reference: str, permissions: Permissions) -> Path:
    """The same model as safetensors in the cache, converted once per content of its files.

    Raises:
        InputError: the files can't be read as weights alone (torch.load with weights_only), or are no model.
    """
    final = converted(folder, permissions)
    if final.is_dir():
        return final
    sources = _sources(folder, permissions)
    with building(final) as scratch, quiet(), staged(sources, folder.resolve().name) as alone:
        try:
            # transformers reads *.bin with weights_only=True: tensors and containers, no code
            model, found = AutoModelForCausalLM.from_pretrained(
                alone,
                dtype=torch.float32,
                use_safetensors=False,
                local_files_only=True,
                trust_remote_code=permissions.remote_code,
                output_loading_info=True,
            )
            if found["missing_keys"]:  # transformers would fill these with random numbers
                raise ValueError(f"nothing for {', '.join(sorted(found['missing_keys'])[:3])}")
            save_plain(model, scratch)
        except Exception as error:  # whatever a damaged or hostile pickle raises
            names = ", ".join(f.name for f in pickled_weights(folder))
            raise InputError(
                f"model {reference!r}: its pickled weights ({folder}: {names}) can't be read: {first_line(error)}"
            ) from None
        copy_rest(folder, scratch)
    return final


def _sources(folder: Path, permissions: Permissions) -> list[Path]:
    index = [folder / INDEX] if (folder / INDEX).is_file() else []
    code = code_files(folder) if permissions.remote_code else []
    return [folder / "config.json", *index, *pickled_weights(folder), *code]
