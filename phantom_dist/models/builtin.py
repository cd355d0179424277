"""The adapter of the built-in models, the zoo: `zoo:NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

from phantom_dist.models import zoo
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.local import checked_folder
from phantom_dist.models.metadata import describe_folder

PREFIX = "zoo:"


@final
class BuiltIn(ModelAdapter):
    """The tiny pretrained models that ship with the package."""

    form: ClassVar[str] = "zoo:NAME"

    def claims(self, reference: str) -> bool:
        """Whether the reference starts with zoo:"""
        return reference.startswith(PREFIX)

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The model's folder inside the package."""
        name = reference.removeprefix(PREFIX)
        return checked_folder(zoo.folder(name), reference, _title(name), permissions)

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """Metadata of the model's folder."""
        name = reference.removeprefix(PREFIX)
        return describe_folder(zoo.folder(name), reference, _title(name), permissions)

    def folder(self, reference: str, permissions: Permissions) -> Path | None:
        """The model's folder inside the package."""
        return zoo.folder(reference.removeprefix(PREFIX))

    def sources(self, reference: str) -> Sequence[Path]:
        """The model's folder."""
        return [zoo.folder(reference.removeprefix(PREFIX))]


def _title(name: str) -> str:
    return f"{name} (zoo)"
