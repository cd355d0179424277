"""The contexts that ship with the package, and those that a caller asks for instead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from phantom_dist.core.trial import Context
from phantom_dist.spec import load_contexts

SHIPPED = Path(__file__).parent / "near_synonyms.yaml"
"""The contexts that ship for real models."""

SHIPPED_FOR_ZOO = Path(__file__).parent / "zoo.yaml"
"""The contexts that ship for the built-in models."""


def contexts_or_shipped(
    contexts: str | os.PathLike[str] | Sequence[Context] | None, model: str
) -> Sequence[Context]:
    """Contexts, or those of a file; where None is given, those that ship for this model.

    Raises:
        InputError: the file can't be read.
    """
    if contexts is None:
        return load_contexts(SHIPPED_FOR_ZOO if model.startswith("zoo:") else SHIPPED)
    if isinstance(contexts, str | os.PathLike):
        return load_contexts(Path(contexts))
    return contexts
