"""The axis `methods`: `full`, `lora`, or either with settings, its own optimizers among them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from phantom_dist.core.trial import LORA_PLACES, Lora
from phantom_dist.spec.axis import Entry, Strict, as_axis, named, unique, wrong
from phantom_dist.spec.optimizers import OptimizerAxis, OptimizerEntry

INPUT_EMBEDDINGS = (
    "embed_tokens",
    "embed_in",
    "wte",
    "word_embeddings",
    "tok_embeddings",
    "embeddings",
    "shared",
)
POSITIONS = ("embed_positions", "position_embeddings", "wpe")
READOUTS = ("lm_head", "embed_out", "output_projection")
NO_ADAPTERS = frozenset(INPUT_EMBEDDINGS + POSITIONS + READOUTS)
"""Modules that can't have adapters, which would change the matrix whose overlaps are measured, or one tied to it."""


class FullMethod(Strict):
    """Full fine-tuning: every parameter is trained."""

    optimizers: OptimizerAxis | None = Field(
        default=None, description="optimizers for this method alone, instead of the sweep's `optimizers`"
    )


class LoraMethod(Lora):
    """Only low-rank adapters are trained; all other parameters stay bit-identical."""

    alpha: float = Field(
        default=16, gt=0, allow_inf_nan=False, description="adapters are scaled by alpha / rank"
    )
    optimizers: OptimizerAxis | None = Field(
        default=None, description="optimizers for this method alone, instead of the sweep's `optimizers`"
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _linear_modules_of_the_body(cls, value: Any) -> Any:
        if isinstance(value, str) and value in LORA_PLACES:
            return value
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(name, str) for name in value)
        ):
            raise ValueError(f"should be {', '.join(LORA_PLACES)} or a list of module names; got {value!r}")
        for index, name in enumerate(value):
            if name.rpartition(".")[2] in NO_ADAPTERS:
                raise wrong(
                    f"{name!r} is an embedding or the readout; adapters there would move the overlaps. "
                    "Allowed: linear modules of the attention and the feed-forward part",
                    (index,),
                    name,
                )
        return unique(tuple(value))

    def core(self) -> Lora:
        """The settings as trials store them."""
        return Lora(
            rank=self.rank, alpha=self.alpha, targets=self.targets, rslora=self.rslora, dropout=self.dropout
        )


class MethodEntry(Entry):
    """`full`, `lora`, or either with settings."""

    full: FullMethod | None = None
    lora: LoraMethod | None = None

    @property
    def name(self) -> Literal["full", "lora"]:
        """Which of the two it is."""
        return "full" if self.full is not None else "lora"

    @property
    def adapters(self) -> Lora | None:
        """LoRA's settings; None under full fine-tuning."""
        return None if self.lora is None else self.lora.core()

    @property
    def optimizers(self) -> tuple[OptimizerEntry, ...] | None:
        """The method's own optimizers; None if it names none."""
        settings = self.full or self.lora
        return None if settings is None else settings.optimizers


def each_method_once(entries: tuple[MethodEntry, ...], info: ValidationInfo) -> tuple[MethodEntry, ...]:
    """Refuse the same method and adapters in two entries, even with different optimizers, if axes are crossed."""
    if info.data.get("combine") == "zip":
        return entries
    seen: list[Lora | None] = []
    for index, entry in enumerate(entries):
        if entry.adapters in seen:
            first = seen.index(entry.adapters)
            message = f"is the same method as entry {first}; name all its optimizers in one entry"
            raise wrong(message, (index,), entry.name)
        seen.append(entry.adapters)
    return entries


MethodAxis: TypeAlias = Annotated[
    tuple[
        Annotated[
            MethodEntry,
            BeforeValidator(
                named("method", "full", "lora"), json_schema_input_type=Literal["full", "lora"] | MethodEntry
            ),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(each_method_once),
]
