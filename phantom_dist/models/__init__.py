"""Model adapters: a reference (`zoo:NAME`, `gguf:FILE`, `peft:FOLDER`, a folder, a hub name) becomes a model.

`resolve` finds or makes the local folder, `describe` says what it is without its weights, `load` makes it ready to be
trained.
"""

from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.models.registry import describe, resolve

__all__ = [
    "LoadedModel",
    "ModelAdapter",
    "ModelFolder",
    "ModelMetadata",
    "Permissions",
    "describe",
    "load",
    "resolve",
]
