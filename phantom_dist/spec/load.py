"""Read a sweep from a file, a mapping or a `SweepSpec`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phantom_dist.spec.recipes import recipe_named, recipe_names
from phantom_dist.spec.sweep import SweepSpec
from phantom_dist.spec.yaml_lines import Document, check, read, read_text


def load(sweep: str | Path | Mapping[str, Any] | SweepSpec) -> SweepSpec:
    """Read a sweep file or a mapping of the same form; a `SweepSpec` is returned unchanged.

    The path of a contexts file is relative to the sweep file; for a mapping, to the working directory.

    Raises:
        InputError: one message with a line for every problem: file and line (or `sweep`), key, value and what is
            allowed.
    """
    if isinstance(sweep, SweepSpec):
        return sweep
    if isinstance(sweep, Mapping):
        return check(SweepSpec, _with_recipe(Document(data=dict(sweep), source="sweep")))
    path = Path(sweep)
    return _check(read(path), folder=path.parent, name=path.stem)


def from_yaml(text: str, *, source: str = "sweep", folder: str | Path | None = None) -> SweepSpec:
    """Read a sweep from YAML text; `source` names it in messages.

    Paths of contexts files are relative to `folder`. None: a stored sweep, which contains its contexts. A stored sweep
    that names a file is refused: it may come from somebody else, and would read a file of this machine.

    Raises:
        InputError: as `load`.
    """
    return _check(
        read_text(text, source=source), folder=None if folder is None else Path(folder), name="sweep"
    )


def _check(document: Document, *, folder: Path | None, name: str) -> SweepSpec:
    if isinstance(document.data, dict):
        fallback = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._") or "sweep"
        document = replace(document, data={"name": fallback} | document.data)
        if folder is not None:  # a stored sweep has all keys of its recipe
            document = _with_recipe(document)
    return check(SweepSpec, document, context={"folder": None if folder is None else str(folder)})


def _with_recipe(document: Document) -> Document:
    """The document with the keys of the recipe that it names, where it has none of its own."""
    name = document.data.get("recipe")
    if not isinstance(name, str) or name not in recipe_names():
        return document  # validation says so
    return replace(document, data=recipe_named(name).under(document.data))
