"""A peft adapter folder: its files, its adapter_config.json, and checks of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.convert import other_files
from phantom_dist.models.folder import ADAPTER_CONFIG, check_tokenizer
from phantom_dist.models.identity import read_json, tensors

PREFIX = "peft:"
WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json", "added_tokens.json")
PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE")
"""Methods that learn a prompt, which can't be merged into a weight."""


@dataclass(frozen=True)
class AdapterFolder:
    """A folder as peft saves it: adapter_config.json, the adapter's weights, and often the tokenizer."""

    reference: str
    path: Path
    base: str
    """The reference of its base model."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The contents of adapter_config.json."""
        return read_json(self.path / ADAPTER_CONFIG)

    @property
    def weights(self) -> Path:
        """The file of the adapter's weights; safetensors if it exists, else the pickled one."""
        plain = self.path / WEIGHTS
        return plain if plain.is_file() else self.path / PICKLED

    @property
    def files(self) -> list[Path]:
        """The files that define the adapter."""
        return [self.path / ADAPTER_CONFIG, self.weights]

    @property
    def kind(self) -> str:
        """The method as peft names it (`peft_type`), e.g. LORA."""
        return str(self.settings.get("peft_type"))

    @property
    def is_its_own_base(self) -> bool:
        """Whether this folder also holds the base model's weights."""
        return Path(self.base).is_dir() and Path(self.base).resolve() == self.path.resolve()

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer was saved with the adapter."""
        return any(file.match(pattern) for file in other_files(self.path) for pattern in TOKENIZER)

    def unties(self, vocabulary_size: int, width: int) -> bool:
        """Whether the adapter stores its own readout or embedding (V x d), which unties both in a tied base model."""
        trained = self.settings.get("modules_to_save") or []
        if self.settings.get("ensure_weight_tying") or self.weights.name != WEIGHTS:
            return False
        whole = [t.name for t in tensors(self.weights) if t.shape == (vocabulary_size, width)]
        return any(
            name.removesuffix(".weight").endswith(f".{module}") for name in whole for module in trained
        )

    def error(self, why: str) -> InputError:
        """The error for an adapter that can't be merged correctly."""
        return InputError(f"model {self.reference!r}: this adapter ({self.kind}) can't be merged: {why}")

    def base_error(self, error: InputError) -> InputError:
        """The error for an adapter whose base model can't be loaded."""
        return InputError(f"{self.path / ADAPTER_CONFIG}: base_model_name_or_path: {error}")


def open_adapter(reference: str, permissions: Permissions) -> AdapterFolder:
    """Open the adapter folder of a reference and check its configuration and files.

    Raises:
        InputError: the folder doesn't exist, holds no adapter, or holds one that can't be merged.
    """
    path = Path(reference.removeprefix(PREFIX)).expanduser()
    if not path.is_dir():
        raise InputError(
            f"model {reference!r}: no such folder: {path} (relative paths start at {Path.cwd()})"
        )
    if not (path / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"model {reference!r}: {path} holds no {ADAPTER_CONFIG}; for a model's folder, write {path} without peft:"
        )
    adapter = AdapterFolder(reference, path, _base(path))
    _check_kind(adapter)
    _check_files(adapter, permissions)
    _check_revision(adapter)
    _check_circle(adapter)
    return adapter


def _base(path: Path) -> str:
    """The base model as a reference; a relative path may start at the working directory or at the adapter's folder."""
    file = path / ADAPTER_CONFIG
    name = read_json(file).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{file}: base_model_name_or_path: names no base model; write the model that the adapter belongs to"
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
        raise adapter.error(f"it was trained for another task ({task}), not for CAUSAL_LM")
    if adapter.kind in PROMPTS:
        raise adapter.error("it is a learned prompt, which changes no weight of the model")


def _check_files(adapter: AdapterFolder, permissions: Permissions) -> None:
    if not adapter.weights.is_file():
        raise InputError(f"model {adapter.reference!r}: {adapter.path} holds no {WEIGHTS}")
    if adapter.weights.name == PICKLED and not permissions.pickle:
        raise InputError(
            f"model {adapter.reference!r}: its adapter is pickled ({PICKLED}), which may run code when loaded; "
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
            f"{adapter.path / ADAPTER_CONFIG}: revision: {revision!r} of {adapter.base!r} can't be selected; fetch it "
            "into a folder (hf download --revision), name that folder as base_model_name_or_path and leave revision out"
        )


def _check_circle(adapter: AdapterFolder) -> None:
    seen, base = {adapter.path.resolve()}, adapter.base
    while base.startswith(PREFIX):
        path = Path(base.removeprefix(PREFIX)).expanduser().resolve()
        if path in seen:
            raise InputError(
                f"{adapter.path / ADAPTER_CONFIG}: base_model_name_or_path: {base!r} refers back to this adapter"
            )
        if not (path / ADAPTER_CONFIG).is_file():
            return
        seen.add(path)
        base = _base(path)
