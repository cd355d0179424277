"""The dimensions of a model from which time and memory are predicted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSize:
    """`parameters` counts tied ones once; `width` is d, `vocabulary_size` is V of the readout matrix (V x d)."""

    parameters: int
    width: int
    layers: int
    vocabulary_size: int
    tied: bool

    @property
    def body(self) -> int:
        """Parameters of the matrices that every token is multiplied with: all but embedding and readout."""
        tables = self.vocabulary_size * self.width * (1 if self.tied else 2)
        return max(self.parameters - tables, self.parameters // 100)
