"""The adapter of GGUF files: it dequantises a file to float32 once and keeps it as safetensors in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, final

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.cache import building, cache_folder, file_sha256
from phantom_dist.models.convert import save_plain
from phantom_dist.models.folder import check_folder, first_line
from phantom_dist.models.metadata import describe_config, describe_folder, describe_recorded
from phantom_dist.models.packaged import PACKAGED, NotInstalledError, packaged_file
from phantom_dist.models.quiet import quiet
from phantom_dist.models.staging import staged

PREFIX = "gguf:"
CONVERSION = 2
"""Raise this number when the conversion of the same file gives a different model. Since 2, neighbouring files don't
affect the conversion."""


@final
class Gguf(ModelAdapter):
    """A GGUF file, by its path or by the name of one that comes in a package."""

    form: ClassVar[str] = "gguf:PATH.gguf or gguf:NAME"

    def claims(self, reference: str) -> bool:
        """Whether the reference starts with gguf:"""
        return reference.startswith(PREFIX)

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The dequantised model in the cache, made now if it isn't there (half a minute for 135 M parameters)."""
        file = _file(reference)
        folder = _cached_folder(file)
        if not folder.is_dir():
            _dequantise(file, folder)
        check_folder(folder, reference, permissions)
        return ModelFolder(reference=reference, path=folder, title=_title(reference))

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """Metadata of the cached conversion or the GGUF header; recorded metadata where the package isn't installed."""
        try:
            file = _file(reference)
        except NotInstalledError as error:
            return _recorded(reference, error)
        folder = _cached_folder(file)
        if folder.is_dir():
            return describe_folder(folder, reference, _title(reference), permissions)
        return describe_config(_config(file), reference, _title(reference))

    def folder(self, reference: str, permissions: Permissions) -> Path | None:
        """The dequantised model, if it is in the cache."""
        try:
            folder = _cached_folder(_file(reference))
        except NotInstalledError:
            return None
        return folder if folder.is_dir() else None

    def sources(self, reference: str) -> Sequence[Path] | None:
        """The file, and the dequantised model."""
        folder = self.folder(reference, Permissions())
        return None if folder is None else [_file(reference), folder]


def _cached_folder(file: Path) -> Path:
    """The cache folder of the conversion; its key covers the file's bytes and the version of transformers."""
    reader = f"{CONVERSION}-transformers-{transformers.__version__}"
    return cache_folder() / "gguf" / reader / file_sha256(file)


def _file(reference: str) -> Path:
    name = reference.removeprefix(PREFIX)
    if not name.endswith(".gguf"):
        return packaged_file(name)
    file = Path(name).expanduser()
    if not file.is_file():
        raise InputError(f"model {reference!r}: no such file: {file} (relative paths start at {Path.cwd()})")
    return file


def _recorded(reference: str, missing: NotInstalledError) -> ModelMetadata:
    packaged = PACKAGED[reference.removeprefix(PREFIX)]
    metadata = describe_recorded(reference, packaged.hub_name, str(missing))
    if metadata is None:
        raise missing
    return replace(metadata, reference=reference, title=packaged.title)


def _config(file: Path) -> PretrainedConfig:
    try:
        with quiet(), staged([file]) as folder:
            return AutoConfig.from_pretrained(folder, gguf_file=file.name, local_files_only=True)
    except InputError:
        raise
    except Exception as error:
        raise _unusable(file, error) from None


def _dequantise(file: Path, folder: Path) -> None:
    what = f"dequantising {file.name}, once; it may take a minute"
    with (
        activity(Activity.LOADING, what, long=True),
        building(folder) as scratch,
        quiet(),
        staged([file]) as source_folder,
    ):
        try:
            source = {"gguf_file": file.name, "local_files_only": True}
            model, loading_info = AutoModelForCausalLM.from_pretrained(
                source_folder, dtype=torch.float32, output_loading_info=True, **source
            )
            tokenizer = AutoTokenizer.from_pretrained(source_folder, **source)
        except (
            Exception
        ) as error:  # on damaged files the reader raises exceptions without a common base class
            raise _unusable(file, error) from None
        missing = sorted(loading_info["missing_keys"])
        if missing:
            raise _unusable(file, ValueError(f"no tensor for {', '.join(missing[:3])}"))
        save_plain(model, scratch)
        tokenizer.save_pretrained(scratch)


def _unusable(file: Path, error: Exception) -> InputError:
    return InputError(
        f"{file}: damaged, or no GGUF file of a causal language model that transformers can read: {first_line(error)}"
    )


def _title(reference: str) -> str:
    name = reference.removeprefix(PREFIX)
    return PACKAGED[name].title if name in PACKAGED else f"{Path(name).stem} (dequantised from GGUF)"
