"""A sweep file as one class, `SweepSpec`: the axes whose product is trained, and the settings of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.schedule import SCHEDULE_NAMES, Schedule
from phantom_dist.core.trial import OPTIMIZER_NAMES, Context, Precision
from phantom_dist.spec.axis import Strict, as_axis, as_tuple, unique, unique_if_crossed, wrong
from phantom_dist.spec.methods import MethodAxis, MethodEntry
from phantom_dist.spec.optimizers import OptimizerAxis, OptimizerEntry
from phantom_dist.spec.rates import CriticalSearch, RateAxis
from phantom_dist.spec.recipes import recipe_named, recipe_names
from phantom_dist.spec.reference import all_as_text
from phantom_dist.spec.schedules import ScheduleAxis, ScheduleEntry
from phantom_dist.spec.training import CONTEXTS, TrainingSettings
from phantom_dist.spec.yaml_lines import parse

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_INT32 = 2**31 - 1
MIN_RANKS, MAX_RANKS = 2, 1024

Name: TypeAlias = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=100)]


def _is_stored(info: ValidationInfo) -> bool:
    return (info.context or {}).get("folder", ".") is None


def _spelled(references: Sequence[str], info: ValidationInfo) -> Sequence[str]:
    """A stored sweep keeps its references, because its rows contain them."""
    return references if _is_stored(info) else all_as_text(references)


ModelAxis: TypeAlias = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, pattern=r"^\S(.*\S)?$")], ...],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(_spelled),
    AfterValidator(unique),
]
StepsAxis: TypeAlias = Annotated[
    tuple[Annotated[int, Field(gt=0, le=_INT32)], ...],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]
EpochsAxis: TypeAlias = Annotated[
    tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]
SeedAxis: TypeAlias = Annotated[
    tuple[Annotated[int, Field(ge=0, le=_INT32)], ...],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]
ClippingAxis: TypeAlias = Annotated[
    tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, ...],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]
PrecisionAxis: TypeAlias = Annotated[
    tuple[Precision, ...],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]

TrackerList: TypeAlias = Annotated[
    tuple[Literal["tensorboard", "mlflow", "wandb"], ...], BeforeValidator(as_axis), AfterValidator(unique)
]

InstrumentList: TypeAlias = Annotated[tuple[Name, ...], BeforeValidator(as_axis), AfterValidator(unique)]


def _ids_once(contexts: Sequence[Context]) -> Sequence[Context]:
    ids = [context.id for context in contexts]
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise wrong(
                f"the id {name!r} is taken by entry {ids.index(name)}; ids are unique", (index, "id"), name
            )
    return contexts


ContextList: TypeAlias = Annotated[tuple[Context, ...], Field(min_length=1), AfterValidator(_ids_once)]
SIDE_BY_SIDE = (
    "methods", "optimizers", "schedule", "steps", "epochs", "seeds", "precision", "gradient_clipping",
)  # fmt: skip
"""The axes that go side by side with `combine: zip`."""

_CONTEXTS: TypeAdapter[tuple[Context, ...]] = TypeAdapter(ContextList)


def load_contexts(path: str | Path) -> tuple[Context, ...]:
    """Read a contexts file: a list of contexts with unique ids.

    Raises:
        InputError: the file can't be read, or does not hold such a list; names file, line and key.
    """
    return parse(_CONTEXTS, path)


def _inline(value: Any, info: ValidationInfo) -> Any:
    """Replace the path of a contexts file, relative to the sweep file, by the contexts in it."""
    if not isinstance(value, str):
        return as_tuple(value)
    if _is_stored(info):
        raise ValueError("a stored sweep contains its contexts and can't name a file")
    path = Path((info.context or {}).get("folder", ".")) / value
    if not path.is_file():
        raise ValueError(f"there is no contexts file {str(path)!r}; the path is relative to the sweep file")
    return load_contexts(path)


ContextAxis: TypeAlias = Annotated[
    ContextList, BeforeValidator(_inline, json_schema_input_type=str | ContextList)
]


class RankGroupSettings(Strict):
    """Groups of workers that share a model too large for one of them, in shards or through DeepSpeed's ZeRO."""

    ranks: Literal["auto"] | Annotated[int, Field(ge=MIN_RANKS, le=MAX_RANKS)] = Field(
        default="auto",
        description="processes per group; auto: as many as let the trials end first, or as few as memory allows",
    )
    stage: Literal["auto", 2, 3] = Field(
        default="auto",
        description="auto: each rank trains lanes of its own on one sharded model where that works; else, and with a "
        "number, all train one trial with ZeRO: 2 shards gradients and optimizer, 3 the weights as well",
    )
    timeout: float = Field(
        default=30.0,
        gt=0,
        le=86400,
        description="seconds without progress after which a rank counts as stuck",
    )

    @field_validator("ranks", mode="before")
    @classmethod
    def _auto_or_count(cls, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value != "auto" and not (whole and MIN_RANKS <= value <= MAX_RANKS):
            raise ValueError(
                f"should be auto or a whole number from {MIN_RANKS} to {MAX_RANKS}; got {value!r}"
            )
        return value


class Execution(Strict):
    """How the machine is used, and what models are allowed to do."""

    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads of each worker process")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: cuda if available")
    group: RankGroupSettings = Field(
        default=RankGroupSettings(),
        description="for models too large for one worker, and for --engine deepspeed",
    )
    report_to: TrackerList = Field(
        default=(),
        description="trackers into which trainings and words are mirrored, as transformers' report_to: tensorboard, "
        "mlflow, wandb",
    )
    allow_pickle: bool = Field(
        default=False, description="load weights that exist only as pickle files, which can run code"
    )
    trust_remote_code: bool = Field(default=False, description="run code that comes with a hub model")


