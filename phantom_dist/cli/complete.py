"""Shell completion. Nothing here imports torch, because the shell waits for the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Complete one of some fixed values."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Complete a model reference: the zoo's models and folders; after `peft:`, folders."""
    if incomplete.startswith("peft:"):
        return [f"peft:{name}" for name in folders(incomplete.removeprefix("peft:"))]
    weights = resources.files("phantom_dist").joinpath("models", "zoo", "weights")
    zoo = sorted(f"zoo:{entry.name}" for entry in weights.iterdir() if entry.is_dir())
    return [*(name for name in zoo if name.startswith(incomplete)), *folders(incomplete)]


def yaml_files(incomplete: str) -> list[str]:
    """Complete a YAML file, or a folder on the way to it."""
    return [*_entries(incomplete, lambda path: path.suffix in (".yaml", ".yml")), *folders(incomplete)]


def folders(incomplete: str) -> list[str]:
    """Complete a folder; the trailing slash lets the user continue below it."""
    return [f"{name}/" for name in _entries(incomplete, Path.is_dir)]


def _entries(incomplete: str, wanted: Callable[[Path], bool]) -> Iterator[str]:
    """Paths that begin with `incomplete` and that `wanted` accepts; hidden ones only after a typed dot."""
    typed, slash, prefix = incomplete.rpartition("/")
    folder = Path(typed + slash)
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(prefix) and (prefix or path.name[0] != ".") and wanted(path):
            yield f"{typed}{slash}{path.name}"
