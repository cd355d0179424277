"""The axis `optimizers`: a name, or a name with settings, `{sgd: {momentum: 0.9}}`."""

from __future__ import annotations

from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from phantom_dist.core.trial import OPTIMIZER_NAMES, Decay, Optimizer, OptimizerName
from phantom_dist.spec.axis import Entry, Strict, as_axis, named, unique_if_crossed

_DECAY = "what decays: all, or weights, which leaves out biases and norms as transformers' Trainer does"


class Settings(Strict):
    """Settings of any optimizer."""

    @model_validator(mode="after")
    def _decay_of_something(self) -> Self:
        decay, amount = getattr(self, "decay", None), getattr(self, "weight_decay", 0.0)
        if decay not in (None, "all") and not amount:
            raise ValueError(f"decay {decay} needs a weight_decay above 0")
        return self


class Sgd(Settings):
    """`torch.optim.SGD` with dampening 0."""

    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum, dampening 0")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="weight decay")
    decay: Decay | None = Field(default=None, description=_DECAY)


class AdamW(Settings):
    """`torch.optim.AdamW`; without weight decay unless it is set here."""

    weight_decay: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="weight decay (torch's own default is 0.01)"
    )
    decay: Decay | None = Field(default=None, description=_DECAY)
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="decay of the second moment")
    epsilon: float = Field(
        default=1e-8,
        gt=0,
        allow_inf_nan=False,
        description="added to the denominator; gradients near it are mostly rounding error",
    )


class OptimizerEntry(Entry):
    """`sgd`, `adamw`, or either with settings."""

    sgd: Sgd | None = None
    adamw: AdamW | None = None

    def core(self) -> Optimizer:
        """The optimizer as trials store it."""
        ((name, settings),) = self.model_dump(
            exclude_none=True
        ).items()  # `Entry` ensures that there is exactly one
        return Optimizer(name=name, **settings)


OptimizerAxis: TypeAlias = Annotated[
    tuple[
        Annotated[
            OptimizerEntry,
            BeforeValidator(
                named("optimizer", *OPTIMIZER_NAMES),
                json_schema_input_type=OptimizerName | OptimizerEntry,
            ),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]
