"""The adapter of `peft:PATH`: a peft adapter, merged into its base model.

adapter_config.json names the base model. peft merges both once, in float32, and the cache keeps the result as a plain
model folder. So trials train, and digests cover, the merged model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import peft
import torch
import transformers

from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.adapter_folder import PREFIX, AdapterFolder, open_adapter
from phantom_dist.models.cache import building, cache_folder, content_key
from phantom_dist.models.convert import copy_other_files, other_files, save_plain
from phantom_dist.models.folder import check_folder
from phantom_dist.models.identity import code_files, model_files, weights_digest
from phantom_dist.models.local import checked_folder, describe_local
from phantom_dist.models.merging import is_tied, merge
from phantom_dist.models.quiet import quiet
from phantom_dist.models.weights import read_model

CONVERSION = 1
"""Raise this number when merging the same files gives a different model."""


@final
@dataclass(frozen=True)
class Merged(ModelAdapter):
    """A peft adapter folder; `adapter_for` returns the model adapter for the base's reference."""

    adapter_for: Callable[[str], ModelAdapter]
    form: ClassVar[str] = "peft:ADAPTER_FOLDER"

    def claims(self, reference: str) -> bool:
        """Whether the reference starts with peft:"""
        return reference.startswith(PREFIX)

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The merged model in the cache; merges it first if necessary."""
        adapter = open_adapter(reference, permissions)
        base = self._resolve_base(adapter, permissions)
        folder = _cache_path(adapter, base)
        if not folder.is_dir():
            _merge(adapter, base, folder, permissions)
        check_folder(folder, reference, permissions)
        return ModelFolder(reference=reference, path=folder, title=_title(adapter, base.title))

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """The base's metadata; the header of the adapter's weights tells whether the adapter unties the matrices."""
        adapter = open_adapter(reference, permissions)
        metadata = self._describe_base(adapter, permissions)
        if metadata.tied and adapter.unties(metadata.vocabulary_size, metadata.width):
            parameters = metadata.parameters + metadata.vocabulary_size * metadata.width
            metadata = replace(metadata, tied=False, parameters=parameters)
        return replace(metadata, reference=reference, title=_title(adapter, metadata.title))

    def folder(self, reference: str, permissions: Permissions) -> Path | None:
        """The folder of the merged model's tokenizer: the adapter's or the base's."""
        adapter = open_adapter(reference, permissions)
        if adapter.has_tokenizer or adapter.is_its_own_base:
            return adapter.path
        return self.adapter_for(adapter.base).folder(adapter.base, permissions)

    def _resolve_base(self, adapter: AdapterFolder, permissions: Permissions) -> ModelFolder:
        try:
            if adapter.is_its_own_base:
                return checked_folder(
                    adapter.path, adapter.base, adapter.path.resolve().name, permissions, ignore_adapter=True
                )
            base = self.adapter_for(adapter.base).resolve(adapter.base, permissions)
        except InputError as error:
            raise adapter.base_error(error) from None
        if permissions.remote_code and code_files(base.path):
            raise adapter.error(
                f"its base {adapter.base!r} needs Python code of its own; merge it where it was made"
            )
        return base

    def _describe_base(self, adapter: AdapterFolder, permissions: Permissions) -> ModelMetadata:
        try:
            if adapter.is_its_own_base:
                return describe_local(adapter.path, adapter.base, permissions, ignore_adapter=True)
            return self.adapter_for(adapter.base).describe(adapter.base, permissions)
        except InputError as error:
            raise adapter.base_error(error) from None


def _cache_path(adapter: AdapterFolder, base: ModelFolder) -> Path:
    """The cache folder of the merged model; its key covers adapter, base, tokenizer and library versions."""
    versions: tuple[Any, ...] = (CONVERSION, transformers.__version__, peft.__version__, torch.__version__)
    key = content_key(
        (*versions, weights_digest(base.path)), [*adapter.files, *other_files(_tokenizer(adapter, base))]
    )
    return cache_folder() / "peft" / key


def _tokenizer(adapter: AdapterFolder, base: ModelFolder) -> Path:
    """The folder whose tokenizer is used: the adapter's if it holds one (trainers save it there), else the base's."""
    return adapter.path if adapter.has_tokenizer else base.path


def _merge(adapter: AdapterFolder, base: ModelFolder, folder: Path, permissions: Permissions) -> None:
    what = f"merging {adapter.path} into {base.title}, once"
    files = model_files(base.path, remote_code=permissions.remote_code)
    with activity(Activity.LOADING, what, long=True), building(folder) as scratch, quiet():
        model = read_model(base, files, permissions)
        expected_tied = is_tied(model) and not adapter.unties(*model.get_output_embeddings().weight.shape)
        model = merge(model, adapter)
        if is_tied(model) != expected_tied:
            raise adapter.error("it unties readout and embedding, which its weights file doesn't show")
        try:
            save_plain(model, scratch)
        except ValueError as error:
            raise adapter.error(str(error)) from None
        copy_other_files(_tokenizer(adapter, base), scratch)


def _title(adapter: AdapterFolder, base: str) -> str:
    return f"{adapter.path.resolve().name} merged into {base}"
