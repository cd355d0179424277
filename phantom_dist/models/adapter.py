"""The interface of a model adapter: it resolves a reference, as a user writes it, to a local Hugging Face folder.

The folder holds `config.json`, safetensors and a tokenizer. Everything after that is shared code (`load`, `identity`,
`metadata`), so an adapter only knows where the files come from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from phantom_dist.models.size import ModelSize
from phantom_dist.models.token_counts import TokenCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """What a model may do on this machine; everything is off by default.

    `pickle`: read weights that exist only as pickle. `remote_code`: run Python code that comes with a model.
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
    """What is known about a model without reading its weights.

    `parameters` counts tied parameters once; `width` is d and `vocabulary_size` is V of the readout matrix E (V x d),
    which may have more rows than the tokenizer has tokens. `verified` is False where the model could not be reached and
    the metadata comes from the records in this package; `reason` then says why. `tokens` counts those of the sweep's
    texts.
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
    tokens: TokenCounts = field(default_factory=TokenCounts)

    @property
    def size(self) -> ModelSize:
        """The dimensions from which time and memory are predicted."""
        return ModelSize(
            parameters=self.parameters,
            width=self.width,
            layers=self.layers,
            vocabulary_size=self.vocabulary_size,
            tied=self.tied,
        )


class ModelAdapter(ABC):
    """One source of models."""

    form: ClassVar[str]
    """The form of this adapter's references, for error messages."""

    @abstractmethod
    def claims(self, reference: str) -> bool:
        """Whether this adapter handles the reference."""

    @abstractmethod
    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The model's local folder; fetches or converts the model if necessary.

        Raises:
            InputError: the model doesn't exist or can't be used; the message says what to do.
        """

    @abstractmethod
    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """The model's metadata, without loading its weights.

        Raises:
            InputError: nothing is known about the model.
        """

    def folder(self, reference: str, permissions: Permissions) -> Path | None:
        """The folder that `resolve` would return if that has nothing to fetch or convert; None if it has, or may have.

        A plan counts tokens with the tokenizer there.
        """
        return None

    def sources(self, reference: str) -> Sequence[Path] | None:
        """The files, and folders of files, that a model's metadata follows from; None if there may be others.

        As long as they don't change, a plan doesn't ask again.
        """
        return None
