"""Model adapters: a reference (`zoo:NAME`, `gguf:FILE`, `peft:FOLDER`, a folder, a hub name) becomes a model.

`registry.resolve` returns the local folder (fetched or converted if necessary), `description.describe` metadata
without reading the weights, `load.load` returns a model ready for training. What a plan needs of a model that it has
described before does without torch and transformers, which take seconds to import.

| file | what it does |
|---|---|
| `adapter`, `registry` | the adapter interface; choosing the adapter of a reference |
| `builtin`, `hub`, `local`, `gguf`, `merged` | the model adapters |
| `packaged` | GGUF files that come in pip-installable packages |
| `adapter_folder`, `merging` | check a peft adapter folder, merge it into its base model |
| `pickled`, `convert` | convert weights in other formats to safetensors in the cache |
| `cache`, `staging` | the cache between runs; a temporary folder with exactly one model's files |
| `folder`, `metadata` | checks of a model folder; metadata that needs no weights |
| `description`, `kept_metadata` | what a plan needs of a model; such metadata of models that were described before |
| `load`, `weights`, `tokenizer`, `ties` | load a folder as a trainable model |
| `identity` | the digest of a model |
| `device` | the torch device for a setting |
| `size`, `token_counts` | from which a plan predicts time and memory |
| `last_logits` | logits at the last position of one prompt |
| `forward_state`, `module_state` | save and restore the state that forward passes change in a model or a module |
| `quiet` | suppress transformers' output on stdout |
| `zoo/` | the built-in models |
"""

from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions

__all__ = [
    "ModelAdapter",
    "ModelFolder",
    "ModelMetadata",
    "Permissions",
]
