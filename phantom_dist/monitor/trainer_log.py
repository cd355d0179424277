"""Sends the monitor's values to the reporters of transformers' Trainer without calling `Trainer.log`.

Trainers override `Trainer.log`: TRL's empty their running averages in it, so a row of the monitor would take values
that belong to the trainer's next row. Reporters (TensorBoard, W&B, MLflow, …) are callbacks, and this module calls each
of them directly: one that raises gets no further rows, flags that it sets don't reach the trainer, and the callbacks
that print to the console are skipped.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

from transformers import PrinterCallback, ProgressCallback, TrainerCallback

logger = logging.getLogger("phantom_dist.monitor")

CONSOLE = (PrinterCallback, ProgressCallback)
SUMMARY = "train_runtime"
"""A key of the trainer's final row, which must stay last: scripts read the final loss from `log_history[-1]`."""


class TrainerLog:
    """Reports each look: adds a row to `log_history` and calls every reporter."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._failed: list[TrainerCallback] = []

    def __call__(self, values: dict[str, float], step: int) -> None:
        """Report one look; of the trainer only `log_history` changes, by one row."""
        state, handler = self._trainer.state, self._trainer.callback_handler
        logs = dict(values) if state.epoch is None else values | {"epoch": state.epoch}
        history = state.log_history
        last = len(history) - 1 if history and SUMMARY in history[-1] else len(history)
        history.insert(last, logs | {"step": state.global_step})
        for callback in handler.callbacks:
            if self._reports(callback):
                self._report(handler, callback, logs)

    def _reports(self, callback: TrainerCallback) -> bool:
        own = type(callback).on_log is not TrainerCallback.on_log
        return own and not isinstance(callback, CONSOLE) and callback not in self._failed

    def _report(self, handler: Any, callback: TrainerCallback, logs: dict[str, float]) -> None:
        alone = copy.copy(handler)
        alone.callbacks = [callback]
        try:
            trainer = self._trainer
            alone.on_log(trainer.args, trainer.state, copy.copy(trainer.control), dict(logs))
        except Exception as error:
            self._failed.append(callback)
            logger.warning(
                "phantom_dist: %s failed at a row of the monitor and gets no more of them (%s: %s)",
                type(callback).__name__,
                type(error).__name__,
                error,
            )
