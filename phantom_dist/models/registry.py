"""The model adapters, and the choice of one for a reference."""

from __future__ import annotations

import functools

from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, Permissions
from phantom_dist.models.builtin import BuiltIn
from phantom_dist.models.gguf import Gguf
from phantom_dist.models.hub import Hub
from phantom_dist.models.local import LocalFolder
from phantom_dist.models.merged import Merged


def resolve(reference: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> ModelFolder:
    """The local folder of a model; fetches or converts the model if necessary.

    Raises:
        InputError: the model doesn't exist or can't be used here; the message says what to do.
    """
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    return adapter_for(reference).resolve(reference, permissions)


@functools.cache
def _plugin_adapter(plugin: plugins.Plugin) -> ModelAdapter:
    adapter: ModelAdapter = plugin.load(ModelAdapter)()
    return adapter


def adapter_for(reference: str) -> ModelAdapter:
    """The adapter for a reference.

    Raises:
        InputError: the reference has no known form, or the plug-in for it can't be loaded.
    """
    for adapter in ADAPTERS:
        if adapter.claims(reference):
            return adapter
    scheme, colon, _ = reference.partition(":")
    if colon:
        plugin_schemes = [plugin.name for plugin in plugins.installed(plugins.ADAPTERS)]
        if scheme in plugin_schemes:
            return _plugin_adapter(plugins.named(plugins.ADAPTERS, scheme))
        raise InputError(
            f"model {reference!r}: unknown kind {scheme + ':'!r}."
            + did_you_mean(scheme, ("zoo", "gguf", "peft", *plugin_schemes))
        )
    raise InputError(
        f"model {reference!r}: not a model reference; allowed: {', '.join(a.form for a in ADAPTERS)}"
    )


ADAPTERS: tuple[ModelAdapter, ...] = (BuiltIn(), Gguf(), Merged(adapter_for), LocalFolder(), Hub())
"""The first adapter that claims a reference wins, so an existing folder takes precedence over a hub name."""
