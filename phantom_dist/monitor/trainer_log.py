"""What the monitor sees, to the reporters of transformers' Trainer, without the trainer's own `log`.

`Trainer.log` is there to be overridden: TRL's trainers empty their running averages in it, so a row of the monitor
would take values that belong into the trainer's next row. The reporters (TensorBoard, W&B, MLflow, …) are callbacks,
and each is asked here by itself: one that fails is left out from then on, flags that it sets don't reach the trainer,
and the console's callbacks are not asked.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

from transformers import PrinterCallback, ProgressCallback, TrainerCallback

logger = logging.getLogger("phantom_dist.monitor")

CONSOLE = (PrinterCallback, ProgressCallback)
SUMMARY = "train_runtime"
"""A key of the trainer's last row, which stays the last: scripts read their final loss from `log_history[-1]`."""


class TrainerLog:
    """Called with each look's values: a row of `log_history`, and a call of every reporter."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._left_out: list[TrainerCallback] = []

    def __call__(self, values: dict[str, float], step: int) -> None:
        """Report one look; nothing of the trainer changes but `log_history`, by one row."""
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
        return own and not isinstance(callback, CONSOLE) and callback not in self._left_out

    def _report(self, handler: Any, callback: TrainerCallback, logs: dict[str, float]) -> None:
        alone = copy.copy(handler)
        alone.callbacks = [callback]
        try:
            trainer = self._trainer
            alone.on_log(trainer.args, trainer.state, copy.copy(trainer.control), dict(logs))
        except Exception as error:
            self._left_out.append(callback)
            logger.warning(
                "phantom_dist: %s takes no row of the monitor and gets none from here on (%s: %s)",
                type(callback).__name__,
                type(error).__name__,
                error,
            )
