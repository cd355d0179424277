"""The key `training` of a sweep: a data set, and how its examples become batches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from phantom_dist.core.training_set import CountedTokens, TrainingSet
from phantom_dist.spec.axis import Strict

CONTEXTS = "contexts"


class DataContent(Strict):
    """Data that have been read: what a stored sweep says of them. The examples stand in the run directory."""

    name: str = Field(description="where they came from, for people")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="over the examples")
    form: Literal["prompt-completion", "text", "messages"] = Field(description="the form of all examples")
    examples: int = Field(gt=0, description="their number")
    words: int = Field(gt=0, description="mean number of words of an example, rounded up")
    empty: int = Field(default=0, ge=0, description="examples without a word, which were left out")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user is told of them."""
        return (f"{self.name}: {self.empty} empty example(s) are left out",) if self.empty else ()


def _located(value: Any, info: ValidationInfo) -> Any:
    """A path relative to the sweep file as one relative to the working directory."""
    if not isinstance(value, str) or value == CONTEXTS:
        return value
    folder = (info.context or {}).get("folder", ".")
    if folder is None:
        raise ValueError("a stored sweep can't name a file; its examples stand in the run directory")
    return str(Path(folder) / value)


Data: TypeAlias = Annotated[
    Annotated[str, Field(min_length=1)] | DataContent, BeforeValidator(_located, json_schema_input_type=str)
]


class Order(Strict):
    """The order of the examples."""

    shuffle: bool = Field(
        default=True, description="a new permutation for each epoch; false: the file's order"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of the permutations")


class TrainingSettings(Strict):
    """A data set that is trained on in batches."""

    data: Data = Field(
        description="JSON lines, Parquet or a folder saved by `datasets`, relative to the sweep file; `contexts`: the "
        "sweep's contexts are the set"
    )
    loss: CountedTokens | None = Field(
        default=None,
        description="which tokens the loss counts; by default those of completions where there are prompts, else all",
    )
    batch_size: int = Field(default=8, gt=0, description="examples of an optimizer step")
    accumulate: int = Field(default=1, gt=0, description="passes that a step is split in, with the same sum")
    max_length: int = Field(default=1024, gt=1, description="tokens of an example; the rest is cut off")
    order: Order = Field(default=Order(), description="the order of the examples")
    measure_every: int = Field(
        default=1, gt=0, description="steps between measurements of the contexts; first and last are measured"
    )

    @model_validator(mode="after")
    def _passes_have_examples(self) -> TrainingSettings:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate is {self.accumulate}, and a step has only batch_size {self.batch_size} examples"
            )
        if self.loss == "completion" and isinstance(self.data, DataContent) and self.data.form == "text":
            raise ValueError(
                "loss: completion: the data hold plain texts, which have no completion; allowed: all"
            )
        return self

    @property
    def content(self) -> DataContent:
        """What the data are; they have been read before problems are made."""
        assert isinstance(self.data, DataContent), "the data have not been read"
        return self.data

    def core(self) -> TrainingSet:
        """The settings as trials store them."""
        has_prompts = self.content.form == "prompt-completion"
        return TrainingSet(
            data=self.content.sha256,
            loss=self.loss or ("completion" if has_prompts else "all"),
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            words=self.content.words,
            max_length=self.max_length,
            shuffle=self.order.shuffle,
            order_seed=self.order.seed if self.order.shuffle else 0,
            measure_every=self.measure_every,
        )

    def steps(self, epochs: float) -> int:
        """Optimizer steps of so many epochs, each of ceil(n / batch_size) steps, as transformers counts them."""
        return math.ceil(epochs * math.ceil(self.content.examples / self.batch_size))
