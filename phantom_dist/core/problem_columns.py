"""The columns that name a problem, as the typed base of every record that is about one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemColumns:
    """Which curve g_T(η) a record is about; a base class, never used by itself.

    The fields are columns of the tables (`core.quantities.PROBLEM_COLUMNS`), with the values of a stored row.
    `architecture` is None where the model was not loaded; `lora_*` are None under full fine-tuning.
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
    lora_rank: int | None
    lora_alpha: float | None
    lora_targets: str | None
    steps: int
    seed: int
    precision: str

    def problem_columns(self) -> dict[str, Any]:
        """These columns alone, as JSON values."""
        return {name: getattr(self, name) for name in PROBLEM_COLUMNS}

    @property
    def training_class(self) -> str:
        """Method and optimizer, `full sgd`, `full adamw`, `lora adamw`, …: the law fits each by itself."""
        return f"{self.method} {self.optimizer}"

    @property
    def listing_order(self) -> tuple[str, ...]:
        """Sorts records for lists and tables: by the text of one column after another."""
        return tuple(str(getattr(self, name)) for name in PROBLEM_COLUMNS)


PROBLEM_COLUMNS = tuple(field.name for field in dataclasses.fields(ProblemColumns))
"""The columns' names, in the order of the JSON objects."""


def problem_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """These columns of a table's row, as arguments of a record; a column that the row lacks is None."""
    return {name: row.get(name) for name in PROBLEM_COLUMNS}
