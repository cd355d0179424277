"""The learning rates that transformers' Trainer recorded beside a checkpoint: `trainer_state.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError

FILE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What a trainer recorded: optimizer steps, and the largest learning rate of its log (None if it logged none)."""

    steps: int
    learning_rate: float | None

    def to_json(self) -> dict[str, Any]:
        """The object `training` in the JSON of `diagnose`."""
        return {"steps": self.steps, "learning_rate": self.learning_rate}


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with most steps in a trainer's output folder."""
    found = [
        (int(name[1]), path)
        for path in folder.glob("checkpoint-*")
        if path.is_dir() and (name := _CHECKPOINT.fullmatch(path.name))
    ]
    return max(found)[1] if found else None


def recorded_in(folder: Path) -> Recorded | None:
    """What the trainer recorded in a checkpoint, or in the last one of its output folder; None where it recorded none.

    Raises:
        InputError: the file is not what a trainer writes.
    """
    last = last_checkpoint(folder)
    places = [folder / FILE, *([last / FILE] if last else [])]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        rates = [float(row["learning_rate"]) for row in state["log_history"] if "learning_rate" in row]
        return Recorded(steps=int(state["global_step"]), learning_rate=max(rates, default=None))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{file}: is not what transformers' Trainer writes ({why})") from None
