"""A data set that is trained on in batches, instead of the watched context alone."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

from pydantic import Field

from phantom_dist.core.frozen import Frozen

CountedTokens: TypeAlias = Literal["completion", "all"]


class TrainingSet(Frozen):
    """Which examples are trained on, and how they become batches."""

    data: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 over the examples, see `data.examples`")
    loss: CountedTokens = Field(
        description="which tokens the loss counts: those of the completion (of the last message), or all"
    )
    batch_size: int = Field(
        gt=0, description="examples of an optimizer step; an epoch's last step has the rest"
    )
    accumulate: int = Field(default=1, gt=0, description="passes in which a step's gradient is summed up")
    words: int = Field(
        gt=0, description="mean number of words of an example; for predictions of time and memory"
    )
    max_length: int = Field(gt=1, description="tokens of an example; the rest is cut off")
    shuffle: bool = Field(default=True, description="a new permutation in each epoch; else the file's order")
    order_seed: int = Field(default=0, ge=0, description="seed of these permutations")
    measure_every: int = Field(
        default=1,
        gt=0,
        description="steps between measurements of the watched contexts; first and last are measured",
    )

    @property
    def text(self) -> str:
        """All settings in one line; see `from_text`."""
        return ", ".join(
            f"{name}={json.dumps(value)}" for name, value in self.model_dump(mode="json").items()
        )

    @classmethod
    def from_text(cls, text: str) -> TrainingSet:
        """The training set that `text` names.

        Raises:
            ValueError: it names none.
        """
        pairs = (part.split("=", 1) for part in text.split(", "))
        values: dict[str, Any] = {key: json.loads(value) for key, value in pairs}
        return cls.model_validate(values)

    def is_measured(self, step: int, steps: int) -> bool:
        """Whether the watched contexts are measured after `step` of `steps` optimizer steps."""
        return step % self.measure_every == 0 or step == steps
