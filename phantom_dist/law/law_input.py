"""The inputs of the law's formula for a problem: measurements of its probe, and its training settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.problem_columns import training_class
from phantom_dist.core.tokens import PairKind, Tokens
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.core.trial import Lora, Problem, lora_scale

ATTENTION = "attention"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSettings:
    """LoRA's settings. `targets` are comma-separated as in the sweep, because resolved names differ by architecture."""

    rank: int | None
    alpha: float | None
    targets: str = ATTENTION
    rslora: bool = False
    dropout: float = 0.0

    @property
    def scale(self) -> float | None:
        """What B A x is multiplied by (`core.trial.Lora.scale`); None where rank or alpha is unknown."""
        if self.rank is None or self.alpha is None:
            return None
        return lora_scale(self.rank, self.alpha, rslora=self.rslora)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Settings that must equal the calibrated ones; the defaults apply where a row of an old file lacks one.

    All are dimensionless but `epsilon` (nats, as a gradient's entry) and `warmup_steps` (optimizer steps). Under SGD
    `beta1`, `beta2` and `epsilon` have no effect and keep their defaults. `adapters` is None under full fine-tuning.
    """

    momentum: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    schedule: str = "constant"
    warmup_steps: int = 0
    precision: str = "float32"
    gradient_clipping: float | None = None
    decay: str | None = None
    adapters: AdapterSettings | None = None

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> TrainingSettings:
        """Decode the columns of a row; missing or None values get their default. Column `adapters`: LoRA's targets."""
        stated = {name: columns[name] for name in SETTINGS if columns.get(name) is not None}
        adapters = None
        if columns["method"] == "lora":
            targets = columns.get("adapters")
            adapters = AdapterSettings(
                rank=columns.get("lora_rank"),
                alpha=columns.get("lora_alpha"),
                targets=ATTENTION if targets is None else targets,
                rslora=bool(columns.get("lora_rslora")),
                dropout=columns.get("lora_dropout") or 0.0,
            )
        return cls(**stated, adapters=adapters)

    def columns(self) -> dict[str, Any]:
        """Settings by column name, for law files and messages."""
        own = {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}
        if self.adapters is not None:
            own |= {
                "lora_rank": self.adapters.rank,
                "lora_alpha": self.adapters.alpha,
                "adapters": self.adapters.targets,
            }
            own |= {"lora_rslora": True} if self.adapters.rslora else {}
            own |= {"lora_dropout": self.adapters.dropout} if self.adapters.dropout else {}
        return own


SETTINGS = (
    "momentum", "weight_decay", "beta1", "beta2", "epsilon", "schedule", "warmup_steps", "precision",
    "gradient_clipping", "decay",
)  # fmt: skip
"""Names of the settings that all methods have, in the order of law files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetReading:
    """What the law's formula needs of a training on a data set.

    Attributes:
        batch_size: examples of a step.
        epochs: how often an example is trained on.
        share, drawn, reach: see `SetProbe`.
    """

    batch_size: int
    epochs: float
    share: float
    drawn: int
    reach: float

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> SetReading | None:
        """Decode the columns of a row; None for a prompt that is trained alone."""
        if columns.get("training_set") is None:
            return None
        batch_size = TrainingSet.from_text(columns["training_set"]).batch_size
        return cls(
            batch_size=batch_size,
            epochs=columns["steps"] * batch_size / columns["examples_used"],
            share=columns["share"],
            drawn=columns["drawn"],
            reach=columns["reach"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LawInput:
    """The law's inputs for one probed problem.

    Attributes:
        method: `full` or `lora`; `optimizer`: `sgd` or `adamw`.
        steps: T; `effective_steps`: T counted with schedule and momentum.
        gap_0: g_0 < 0, logits.
        kappa: rate of the gap, logits per step per unit learning rate.
        overlap_0: S_tc, in [-1, 1].
        log_odds_0: ln p_t / (1 − p_t) of the untouched model.
        path_rates: successive estimates of η_c by the path probe, at least three, the best one last; on a training set
            those of `SetProbe`.
        gap_end: gap (logits) at the end of the path probe's last walk; None in law files that did not store it.
        parameters: the model's number of parameters.
        settings: the training settings.
        pair_kind: whether both words are `single` tokens, or one has `several`.
        on_set: with a training set, what it is.
    """

    method: str
    optimizer: str
    steps: int
    effective_steps: float
    gap_0: float
    kappa: float
    overlap_0: float
    log_odds_0: float
    path_rates: tuple[float, ...]
    gap_end: float | None
    parameters: int
    settings: TrainingSettings
    pair_kind: PairKind = "single"
    on_set: SetReading | None = None

    @property
    def training_class(self) -> str:
        """As `ProblemColumns.training_class`."""
        return training_class(self.method, self.optimizer, on_set=self.on_set is not None)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> LawInput:
        """Decode the columns of a probed path, from a law file, or from `probes/` with an added column `adapters`."""
        return cls(
            method=columns["method"],
            optimizer=columns["optimizer"],
            steps=columns["steps"],
            effective_steps=columns["effective_steps"],
            gap_0=columns["gap_0"],
            kappa=columns["kappa"] if columns.get("sample_kappa") is None else columns["sample_kappa"],
            overlap_0=columns["overlap_0"],
            log_odds_0=columns["log_odds_0"],
            path_rates=tuple(columns["path_rates"]),
            gap_end=columns.get("gap_end"),
            parameters=columns["parameters"],
            settings=TrainingSettings.from_columns(columns),
            pair_kind=columns.get("pair_kind") or _pair_kind(columns),
            on_set=SetReading.from_columns(columns),
        )


def _pair_kind(columns: Mapping[str, Any]) -> PairKind:
    """From the tokens in a row of `probes/`."""
    return "several" if any(columns.get(name) for name in Tokens.LATER) else "single"


def law_input(probe: Mapping[str, Any], problem: Problem | None) -> LawInput:
    """The law's inputs from a row of `probes/` with a probed path.

    Args:
        probe: the row.
        problem: its problem, which has the adapters' targets as in the sweep; None where no sweep contains it any more.
            Then the default, `attention`, is assumed.
    """
    return LawInput.from_columns({**probe, "adapters": None if problem is None else targets_of(problem.lora)})


def targets_of(lora: Lora | None) -> str | None:
    """LoRA's targets as in the sweep, comma-separated; None under full fine-tuning."""
    if lora is None:
        return None
    return lora.targets if isinstance(lora.targets, str) else ",".join(lora.targets)
