"""Metadata of models that were described before, kept in the cache until one of their files changes.

Describing a model takes torch and transformers, which take seconds to import; a kept description takes neither.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phantom_dist.core.whole_file import write_whole
from phantom_dist.models.adapter import ModelMetadata
from phantom_dist.models.cache import cache_folder, fingerprint

FORM = 1
"""Raise this number when the same files are described otherwise."""

MOST = 500
"""Descriptions that are kept; beyond them the oldest go."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A description, and the folder of the model, in which nothing is left to fetch or convert."""

    metadata: ModelMetadata
    folder: Path


def read(reference: str) -> Kept | None:
    """What is kept of a model; None if that is nothing, or if one of its files has changed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(_entry(reference).read_text(encoding="utf-8"))
        files = [Path(file) for file in entry["files"]]
        if entry["state"] == _state(files):
            return Kept(metadata=ModelMetadata(**entry["metadata"]), folder=Path(entry["folder"]))
    return None


def keep(metadata: ModelMetadata, folder: Path, sources: Sequence[Path]) -> None:
    """Keep a description; without a writable cache it is just made again.

    Args:
        metadata: without counted tokens.
        folder: the model's.
        sources: the files, and folders of files, that the description follows from.
    """
    files = [*sources, *(file for source in sources if source.is_dir() for file in source.iterdir())]
    with suppress(OSError):
        described = dataclasses.asdict(metadata)
        del described["tokens"]
        entry = {
            "files": [str(file) for file in files],
            "state": _state(files),
            "folder": str(folder),
            "metadata": described,
        }
        path = _entry(metadata.reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(entry).encode())
        entries = sorted(path.parent.glob("*.json"), key=lambda kept: kept.stat().st_mtime)
        for oldest in entries[:-MOST]:
            oldest.unlink(missing_ok=True)


def _entry(reference: str) -> Path:
    # A relative path means another folder elsewhere.
    key = hashlib.sha256(repr((reference, str(Path.cwd()))).encode()).hexdigest()
    return cache_folder() / "metadata" / f"{key}.json"


def _state(files: Sequence[Path]) -> list[Any]:
    """Equal as long as the same files are described the same way."""
    return [FORM, version("transformers"), [list(values) for values in fingerprint(files)]]
