"""One way in: a sweep file, a mapping from a notebook, or a spec that is one already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phantom_dist.spec.sweep import SweepSpec
from phantom_dist.spec.yaml_lines import Document, check, read, read_text


def load(sweep: str | Path | Mapping[str, Any] | SweepSpec) -> SweepSpec:
    """The sweep of a file, of a mapping in the same form, or unchanged where it is a `SweepSpec`.

    A contexts file is found relative to the sweep file, or to the working directory for a mapping.

    Raises:
        InputError: one message; a line for every problem names file and line (or `sweep`), key, value and
            what is allowed.
    """
    if isinstance(sweep, SweepSpec):
        return sweep
    if isinstance(sweep, Mapping):
        return check(SweepSpec, Document(data=dict(sweep), source="sweep"))
    path = Path(sweep)
    return _check(read(path), folder=path.parent, name=path.stem)


def from_yaml(text: str, *, source: str = "sweep", folder: str | Path | None = None) -> SweepSpec:
    """The sweep that YAML text holds; `source` names it in messages.

    Contexts files are relative to `folder`. None: a stored sweep, which holds its contexts; one that names a file is
    refused, for it may be a stranger's, and the file would be one of ours.

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
    return check(SweepSpec, document, context={"folder": None if folder is None else str(folder)})
