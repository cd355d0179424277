"""Problems (model, context and training configuration), and the content address of a trial."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from typing import Literal, TypeAlias, assert_never, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from phantom_dist.core.outcome import Thresholds


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Context(_Frozen):
    """A prompt, the correct next token (target) and a near-synonym of it (competitor)."""

    id: str = Field(
        min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="short name, unique in its file"
    )
    text: str = Field(
        min_length=1, description="the prompt; the tokenizer's default special tokens, no chat template"
    )
    target: str = Field(
        min_length=1, description="the correct continuation with its leading space; one token"
    )
    competitor: str = Field(
        default="auto",
        min_length=1,
        description="the near-synonym with its leading space; one token; `auto`: the likeliest above the overlap floor",
    )


class Lora(_Frozen):
    """Low-rank adapters through peft: y = W x + (alpha / rank) B A x, with B = 0 at the start."""

    rank: int = Field(default=8, gt=0, description="rank of the adapters")
    alpha: float = Field(default=16, gt=0, description="adapters are scaled by alpha / rank")
    targets: tuple[str, ...] | Literal["attention"] = Field(
        default="attention",
        description="names of linear modules that get adapters, or `attention`: all linear modules of the attention",
    )


OptimizerName: TypeAlias = Literal["sgd", "adamw"]

OPTIMIZER_NAMES: tuple[str, ...] = get_args(OptimizerName)

OPTIMIZER_SETTINGS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "weight_decay"),
    "adamw": ("weight_decay", "beta1", "beta2", "epsilon"),
}
"""The settings of each optimizer. Others keep their defaults, and are null in the tables if the column allows null."""


class Optimizer(_Frozen):
    """A torch optimizer and its settings.

    A new field would change the id of every trial. So a new optimizer uses the existing fields, by their meaning
    (RMSprop's `alpha` is `beta2`).
    """

    name: OptimizerName = Field(description=f"{' or '.join(OPTIMIZER_NAMES)}, as in torch.optim")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="sgd only; dampening 0")
    weight_decay: float = Field(
        default=0.0, ge=0, description="0 unless the sweep sets it (torch's AdamW has 0.01)"
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="adamw only")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="adamw only")
    epsilon: float = Field(
        default=1e-8, gt=0, description="adamw only; gradients of its size are dominated by rounding errors"
    )

    @model_validator(mode="after")
    def _own_settings(self) -> Optimizer:
        own = OPTIMIZER_SETTINGS[self.name]
        for name, field in type(self).model_fields.items():
            if name not in ("name", *own) and getattr(self, name) != field.default:
                raise ValueError(f"{self.name} has no {name}; its settings are {', '.join(own)}")
        return self

    @property
    def state_size(self) -> int:
        """Numbers that the optimizer stores for each trained parameter."""
        match self.name:
            case "sgd":
                return int(self.momentum > 0)
            case "adamw":
                return 2
            case _:
                assert_never(self.name)


class Schedule(_Frozen):
    """The learning rate of each step as a multiple of the trial's learning rate."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(
        default=0, ge=0, description="steps of linear warm-up before the schedule begins"
    )

    def factors(self, steps: int) -> tuple[float, ...]:
        """eta_s / eta for the optimizer steps s = 1..T, dimensionless, each in (0, 1].

        Warm-up of W steps: s / W for s <= W. After it, with r = s - W - 1 and R = T - W: linear 1 - r / R, cosine
        (1 + cos(pi r / R)) / 2. The first step after warm-up has the full rate, and the last one a rate above zero, so
        every step changes the weights.

        Raises:
            ValueError: the warm-up is at least as long as the trial.
        """
        if self.warmup_steps >= steps:
            raise ValueError(
                f"{self.warmup_steps} warm-up steps leave none of {steps} steps for the schedule"
            )
        rest = steps - self.warmup_steps
        warmup = tuple((s + 1) / self.warmup_steps for s in range(self.warmup_steps))
        return warmup + tuple(self._decay(r / rest) for r in range(rest))

    def _decay(self, progress: float) -> float:
        match self.name:
            case "constant":
                return 1.0
            case "linear":
                return 1.0 - progress
            case "cosine":
                return (1.0 + math.cos(math.pi * progress)) / 2.0


class Problem(_Frozen):
    """Everything that defines a trial except its learning rate: one curve g_T(eta)."""

    model: str = Field(description="the model reference as the user wrote it")
    context: Context
    method: Literal["full", "lora"]
    lora: Lora | None = None
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    steps: int = Field(gt=0, description="optimizer steps T")
    seed: int = Field(default=0, ge=0, description="seed of the adapters' initialisation")
    precision: Literal["float32", "bfloat16"] = "float32"
    thresholds: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _lora_iff_method(self) -> Problem:
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError("`lora` settings are required by method lora, and allowed for it only")
        return self

    @property
    def training_config(self) -> tuple[object, ...]:
        """What all lanes of a batch have in common; context, learning rate, schedule and seed may differ."""
        return (self.model, self.precision, self.method, self.lora, self.optimizer, self.steps)

    @property
    def key(self) -> str:
        """A short name of the problem within its sweep: 16 hex digits of a hash of its definition, weights excluded."""
        return _key(self)


@functools.lru_cache(maxsize=1024)
def _key(problem: Problem) -> str:
    """Cached, because every row of a batch needs it."""
    return _digest(problem.model_dump(mode="json"))[:16]


class ModelIdentity(_Frozen):
    """The identity of a loaded model, whatever folder or file it came from."""

    weights: str = Field(
        description="sha256 over names, shapes, types and bytes of all tensors and the configuration"
    )
    architecture: str = Field(description="transformers' name of the architecture, e.g. LlamaForCausalLM")
    parameters: int = Field(gt=0, description="number of parameters, tied ones counted once")


class Tokens(_Frozen):
    """A context's tokens for one model."""

    prompt: tuple[int, ...] = Field(
        min_length=1, description="token ids of the prompt, special tokens included"
    )
    target: int
    competitor: int
    target_text: str = Field(description="the decoded target, with its leading space")
    competitor_text: str = Field(description="the decoded competitor, with its leading space")

    @property
    def ids(self) -> dict[str, object]:
        """Only the token ids: the part on which a trial depends."""
        return {"prompt": list(self.prompt), "target": self.target, "competitor": self.competitor}


def trial_id(
    problem: Problem, weights: str | None, tokens: Tokens | None, learning_rate: float | None
) -> str:
    """The trial's content address: 32 hex digits of a hash of everything that defines its result, and nothing else.

    The model enters by its weights, the context by its tokens (by its words if they are not single tokens). So a trial
    has the same id under another model path or context name. Engine, device, host and number of threads don't enter.
    `learning_rate` is None for a refused pair of a search.
    """
    definition = problem.model_dump(mode="json", exclude={"model", "context"})
    if problem.method == "full":
        definition["seed"] = None  # full fine-tuning has no random initialisation
    definition |= {
        "weights": problem.model if weights is None else weights,
        "context": problem.context.model_dump(exclude={"id"}) if tokens is None else tokens.ids,
        "learning_rate": None if learning_rate is None else float(learning_rate).hex(),
    }
    return _digest(definition)[:32]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
