"""The adapter of local model folders, which are used in place without copying."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.folder import (
    check_folder,
    check_tokenizer,
    has_safetensors,
    pickled_weights,
    read_config,
    refuse_adapter,
)
from phantom_dist.models.identity import INDEX, WHOLE
from phantom_dist.models.metadata import describe_config, describe_folder
from phantom_dist.models.pickled import convert_pickled, converted_folder


@final
class LocalFolder(ModelAdapter):
    """A folder with config.json, weights and a tokenizer."""

    form: ClassVar[str] = "./folder"

    def claims(self, reference: str) -> bool:
        """Whether the reference exists as a path, or can only be a path."""
        return reference.startswith((".", "/", "~")) or (reference != "" and Path(reference).exists())

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The folder itself, checked."""
        folder = _existing(reference)
        return checked_folder(folder, reference, folder.resolve().name, permissions)

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """Metadata of the folder."""
        return describe_local(_existing(reference), reference, permissions)

    def folder(self, reference: str, permissions: Permissions) -> Path | None:
        """The folder."""
        return _existing(reference)

    def sources(self, reference: str) -> Sequence[Path]:
        """The folder."""
        return [_existing(reference)]


def checked_folder(
    folder: Path, reference: str, title: str, permissions: Permissions, *, ignore_adapter: bool = False
) -> ModelFolder:
    """Check a folder; return it, or its conversion to safetensors where pickled weights are allowed.

    `ignore_adapter`: an adapter may lie beside the weights; it is ignored.

    Raises:
        InputError: the folder can't be used.
    """
    _check(folder, reference, permissions, ignore_adapter)
    if not has_safetensors(folder):
        folder = convert_pickled(folder, reference, permissions)
    check_folder(folder, reference, permissions)
    return ModelFolder(reference=reference, path=folder, title=title)


def describe_local(
    folder: Path, reference: str, permissions: Permissions, *, ignore_adapter: bool = False
) -> ModelMetadata:
    """Metadata of a folder; from config.json alone where its weights are pickled and not yet converted.

    Raises:
        InputError: the folder can't be used.
    """
    _check(folder, reference, permissions, ignore_adapter)
    title = folder.resolve().name
    plain = folder if has_safetensors(folder) else converted_folder(folder, permissions)
    if has_safetensors(plain):
        return describe_folder(plain, reference, title, permissions)
    return describe_config(read_config(folder, reference, permissions), reference, title, (), permissions)


def _check(folder: Path, reference: str, permissions: Permissions, ignore_adapter: bool) -> None:
    if not ignore_adapter:
        refuse_adapter(folder, reference, {file.name for file in folder.iterdir()})
    read_config(folder, reference, permissions)
    check_tokenizer(folder, reference)
    _check_weights(folder, reference, permissions)


def _existing(reference: str) -> Path:
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        kind = (
            "a file, not a folder (for a GGUF file, write gguf:PATH)" if folder.exists() else "no such folder"
        )
        raise InputError(f"model {reference!r}: {kind}")
    return folder


def _check_weights(folder: Path, reference: str, permissions: Permissions) -> None:
    if has_safetensors(folder):
        return
    pickled = pickled_weights(folder)
    if not permissions.pickle:
        refuse_pickled(reference, [f.name for f in pickled])
    if not pickled:
        gguf = next(folder.glob("*.gguf"), None)
        hint = f"; for its GGUF file, write gguf:{folder / gguf.name}" if gguf else ""
        others = sorted(file.name for file in folder.glob("*.safetensors"))
        has = f"no {WHOLE} and no {INDEX}, but {', '.join(others[:3])}" if others else "no *.safetensors"
        raise InputError(f"model {reference!r} holds no weights: {folder} has {has}{hint}")


def refuse_pickled(reference: str, files: list[str]) -> None:
    """Refuse a model that has only pickled weights.

    Raises:
        InputError: `files` names some.
    """
    if files:
        raise InputError(
            f"model {reference!r} holds only pickled weights ({', '.join(files)}), which may run code when "
            "loaded; convert them to safetensors, or allow them with allow_pickle"
        )
