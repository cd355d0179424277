"""`mylab:NAME`: the zoo's GPT-2 models with a gain of ones, as folders in a cache of their own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from mylab.architecture import GainedConfig
from phantom_dist.core.errors import InputError
from phantom_dist.models import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.metadata import describe_config
from phantom_dist.models.registry import resolve

NAMES = ("gpt2-a", "gpt2-b")


class Gained(ModelAdapter):
    """One of the zoo's GPT-2 models, gained."""

    form: ClassVar[str] = "mylab:NAME"

    def claims(self, reference: str) -> bool:
        return reference.startswith("mylab:")

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        name = _name(reference)
        folder = Path(os.environ["MYLAB_CACHE"]) / name
        if not folder.exists():
            _make(name, folder)
        return ModelFolder(reference=reference, path=folder, title=f"{name} (gained)")

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        folder = self.resolve(reference, permissions)
        return describe_config(AutoConfig.from_pretrained(folder.path), reference, folder.title)


def _name(reference: str) -> str:
    name = reference.removeprefix("mylab:")
    if name not in NAMES:
        raise InputError(f"model {reference!r}: mylab has no such model. Allowed: {', '.join(NAMES)}.")
    return name


def _make(name: str, folder: Path) -> None:
    """Written under another name first: two workers may need it at the same time."""
    source, unfinished = resolve(f"zoo:{name}").path, folder.with_suffix(f".{os.getpid()}")
    shutil.copytree(source, unfinished)
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": GainedConfig.model_type, "architectures": ["GainedLMHeadModel"]}
    (unfinished / "config.json").write_text(json.dumps(config))
    tensors = load_file(source / "model.safetensors")
    tensors["transformer.drop.gain"] = tensors["transformer.wpe.weight"].new_ones(config["n_embd"])
    save_file(tensors, unfinished / "model.safetensors", metadata={"format": "pt"})
    try:
        unfinished.rename(folder)
    except OSError:  # the other one was first
        shutil.rmtree(unfinished)
