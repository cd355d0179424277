"""An adapter and the model it belongs to, merged: `peft:PATH`.

The base is what the adapter's own adapter_config.json names. peft merges both as float32, once; the result lies in the
cache as a plain folder, so what is trained and hashed is the merged model.
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
from phantom_dist.models.convert import copy_rest, rest_of, save_plain
from phantom_dist.models.folder import check_folder
from phantom_dist.models.identity import code_files, model_files, weights_digest
from phantom_dist.models.local import describe_local, usable
from phantom_dist.models.merging import is_tied, merge
from phantom_dist.models.quiet import quiet
from phantom_dist.models.weights import read_model

CONVERSION = 1
"""Raised where merging the same files gives another model."""


@final
@dataclass(frozen=True)
class Merged(ModelAdapter):
    """An adapter folder as peft saves it; `adapter_for` finds the adapter of a base's reference."""

    adapter_for: Callable[[str], ModelAdapter]
    form: ClassVar[str] = "peft:ADAPTER_FOLDER"

    def claims(self, reference: str) -> bool:
        """True for peft:..."""
        return reference.startswith(PREFIX)

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The merged model in the cache; merged now if it isn't there."""
        adapter = open_adapter(reference, permissions)
        base = self._resolve_base(adapter, permissions)
        folder = _place(adapter, base)
        if not folder.is_dir():
            _make(adapter, base, folder, permissions)
        check_folder(folder, reference, permissions)
        return ModelFolder(reference=reference, path=folder, title=_title(adapter, base.title))

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """From the base's description; the adapter's header says whether it takes tied matrices apart."""
        adapter = open_adapter(reference, permissions)
        facts = self._describe_base(adapter, permissions)
        if facts.tied and adapter.unties(facts.vocabulary_size, facts.width):
            parameters = facts.parameters + facts.vocabulary_size * facts.width
            facts = replace(facts, tied=False, parameters=parameters)
        return replace(facts, reference=reference, title=_title(adapter, facts.title))

    def _resolve_base(self, adapter: AdapterFolder, permissions: Permissions) -> ModelFolder:
        try:
            if adapter.is_its_own_base:
                return usable(
                    adapter.path, adapter.base, adapter.path.resolve().name, permissions, beside=True
                )
            base = self.adapter_for(adapter.base).resolve(adapter.base, permissions)
        except InputError as error:
            raise adapter.without_base(error) from None
        if permissions.remote_code and code_files(base.path):
            raise adapter.refused(
                f"its base {adapter.base!r} needs Python code of its own; merge it where it was made"
            )
        return base

    def _describe_base(self, adapter: AdapterFolder, permissions: Permissions) -> ModelMetadata:
        try:
            if adapter.is_its_own_base:
                return describe_local(adapter.path, adapter.base, permissions, beside=True)
            return self.adapter_for(adapter.base).describe(adapter.base, permissions)
        except InputError as error:
            raise adapter.without_base(error) from None


def _place(adapter: AdapterFolder, base: ModelFolder) -> Path:
    """Where the merged model lies; the key covers both, the tokenizer and whoever merges."""
    versions: tuple[Any, ...] = (CONVERSION, transformers.__version__, peft.__version__, torch.__version__)
    key = content_key(
        (*versions, weights_digest(base.path)), [*adapter.files, *rest_of(_tokenizer(adapter, base))]
    )
    return cache_folder() / "peft" / key


def _tokenizer(adapter: AdapterFolder, base: ModelFolder) -> Path:
    """The folder whose tokenizer is used: the adapter's if it was saved beside it, as trainers do."""
    return adapter.path if adapter.has_tokenizer else base.path


def _make(adapter: AdapterFolder, base: ModelFolder, folder: Path, permissions: Permissions) -> None:
    what = f"merging {adapter.path} into {base.title}, once"
    files = model_files(base.path, remote_code=permissions.remote_code)
    with activity(Activity.LOADING, what, long=True), building(folder) as scratch, quiet():
        model = read_model(base, files, permissions)
        foreseen = is_tied(model) and not adapter.unties(*model.get_output_embeddings().weight.shape)
        model = merge(model, adapter)
        if is_tied(model) != foreseen:
            raise adapter.refused("it takes readout and embedding apart, and its file doesn't say so")
        try:
            save_plain(model, scratch)
        except ValueError as error:
            raise adapter.refused(str(error)) from None
        copy_rest(_tokenizer(adapter, base), scratch)


def _title(adapter: AdapterFolder, base: str) -> str:
    return f"{adapter.path.resolve().name} merged into {base}"
