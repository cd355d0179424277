"""The columns that identify a problem, as the base class of all records about one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemColumns:
    """The problem that a record is about; a base class that is never instantiated.

    The fields are columns of the tables (`core.quantities.PROBLEM_COLUMNS`), with the values of a stored row.
    `architecture` is None if the model was not loaded; `lora_*` are None under full fine-tuning.
    """

    model: str
    architecture: str | None
    context: str
    target: str
    competitor: str
    method: str
    optimizer: str
    momentum: float
    weight_decay: float
    schedule: str
    warmup_steps: int
    lora_rank: int | None
    lora_alpha: float | None
    lora_targets: str | None
    steps: int
    seed: int
    precision: str
    gradient_clipping: float | None = None
    lora_rslora: bool | None = None
    decay: str | None = None
    lora_dropout: float | None = None
    training_set: str | None = None

    def problem_columns(self) -> dict[str, Any]:
        """Only these columns, as JSON values."""
        return {name: getattr(self, name) for name in PROBLEM_COLUMNS}

    @property
    def way(self) -> str:
        """Method and optimizer, for tables: `full sgd`, `lora adamw`, …."""
        return f"{self.method} {self.optimizer}"

    @property
    def training_class(self) -> str:
        """Method and optimizer, and whether a data set is trained on: `full sgd`, `lora adamw on sets`, ….

        Each class has its own law.
        """
        return training_class(self.method, self.optimizer, on_set=self.training_set is not None)

    @property
    def listing_order(self) -> tuple[str, ...]:
        """Sort key for lists and tables: the columns' text, one column after another."""
        return tuple(str(getattr(self, name)) for name in PROBLEM_COLUMNS)


def training_class(method: str, optimizer: str, *, on_set: bool) -> str:
    """See `ProblemColumns.training_class`."""
    return f"{method} {optimizer}{' on sets' if on_set else ''}"


PROBLEM_COLUMNS = tuple(field.name for field in dataclasses.fields(ProblemColumns))
"""The columns' names, in the order of the JSON objects."""


def problem_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """These columns of a table's row, as keyword arguments of a record; missing columns are None."""
    return {name: row.get(name) for name in PROBLEM_COLUMNS}
