"""Models that already lie in a local folder; the folder is used as it is, nothing is copied."""

from __future__ import annotations

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
from phantom_dist.models.pickled import converted, without_pickle


@final
class LocalFolder(ModelAdapter):
    """A folder with config.json, weights and a tokenizer."""

    form: ClassVar[str] = "./folder"

    def claims(self, reference: str) -> bool:
        """True for everything that exists here and for everything that can only be a path."""
        return reference.startswith((".", "/", "~")) or (reference != "" and Path(reference).exists())

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The folder itself, checked."""
        folder = _existing(reference)
        return usable(folder, reference, folder.resolve().name, permissions)

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """From the folder."""
        return describe_local(_existing(reference), reference, permissions)


def usable(
    folder: Path, reference: str, title: str, permissions: Permissions, *, beside: bool = False
) -> ModelFolder:
    """A checked folder with safetensors: this one, or its conversion where pickled weights are allowed.

    `beside`: an adapter may lie beside the weights; they are meant without it.

    Raises:
        InputError: the folder can't be used.
    """
    _check(folder, reference, permissions, beside)
    if not has_safetensors(folder):
        folder = without_pickle(folder, reference, permissions)
    check_folder(folder, reference, permissions)
    return ModelFolder(reference=reference, path=folder, title=title)


def describe_local(
    folder: Path, reference: str, permissions: Permissions, *, beside: bool = False
) -> ModelMetadata:
    """Describe a folder; where its weights are pickled and not yet converted, from its config.json alone.

    Raises:
        InputError: the folder can't be used.
    """
    _check(folder, reference, permissions, beside)
    title = folder.resolve().name
    plain = folder if has_safetensors(folder) else converted(folder, permissions)
    if has_safetensors(plain):
        return describe_folder(plain, reference, title, permissions)
    return describe_config(read_config(folder, reference, permissions), reference, title, (), permissions)


def _check(folder: Path, reference: str, permissions: Permissions, beside: bool) -> None:
    if not beside:
        refuse_adapter(folder, reference, {file.name for file in folder.iterdir()})
    read_config(folder, reference, permissions)
    check_tokenizer(folder, reference)
    _check_weights(folder, reference, permissions)


def _existing(reference: str) -> Path:
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        kind = (
            "a file, not a folder (a GGUF file is written gguf:PATH)" if folder.exists() else "no such folder"
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
        hint = f"; its GGUF file is written gguf:{folder / gguf.name}" if gguf else ""
        others = sorted(file.name for file in folder.glob("*.safetensors"))
        found = f"no {WHOLE} and no {INDEX}, but {', '.join(others[:3])}" if others else "no *.safetensors"
        raise InputError(f"model {reference!r} holds no weights: {folder} has {found}{hint}")


def refuse_pickled(reference: str, files: list[str]) -> None:
    """Refuse a model for its pickled weights, if there are any.

    Raises:
        InputError: there are.
    """
    if files:
        raise InputError(
            f"model {reference!r} holds only pickled weights ({', '.join(files)}), which may run code when they are "
            "read; convert them to safetensors, or allow them with allow_pickle"
        )
