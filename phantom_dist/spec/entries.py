"""The entries of the axes `methods`, `optimizers` and `schedule`, as a sweep file writes them.

Each entry names one thing and may carry its settings: `sgd`, `{sgd: {momentum: 0.9}}`, `{lora: {rank: 8}}`.
`core()` turns an entry into the words of `core.trial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from phantom_dist.core.errors import did_you_mean
from phantom_dist.core.trial import Lora, Optimizer, Schedule

Item = TypeVar("Item")

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
"""Modules without adapters: they would move the matrix whose overlaps are measured, or one tied to it."""


class Strict(BaseModel):
    """Settings are frozen and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Strict):
    """Exactly one of the fields is set; the JSON Schema says so too."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).model_fields)}")
        return self


def wrong(message: str, loc: tuple[str | int, ...], value: object) -> ValidationError:
    """A validator's complaint about a place below its own."""
    detail = InitErrorDetails(
        type=PydanticCustomError("stated", "{text}", {"text": message}), loc=loc, input=value
    )
    return ValidationError.from_exception_data("sweep", [detail])


def as_tuple(value: Any) -> Any:
    """A list as a tuple: behind a validator of ours pydantic's strict mode would refuse a list."""
    return tuple(value) if isinstance(value, list) else value


def as_axis(value: Any) -> Any:
    """A single entry stands for a list of one."""
    return as_tuple(value) if isinstance(value, list | tuple) else (value,)


def unique(entries: Sequence[Item]) -> Sequence[Item]:
    """Refuse a value that stands twice on its axis; 0.001 and 1e-3 are the same value."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise wrong(
                f"is the same as entry {entries.index(entry)}; every value stands once", (index,), entry
            )
    return entries


def named(kind: str, *names: str) -> Callable[[Any], Any]:
    """Read `name` as `{name: {}}` and refuse everything that does not name one of `names`."""

    def read(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value
        entry = {value: None} if isinstance(value, str) else value
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ValueError(
                f"needs one {kind}, alone or with its settings; got {value!r}.{did_you_mean('', names)}"
            )
        ((name, settings),) = entry.items()
        if name not in names:
            raise ValueError(f"unknown {kind} {name!r}.{did_you_mean(str(name), names)}")
        return {name: {} if settings is None else settings}

    return read


class Sgd(Strict):
    """`torch.optim.SGD` with dampening 0."""

    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum, dampening 0")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="weight decay")


class AdamW(Strict):
    """`torch.optim.AdamW`; without weight decay unless it is set here."""

    weight_decay: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="weight decay (torch's own default is 0.01)"
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the second moment")
    epsilon: float = Field(
        default=1e-8,
        gt=0,
        allow_inf_nan=False,
        description="gradients near it are rounding turned into signs",
    )


class OptimizerEntry(Entry):
    """`sgd`, `adamw`, or either with settings."""

    sgd: Sgd | None = None
    adamw: AdamW | None = None

    def core(self) -> Optimizer:
        """The optimizer as trials carry it."""
        if self.sgd is not None:
            return Optimizer(name="sgd", **self.sgd.model_dump())
        assert self.adamw is not None  # `named` let one of the two through
        return Optimizer(name="adamw", **self.adamw.model_dump())


OptimizerAxis: TypeAlias = Annotated[
    tuple[
        Annotated[
            OptimizerEntry,
            BeforeValidator(
                named("optimizer", "sgd", "adamw"),
                json_schema_input_type=Literal["sgd", "adamw"] | OptimizerEntry,
            ),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique),
]


class FullMethod(Strict):
    """Full fine-tuning: every parameter is trained."""

    optimizers: OptimizerAxis | None = Field(
        default=None, description="optimizers for this method alone, instead of the sweep's `optimizers`"
    )


class LoraMethod(Lora):
    """Low-rank adapters alone are trained; everything else stays bit-identical."""

    alpha: float = Field(
        default=16, gt=0, allow_inf_nan=False, description="adapters are scaled by alpha / rank"
    )
    optimizers: OptimizerAxis | None = Field(
        default=None, description="optimizers for this method alone, instead of the sweep's `optimizers`"
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _linear_modules_of_the_body(cls, value: Any) -> Any:
        if value == "attention":
            return value
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(name, str) for name in value)
        ):
            raise ValueError(f"should be `attention` or a list of module names; got {value!r}")
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
        """The adapters as trials carry them."""
        return Lora(rank=self.rank, alpha=self.alpha, targets=self.targets)


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
        """The method's own optimizers, where it names them."""
        settings = self.full or self.lora
        return None if settings is None else settings.optimizers


def each_method_once(entries: tuple[MethodEntry, ...]) -> tuple[MethodEntry, ...]:
    """Refuse the same method and adapters in two entries, even with different optimizers."""
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


class Warmup(Strict):
    """Settings of a schedule."""

    warmup_steps: int = Field(default=0, ge=0, description="steps of linear warm-up; fewer than `steps`")


class ScheduleEntry(Entry):
    """`constant`, `linear`, `cosine`, or one of them with warm-up."""

    constant: Warmup | None = None
    linear: Warmup | None = None
    cosine: Warmup | None = None

    def core(self) -> Schedule:
        """The schedule as trials carry it."""
        ((name, settings),) = self.model_dump(exclude_none=True).items()
        return Schedule(name=name, **settings)


ScheduleAxis: TypeAlias = Annotated[
    tuple[
        Annotated[
            ScheduleEntry,
            BeforeValidator(
                named("schedule", "constant", "linear", "cosine"),
                json_schema_input_type=Literal["constant", "linear", "cosine"] | ScheduleEntry,
            ),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique),
]
