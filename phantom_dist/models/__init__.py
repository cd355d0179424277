"""Model adapters: a reference (`zoo:NAME`, `gguf:FILE`, `peft:FOLDER`, a folder, a hub name) becomes a model.

`resolve` finds or makes the local folder, `describe` says what it is without its weights, `load` makes it ready to be
trained.

| file | what it does |
|---|---|
| `adapter`, `registry` | the interface of adapters; which of them a reference belongs to |
| `builtin`, `hub`, `local`, `gguf`, `merged` | the adapters |
| `packaged` | GGUF files inside packages that one can install |
| `adapter_folder`, `merging` | an adapter as peft saves it, checked and merged into its base |
| `pickled`, `convert` | weights in other forms become safetensors in the cache |
| `cache`, `staging` | what is kept between runs; a folder with a model's own files and nothing else |
| `folder`, `metadata` | what a folder must hold; facts that need no weights |
| `load`, `weights`, `tokenizer`, `ties` | from a folder to a model that can be trained |
| `identity` | the digest of a model |
| `device` | the device that a setting names |
| `last_logits` | logits at the last position of one prompt |
| `forward_state`, `module_state` | what a forward pass leaves in a model or a module, and the way back |
| `quiet` | transformers without output on stdout |
| `zoo/` | the built-in models |
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
