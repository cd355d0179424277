"""The learning rates that transformers' Trainer recorded beside a checkpoint.

`trainer_state.json` has the rates that it logged, by default every tenth or five hundredth step, so the largest of them
may be far below the peak. The schedule's own rate stands in `scheduler.pt`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError

FILE = "trainer_state.json"
SCHEDULE = "scheduler.pt"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What a trainer recorded.

    Attributes:
        steps: optimizer steps.
        learning_rate: the peak rate; None where it isn't known, because the log skips steps and the schedule wasn't
            saved.
        logged: the largest rate in the log; None if it has none.
    """

    steps: int
    learning_rate: float | None
    logged: float | None

    def to_json(self) -> dict[str, Any]:
        """The object `training` in the JSON of `diagnose`."""
        return {
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "largest_logged_learning_rate": self.logged,
        }


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
        steps = int(state["global_step"])
        rates = {
            row["step"]: float(row["learning_rate"]) for row in state["log_history"] if "learning_rate" in row
        }
        logged = max(rates.values(), default=None)
        complete = logged if len(rates) == steps else None
        return Recorded(steps=steps, learning_rate=_peak(file.with_name(SCHEDULE)) or complete, logged=logged)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{file}: is not what transformers' Trainer writes ({why})") from None


def _peak(schedule: Path) -> float | None:
    """The peak rate of a saved schedule of transformers, which are factors of at most 1 on the optimizer's rates; None
    for schedules of other kinds, and where none was saved."""
    if not schedule.is_file():
        return None
    import torch

    try:
        state = torch.load(schedule, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file, or one that would run code
        return None
    known = isinstance(state, dict) and "lr_lambdas" in state
    rates = state.get("base_lrs") if known else None
    return max(map(float, rates)) if rates else None
