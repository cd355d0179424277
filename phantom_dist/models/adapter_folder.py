"""What an adapter folder must hold, and what its adapter_config.json says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.convert import rest_of
from phantom_dist.models.folder import ADAPTER_CONFIG, check_tokenizer
from phantom_dist.models.identity import read_json, tensors

PREFIX = "peft:"
WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json", "added_tokens.json")
PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE")
"""Methods that learn a prompt: nothing that could be merged into a weight."""


@dataclass(frozen=True)
class AdapterFolder:
    """A folder as peft saves it: adapter_config.json and the adapter's weights; often the tokenizer too."""

    reference: str
    path: Path
    base: str
    """The reference of the model that it belongs to."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """adapter_config.json."""
        return read_json(self.path / ADAPTER_CONFIG)

    @property
    def weights(self) -> Path:
        """The adapter's weights, as safetensors where there are any."""
        plain = self.path / WEIGHTS
        return plain if plain.is_file() else self.path / PICKLED

    @property
    def files(self) -> list[Path]:
        """What makes the adapter."""
        return [self.path / ADAPTER_CONFIG, self.weights]

    @property
    def kind(self) -> str:
        """peft's name of the method, e.g. LORA."""
        return str(self.settings.get("peft_type"))

    @property
    def is_its_own_base(self) -> bool:
        """True if the base's weights lie in this very folder."""
        return Path(self.base).is_dir() and Path(self.base).resolve() == self.path.resolve()

    @property
    def has_tokenizer(self) -> bool:
        """True if a tokenizer was saved beside the adapter."""
        return any(file.match(pattern) for file in rest_of(self.path) for pattern in TOKENIZER)

    def unties(self, vocabulary_size: int, width: int) -> bool:
        """True if it holds a readout or an embedding of its own (V x d) for a model in which both are one."""
        trained = self.settings.get("modules_to_save") or []
        if self.settings.get("ensure_weight_tying") or self.weights.name != WEIGHTS:
            return False
        whole = [t.name for t in tensors(self.weights) if t.shape == (vocabulary_size, width)]
        return any(
            name.removesuffix(".weight").endswith(f".{module}") for name in whole for module in trained
        )

    def refused(self, why: str) -> InputError:
        """The error of an adapter that can't be merged rightly."""
        return InputError(f"model {self.reference!r}: this adapter ({self.kind}) can't be merged: {why}")

    def without_base(self, error: InputError) -> InputError:
        """The error of an adapter whose base can't be had."""
        return InputError(f"{self.path / ADAPTER_CONFIG}: base_model_name_or_path: {error}")


def open_adapter(reference: str, permissions: Permissions) -> AdapterFolder:
    """The adapter that a reference names, checked as far as its configuration goes.

    Raises:
        InputError: no such folder, no adapter, or one that can't be merged.
    """
    path = Path(reference.removeprefix(PREFIX)).expanduser()
    if not path.is_dir():
        raise InputError(
            f"model {reference!r}: no such folder: {path} (relative paths start at {Path.cwd()})"
        )
    if not (path / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"model {reference!r}: {path} holds no {ADAPTER_CONFIG}; a model's folder is written {path}"
        )
    adapter = AdapterFolder(reference, path, _base(path))
    _check_kind(adapter)
    _check_files(adapter, permissions)
    _check_revision(adapter)
    _check_circle(adapter)
    return adapter


def _base(path: Path) -> str:
    """The base as a reference: a path is looked up from here and from the adapter's folder."""
    file = path / ADAPTER_CONFIG
    name = read_json(file).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{file}: base_model_name_or_path: names no model that the adapter belongs to; write it there"
        )
    places = {place.resolve() for place in (Path(name).expanduser(), path / name) if place.is_dir()}
    if len(places) > 1:
        first, second = sorted(map(str, places))
        raise InputError(
            f"{file}: base_model_name_or_path: {name!r} may be {first} or {second}; write an absolute path"
        )
    return str(places.pop()) if places else name


def _check_kind(adapter: AdapterFolder) -> None:
    task = adapter.settings.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise adapter.refused(f"it was trained for another task ({task}), not for CAUSAL_LM")
    if adapter.kind in PROMPTS:
        raise adapter.refused("it is a learned prompt, which changes no weight of the model")


def _check_files(adapter: AdapterFolder, permissions: Permissions) -> None:
    if not adapter.weights.is_file():
        raise InputError(f"model {adapter.reference!r}: {adapter.path} holds no {WEIGHTS}")
    if adapter.weights.name == PICKLED and not permissions.pickle:
        raise InputError(
            f"model {adapter.reference!r}: its adapter is pickled ({PICKLED}), which may run code when it is read; "
            "save it again as safetensors, or allow it with allow_pickle"
        )
    if adapter.weights.name == WEIGHTS:
        for _ in tensors(adapter.weights):
            pass
    if adapter.has_tokenizer:
        check_tokenizer(adapter.path, adapter.reference)


def _check_revision(adapter: AdapterFolder) -> None:
    revision = adapter.settings.get("revision")
    if revision not in (None, "main") and not Path(adapter.base).is_dir():
        raise InputError(
            f"{adapter.path / ADAPTER_CONFIG}: revision: {revision!r} of {adapter.base!r} can't be asked for; fetch it "
            "into a folder (hf download --revision), name that folder as base_model_name_or_path and leave revision out"
        )


def _check_circle(adapter: AdapterFolder) -> None:
    seen, base = {adapter.path.resolve()}, adapter.base
    while base.startswith(PREFIX):
        path = Path(base.removeprefix(PREFIX)).expanduser().resolve()
        if path in seen:
            raise InputError(
                f"{adapter.path / ADAPTER_CONFIG}: base_model_name_or_path: goes round in a circle by {base!r}"
            )
        if not (path / ADAPTER_CONFIG).is_file():
            return
        seen.add(path)
        base = _base(path)