class SweepSpec(Strict):
    """A sweep: the product of its axes, contexts inlined. `load` reads one, `expand` lists its problems.

    A method may name its own optimizers, `{full: {optimizers: [sgd]}}`; for that method they replace the axis
    `optimizers`, so a sweep can pair methods with optimizers instead of crossing them.
    """

    name: Name = Field(default="sweep", description="short name; by default the file's name")
    models: ModelAxis = Field(
        description="hub names (also hub:NAME), local folders (./my-model), GGUF files (gguf:path.gguf), packaged"
        " models (gguf:smollm2-135m-instruct), built-in models (zoo:gpt2-a), adapters merged into their base"
        " (peft:./adapter)"
    )
    contexts: ContextAxis = Field(
        description="the path of a contexts file, relative to this one, or the contexts"
    )
    recipe: str | None = Field(
        default=None,
        description=f"a tool's defaults, for every key that is left out: {', '.join(recipe_names())}",
        json_schema_extra={"enum": [*recipe_names(), None]},
    )
    training: TrainingSettings | None = Field(
        default=None,
        description="a data set that is trained on in batches; the contexts are then watched. Left out: each context "
        "is trained on alone",
    )
    combine: Literal["product", "zip"] = Field(
        default="product",
        description="zip: values of the axes from here to gradient_clipping go side by side instead of crossing; an "
        "axis of one value has it everywhere",
    )
    methods: MethodAxis = Field(default=(MethodEntry.model_validate({"full": {}}),), description="full, lora")
    optimizers: OptimizerAxis = Field(
        default=(OptimizerEntry.model_validate({"sgd": {}}),),
        description=f"{', '.join(OPTIMIZER_NAMES)}; for every method that does not name its own",
    )
    learning_rates: RateAxis = Field(
        description="a list, {log: [low, high, count]} or {critical: {tolerance: 0.01}}"
    )
    steps: StepsAxis = Field(default=(8,), description="optimizer steps T")
    epochs: EpochsAxis | None = Field(
        default=None, description="the same in passes over the training data, instead of `steps`"
    )
    seeds: SeedAxis = Field(
        default=(0,),
        description="seeds of the adapters' initialisation; full fine-tuning uses the first only",
    )
    precision: PrecisionAxis = Field(
        default=("float32",),
        description="arithmetic of model and optimizer; bfloat16-mixed: float32 weights, autocast forward pass",
    )
    schedule: ScheduleAxis = Field(
        default=(ScheduleEntry.model_validate({"constant": {}}),), description=", ".join(SCHEDULE_NAMES)
    )
    gradient_clipping: ClippingAxis = Field(
        default=(None,),
        description="largest norm of a step's gradient, as transformers' max_grad_norm; null for any",
    )
    early_stopping: bool = Field(
        default=False,
        description="end trials whose outcome the rest of their steps can't change, as a measured rule forecasts",
    )
    instruments: InstrumentList = Field(
        default=(), description="plug-in instruments by name; they add columns to the built-in quantities"
    )
    thresholds: Thresholds = Field(
        default=Thresholds(), description="thresholds between the outcomes; stored with the results"
    )
    execution: Execution = Field(
        default=Execution(), description="threads, device, rank groups, and what models may do"
    )

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, name: str | None) -> str | None:
        return None if name is None else recipe_named(name).name

    @model_validator(mode="after")
    def _training_has_its_data(self) -> SweepSpec:
        if self.epochs is not None and self.training is None:
            raise wrong("are passes over the data of `training`, which is missing", ("epochs",), self.epochs)
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise wrong("takes the place of `steps`; give one of the two", ("epochs",), self.epochs)
        search = self.learning_rates
        if isinstance(search, CriticalSearch) and search.critical.multiples and self.training is not None:
            raise wrong(
                "are of one word's critical rate, and a training set has many words; give `log` or a list of rates",
                ("learning_rates", "critical", "multiples"),
                search.critical.multiples,
            )
        for index, context in enumerate(self.contexts):
            if context.held_out and self.training is None:
                raise wrong(
                    "needs `training`: without a training set each context is trained on",
                    ("contexts", index, "held_out"),
                    True,
                )
            if context.either and self.training is not None and self.training.data == CONTEXTS:
                raise wrong(
                    "is not for contexts that are the training set: what the model trains on must be settled",
                    ("contexts", index, "either"),
                    True,
                )
        for index, method in enumerate(self.methods):
            if self.training is None and method.lora is not None and method.lora.dropout:
                raise wrong(
                    "needs `training`: the one context is measured in the pass that it is trained in",
                    ("methods", index, "lora", "dropout"),
                    method.lora.dropout,
                )
        return self

    @model_validator(mode="after")
    def _axes_side_by_side_have_one_length(self) -> SweepSpec:
        if self.combine == "product":
            return self
        unused = "epochs" if self.epochs is None else "steps"
        axes = [name for name in SIDE_BY_SIDE if name != unused]
        lengths = {name: len(getattr(self, name)) for name in axes}
        longest = max(lengths.values())
        for name, length in lengths.items():
            if length not in (1, longest):
                most = next(other for other in axes if lengths[other] == longest)
                raise wrong(
                    f"has {length} values and {most} has {longest}; with `combine: zip` allowed: 1 or {longest}",
                    (name,),
                    length,
                )
        rows = list(zip(*(getattr(self, name) * (longest // lengths[name]) for name in axes), strict=True))
        for index, row in enumerate(rows):
            if row in rows[:index]:
                name = next(name for name in axes if lengths[name] == longest)
                raise wrong(
                    f"goes side by side with the same values as entry {rows.index(row)}",
                    (name, index),
                    row[0],
                )
        for index, method in enumerate(self.methods):
            if len(method.optimizers or ()) > 1:
                raise wrong(
                    "with `combine: zip` a method may name one optimizer",
                    ("methods", index, method.name),
                    method.name,
                )
        return self

    @model_validator(mode="after")
    def _schedules_have_their_steps(self) -> SweepSpec:
        if self.epochs is not None:
            return self  # checked again once the data are read and the steps are known
        for steps, entries in self._schedules_by_steps():
            seen: dict[Schedule, int] = {}
            for index, entry in entries:
                schedule = entry.core(steps)
                place = ("schedule", index, schedule.name)
                if steps < schedule.fewest_steps:
                    raise wrong(_too_long(schedule, steps), (*place, "warmup_steps"), schedule.warmup_steps)
                if schedule in seen:
                    raise wrong(
                        f"is the same as entry {seen[schedule]} where steps is {steps}; give every schedule once",
                        place,
                        schedule.warmup_steps,
                    )
                seen[schedule] = index
        return self

    def _schedules_by_steps(self) -> list[tuple[int, list[tuple[int, ScheduleEntry]]]]:
        """Each number of steps with the schedules, by their index, that are combined with it."""
        indexed = list(enumerate(self.schedule))
        if self.combine == "product":
            return [(steps, indexed) for steps in sorted(self.steps)]
        length = max(len(self.steps), len(indexed))
        pairs = zip(self.steps * (length // len(self.steps)), indexed * (length // len(indexed)), strict=True)
        return [(steps, [entry]) for steps, entry in pairs]


def _too_long(schedule: Schedule, steps: int) -> str:
    warmup, decay = f"{schedule.warmup_steps} warm-up steps", schedule.decay_steps
    if decay is None:
        return f"{warmup} leave none of {steps} steps for the schedule; allowed: 0 to {steps - 1}"
    return f"{warmup} and {decay} steps of decay are more than {steps} steps; allowed: together up to {steps}"
