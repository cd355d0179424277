"""Problems (model, context and training configuration), and the content address of a trial."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable
from typing import Literal, TypeAlias, assert_never, get_args

from pydantic import Field, model_validator

from phantom_dist.core.frozen import Frozen
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.training_set import TrainingSet


class Context(Frozen):
    """A prompt, the correct next word (target) and a near-synonym of it (competitor)."""

    LATER = ("held_out", "either")

    id: str = Field(
        min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="short name, unique in its file"
    )
    text: str = Field(
        min_length=1, description="the prompt; the tokenizer's default special tokens, no chat template"
    )
    target: str = Field(min_length=1, description="the correct continuation with its leading space")
    competitor: str = Field(
        default="auto",
        min_length=1,
        description="the near-synonym with its leading space; `auto`: the likeliest token above the overlap floor",
    )
    held_out: bool = Field(
        default=False,
        description="the training set doesn't hold it: it is measured in every training, and chooses no learning rate",
    )
    either: bool = Field(
        default=False,
        description="either word may be learnt: where the model prefers the target already, the two change places",
    )

    @model_validator(mode="after")
    def _either_of_two(self) -> Context:
        if self.either and self.competitor == "auto":
            raise ValueError("`either` needs two words; the competitor is `auto`")
        return self

    @property
    def directions(self) -> tuple[Context, ...]:
        """The context, and with `either` the one with exchanged words, for a model that prefers the target."""
        exchanged = {"target": self.competitor, "competitor": self.target}
        return (self, self.model_copy(update=exchanged)) if self.either else (self,)


LoraPlaces: TypeAlias = Literal["attention", "mlp", "all-linear", "peft"]

LORA_PLACES: tuple[str, ...] = get_args(LoraPlaces)


class Lora(Frozen):
    """Low-rank adapters through peft: y = W x + scale B A x, with B = 0 at the start."""

    LATER = ("rslora", "dropout")

    rank: int = Field(default=8, gt=0, description="rank of the adapters")
    alpha: float = Field(default=16, gt=0, description="adapters are scaled by alpha / rank")
    targets: tuple[str, ...] | LoraPlaces = Field(
        default="attention",
        description="names of linear modules that get adapters; `attention`: all linear modules of the attention; "
        "`mlp`: all others of the layers; `all-linear`: all but the readout; `peft`: those that peft chooses for the "
        "architecture",
    )
    rslora: bool = Field(
        default=False, description="scale by alpha / sqrt(rank) instead (rank-stabilised, arXiv 2312.03732)"
    )

    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of an adapter's inputs that each step of a training set leaves out, drawn from the seed",
    )

    @property
    def scale(self) -> float:
        """What B A x is multiplied by; dimensionless."""
        return lora_scale(self.rank, self.alpha, rslora=self.rslora)


def lora_scale(rank: int, alpha: float, *, rslora: bool) -> float:
    """alpha / rank, or alpha / sqrt(rank); dimensionless."""
    return alpha / (math.sqrt(rank) if rslora else rank)


Decay: TypeAlias = Literal["all", "weights"]

OptimizerName: TypeAlias = Literal["sgd", "adamw"]

OPTIMIZER_NAMES: tuple[str, ...] = get_args(OptimizerName)

OPTIMIZER_SETTINGS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "weight_decay", "decay"),
    "adamw": ("weight_decay", "decay", "beta1", "beta2", "epsilon"),
}
"""The settings of each optimizer. Others keep their defaults, and are null in the tables if the column allows null."""


class Optimizer(Frozen):
    """A torch optimizer and its settings.

    A new optimizer uses the existing fields, by their meaning (RMSprop's `alpha` is `beta2`). A field that it needs
    beside them goes into `LATER`, so that other trials keep their ids.
    """

    LATER = ("decay",)

    name: OptimizerName = Field(description=f"{' or '.join(OPTIMIZER_NAMES)}, as in torch.optim")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="sgd only; dampening 0")
    weight_decay: float = Field(
        default=0.0, ge=0, description="0 unless the sweep sets it (torch's AdamW has 0.01)"
    )
    decay: Decay = Field(
        default="all",
        description="what decays; weights: neither biases nor norms, as in transformers' Trainer",
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
        if self.decay != "all" and self.weight_decay == 0:
            raise ValueError(f"decay {self.decay} needs a weight_decay above 0")
        return self

    @property
    def without_decay(self) -> Optimizer:
        """The same optimizer without weight decay."""
        return self.model_copy(update={"weight_decay": 0.0, "decay": "all"})

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


WeightsPrecision: TypeAlias = Literal["float32", "bfloat16"]

Precision: TypeAlias = Literal["float32", "bfloat16", "bfloat16-mixed"]
"""`bfloat16-mixed`: float32 weights, gradients and optimizer, and torch's autocast to bfloat16 in the forward pass, as
transformers' `bf16=True`."""

PRECISIONS: tuple[str, ...] = get_args(Precision)


class Problem(Frozen):
    """Everything that defines a trial except its learning rate: one curve g_T(eta).

    Without a `training` set the loss is that of the context's target alone. With one, the context is only watched.
    """

    LATER = ("gradient_clipping", "early_stopping", "training")

    model: str = Field(description="the model reference as the user wrote it")
    context: Context
    method: Literal["full", "lora"]
    lora: Lora | None = None
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    steps: int = Field(gt=0, description="optimizer steps T")
    seed: int = Field(default=0, ge=0, description="seed of the adapters' initialisation")
    precision: Precision = "float32"
    gradient_clipping: float | None = Field(
        default=None, gt=0, description="largest norm of a step's gradient, which is scaled down to it; nats"
    )
    early_stopping: bool = Field(
        default=False,
        description="a trial ends once the rest can't change its outcome (`instruments.forecast`)",
    )
    thresholds: Thresholds = Thresholds()
    training: TrainingSet | None = None

    @model_validator(mode="after")
    def _lora_iff_method(self) -> Problem:
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError("`lora` settings are required by method lora, and allowed for it only")
        if self.lora is not None and self.lora.dropout and self.training is None:
            raise ValueError("dropout needs a training set")
        return self

    @property
    def is_mixed(self) -> bool:
        """Whether the forward pass is autocast to another precision than the weights'."""
        return self.precision == "bfloat16-mixed"

    @property
    def decays_apart(self) -> bool:
        """Whether some trained parameters decay and others don't; adapters all do."""
        return self.optimizer.decay == "weights" and self.method == "full"

    @property
    def weights_precision(self) -> WeightsPrecision:
        """The precision of weights, gradients and optimizer."""
        return "bfloat16" if self.precision == "bfloat16" else "float32"

    @property
    def training_config(self) -> tuple[object, ...]:
        """What trials have in common that differ in context, learning rate, schedule, clipping and seed at most."""
        return (*self.lanes_config, self.lora)

    @property
    def lanes_config(self) -> tuple[object, ...]:
        """What all lanes of a batch have in common; LoRA's settings may differ as well."""
        shared = (self.model, self.precision, self.method, self.optimizer, self.steps)
        return shared if self.training is None else (*shared, self.training)

    @property
    def adapters(self) -> tuple[Lora, int] | None:
        """What LoRA's initial adapters follow from: their settings and the seed; None under full fine-tuning."""
        return None if self.lora is None else (self.lora, self.seed)

    @property
    def without_context(self) -> Problem:
        """What all contexts that are watched in one training have in common."""
        return self.model_copy(update={"context": _NO_CONTEXT, "thresholds": Thresholds()})

    def training_at(self, learning_rate: float | None) -> tuple[object, float | None]:
        """What trials that share a training have in common; without a training set no other trial has it."""
        return (self.key if self.training is None else self.without_context, learning_rate)

    @property
    def key(self) -> str:
        """A short name of the problem within its sweep: 16 hex digits of a hash of its definition, weights excluded."""
        return _key(self)


def problems_by_training(problems: Iterable[Problem]) -> dict[object, list[Problem]]:
    """Those that share a training, by `Problem.training_at(None)`; without a training set each is alone."""
    groups: dict[object, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.training_at(None), []).append(problem)
    return groups


_NO_CONTEXT = Context(id="none", text="-", target="-")


@functools.lru_cache(maxsize=1024)
def _key(problem: Problem) -> str:
    """Cached, because every row of a batch needs it."""
    return _digest(problem.model_dump(mode="json"))[:16]


class ModelIdentity(Frozen):
    """The identity of a loaded model, whatever folder or file it came from."""

    weights: str = Field(
        description="sha256 over names, shapes, types and bytes of all tensors and the configuration"
    )
    architecture: str = Field(description="transformers' name of the architecture, e.g. LlamaForCausalLM")
    parameters: int = Field(gt=0, description="number of parameters, tied ones counted once")


def trial_id(
    problem: Problem,
    weights: str | None,
    tokens: Tokens | None,
    learning_rate: float | None,
    batches: str | None = None,
) -> str:
    """The trial's content address: 32 hex digits of a hash of everything that defines its result, and nothing else.

    The model enters by its weights, the context by its tokens (by its words if it can't be read). So a trial
    has the same id under another model path or context name. Engine, device, host and number of threads don't enter.
    `learning_rate` is None for a refused pair of a search. A training set enters by the tokens of its `batches`, and by
    how often contexts are measured.
    """
    definition = _training_definition(problem, weights, learning_rate, batches)
    definition["context"] = (
        problem.context.model_dump(exclude={"id", "held_out"}) if tokens is None else tokens.ids
    )
    definition["thresholds"] = problem.thresholds.model_dump(mode="json")
    if problem.training is not None:
        definition["measure_every"] = problem.training.measure_every
    return _digest(definition)[:32]


def training_id(problem: Problem, weights: str, learning_rate: float, batches: str) -> str:
    """The content address of one training on a training set, whatever contexts are watched: 32 hex digits."""
    return _digest(_training_definition(problem, weights, learning_rate, batches))[:32]


def _training_definition(
    problem: Problem, weights: str | None, learning_rate: float | None, batches: str | None
) -> dict[str, object]:
    definition = problem.model_dump(mode="json", exclude={"model", "context", "thresholds", "training"})
    if problem.method == "full":
        definition["seed"] = None  # full fine-tuning has no random initialisation
    if problem.training is not None:
        definition["batches"] = problem.training.data if batches is None else batches
        definition["accumulate"] = problem.training.accumulate
    definition["weights"] = problem.model if weights is None else weights
    definition["learning_rate"] = None if learning_rate is None else float(learning_rate).hex()
    return definition


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
