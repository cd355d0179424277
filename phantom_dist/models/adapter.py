"""The interface of a model adapter: a reference, as a user writes it, becomes a local Hugging Face folder.

A folder means `config.json`, safetensors and a tokenizer. Everything behind that point is shared code (`load`,
`identity`, `metadata`), so an adapter knows only where the files come from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """What a model may do on this machine; nothing of it is ever on by itself.

    `pickle`: read weights that exist in no other form than pickle. `remote_code`: run Python that comes with a model.
    """

    pickle: bool = False
    remote_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A resolved model: a local folder with config.json, safetensors and a tokenizer."""

    reference: str
    path: Path
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMetadata:
    """Facts about a model that need none of its weights.

    `parameters` counts tied ones once; `width` is d and `vocabulary_size` V of the readout matrix E (V x d), which may
    have more rows than the tokenizer has tokens. `verified` is False where the facts were recorded in this package
    and the model itself could not be reached; `reason` then says why.
    """

    reference: str
    title: str
    architecture: str
    parameters: int
    width: int
    layers: int
    heads: int
    vocabulary_size: int
    tied: bool
    verified: bool = True
    reason: str | None = None


class ModelAdapter(ABC):
    """One place that models come from."""

    form: ClassVar[str]
    """How a reference of this adapter looks, for messages."""

    @abstractmethod
    def claims(self, reference: str) -> bool:
        """True if this adapter is responsible for the reference."""

    @abstractmethod
    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """Fetch or convert the model if need be.

        Raises:
            InputError: there is no such model, or it can't be used; the message says what to do.
        """

    @abstractmethod
    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """Describe the model without loading weights.

        Raises:
            InputError: nothing is known about the model.
        """
