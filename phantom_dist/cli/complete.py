"""What the shell offers at a press of the tab key, which must not wait for torch: nothing here imports it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Fixed values."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """The zoo's models by reference, and folders; after peft: folders of adapters."""
    if incomplete.startswith("peft:"):
        return [f"peft:{name}" for name in folders(incomplete.removeprefix("peft:"))]
    weights = resources.files("phantom_dist").joinpath("models", "zoo", "weights")
    zoo = sorted(f"zoo:{entry.name}" for entry in weights.iterdir() if entry.is_dir())
    return [*(name for name in zoo if name.startswith(incomplete)), *folders(incomplete)]


def yaml_files(incomplete: str) -> list[str]:
    """YAML files, and the folders on the way to them."""
    return [*_entries(incomplete, lambda path: path.suffix in (".yaml", ".yml")), *folders(incomplete)]


def folders(incomplete: str) -> list[str]:
    """Folders, ready to be gone on from."""
    return [f"{name}/" for name in _entries(incomplete, Path.is_dir)]


def _entries(incomplete: str, wanted: Callable[[Path], bool]) -> Iterator[str]:
    """Names in the folder that was typed so far that begin as its last part does; hidden ones where asked for."""
    typed, slash, begin = incomplete.rpartition("/")
    folder = Path(typed + slash)
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(begin) and (begin or path.name[0] != ".") and wanted(path):
            yield f"{typed}{slash}{path.name}"
