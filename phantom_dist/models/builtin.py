"""The zoo that ships inside the package, as an adapter: `zoo:NAME`."""

from __future__ import annotations

from typing import ClassVar

from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.models import zoo
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.folder import read_config
from phantom_dist.models.local import usable
from phantom_dist.models.metadata import describe_config

PREFIX = "zoo:"


class BuiltIn(ModelAdapter):
    """One of the tiny pretrained models of the zoo."""

    form: ClassVar[str] = "zoo:NAME"

    def claims(self, reference: str) -> bool:
        """True for zoo:..."""
        return reference.startswith(PREFIX)

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The model's folder inside the package."""
        name = _name(reference)
        return usable(zoo.folder(name), reference, f"{name} (zoo)", permissions)

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """From the model's config.json."""
        name = _name(reference)
        return describe_config(
            read_config(zoo.folder(name), reference, permissions), reference, f"{name} (zoo)"
        )


def _name(reference: str) -> str:
    name = reference.removeprefix(PREFIX)
    if name not in zoo.names():
        raise InputError(f"model {reference!r}: the zoo has no {name!r}." + did_you_mean(name, zoo.names()))
    return name
