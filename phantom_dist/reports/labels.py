"""Labels of rows on a page, which name only what differs between the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

SETTINGS = (
    "momentum",
    "weight_decay",
    "decay",
    "schedule",
    "warmup_steps",
    "lora_rank",
    "lora_alpha",
    "lora_targets",
    "steps",
    "seed",
    "precision",
    "gradient_clipping",
    "lora_rslora",
)
"""Settings of a way of training, beside method and optimizer."""


def setting(row: Mapping[str, Any], name: str) -> Any:
    """A setting's value, normalised: a list as comma-separated text, an absent number as 0, a schedule as its name."""
    value = row.get(name)
    if isinstance(value, Mapping):
        value = value.get("name")
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return 0 if value is None and name in ("momentum", "weight_decay", "warmup_steps") else value


def varying(rows: Sequence[Row]) -> list[str]:
    """The settings in which rows of the same method and optimizer differ.

    Architectures name their adapters' targets differently, so targets count only where they differ within one model.
    """

    def differs(name: str) -> bool:
        values: dict[tuple[Any, ...], set[Any]] = {}
        for row in rows:
            if name in row:
                group = (row["method"], row["optimizer"], row["model"] if name == "lora_targets" else None)
                values.setdefault(group, set()).add(setting(row, name))
        return any(len(some) > 1 for some in values.values())

    return [name for name in SETTINGS if differs(name)]


@dataclass(frozen=True)
class Labels:
    """Labels the rows of one page."""

    varying: Sequence[str]
    several_models: bool
    several_runs: bool

    def of(self, row: Row) -> Row:
        """The row with `pair`, `way`, `line` (pair, model and run) and `label` (the same with the way of training)."""
        settings = [
            f"{n.replace('_', ' ')} {setting(row, n)}" for n in self.varying if row.get(n) is not None
        ]
        words = [(row.get(name) or "?").strip() for name in ("target", "competitor")]
        pair = f"{row['context']}: {' / '.join(words)}"
        way = ", ".join([f"{row['method']} {row['optimizer']}", *settings])
        where = [row["model"]] * self.several_models + [f"run {row['run']}"] * self.several_runs
        names = {"line": [pair, *where], "label": [pair, way, *where]}
        return row | {"pair": pair, "way": way} | {name: " · ".join(parts) for name, parts in names.items()}
