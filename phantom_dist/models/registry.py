"""Which adapter a reference belongs to."""

from __future__ import annotations

import functools

from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.builtin import BuiltIn
from phantom_dist.models.gguf import Gguf
from phantom_dist.models.hub import Hub
from phantom_dist.models.local import LocalFolder
from phantom_dist.models.merged import Merged


def resolve(reference: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> ModelFolder:
    """The local folder of a model, fetched or converted if need be.

    Raises:
        InputError: no such model, or one that can't be used here; the message says what to do.
    """
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    return adapter_for(reference).resolve(reference, permissions)


def describe(reference: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> ModelMetadata:
    """Facts about a model, without its weights; `verified` is False where it can't be reached.

    Raises:
        InputError: no such model, or nothing is known about it.
    """
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    return adapter_for(reference).describe(reference, permissions)


@functools.cache
def _of_another_package(plugin: plugins.Plugin) -> ModelAdapter:
    adapter: ModelAdapter = plugin.load(ModelAdapter)()
    return adapter


def adapter_for(reference: str) -> ModelAdapter:
    """The adapter that a reference belongs to.

    Raises:
        InputError: the reference has none of the known forms, or a plug-in that claims it can't be loaded.
    """
    for adapter in ADAPTERS:
        if adapter.claims(reference):
            return adapter
    scheme, colon, _ = reference.partition(":")
    if colon:
        added = [plugin.name for plugin in plugins.installed(plugins.ADAPTERS)]
        if scheme in added:
            return _of_another_package(plugins.named(plugins.ADAPTERS, scheme))
        raise InputError(
            f"model {reference!r}: unknown kind {scheme + ':'!r}."
            + did_you_mean(scheme, ("zoo", "gguf", "peft", *added))
        )
    raise InputError(
        f"model {reference!r}: not a model reference; allowed: {', '.join(a.form for a in ADAPTERS)}"
    )


ADAPTERS: tuple[ModelAdapter, ...] = (BuiltIn(), Gguf(), Merged(adapter_for), LocalFolder(), Hub())
"""In the order in which they are asked: an existing folder goes before a hub name of the same spelling."""
