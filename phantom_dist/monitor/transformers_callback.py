"""The monitor for transformers' Trainer: `trainer.add_callback(PhantomCallback(trainer, watch=…))`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback

from phantom_dist.monitor.candidates import find_contexts, first_rows
from phantom_dist.monitor.monitor import Monitor
from phantom_dist.monitor.pacing import Clock
from phantom_dist.monitor.settings import MonitorSettings
from phantom_dist.monitor.trainer_log import TrainerLog
from phantom_dist.monitor.warning import SilentFailure
from phantom_dist.monitor.watch import Watch

STATE = "phantom_dist.monitor"
"""Key of the monitor's state in the trainer's state, and so in each checkpoint."""

TRAINING_DATA = "training data"
RECORD = "phantom_monitor.jsonl"


class PhantomCallback(TrainerCallback):  # type: ignore[misc]
    """Watches contexts during `trainer.train()`, logs to the trainer's reporters and warns of silent failures.

    Its values reach everything that the trainer reports to, in rows of their own; the trainer's own rows, flags and
    console output stay as they are without it (`TrainerLog`). A resumed training continues with the looks of its
    checkpoint. It never raises. Where it can't watch a model it logs one warning and stops (`monitor.stopped` has the
    reason).

    Args:
        trainer: the trainer to which the callback is added.
        watch: a contexts file, contexts, None for those that ship with the package, or `"training data"`: the monitor
            searches the trainer's data set for candidates (`find_contexts`).
        tokenizer: needed where the trainer's `processing_class` is not a tokenizer.
        record: file of the record; None: `phantom_monitor.jsonl` in the output directory.
        on_warning: called with each `SilentFailure`.
        settings: interval, budget and thresholds.
        clock: returns seconds, from which the budget is computed.
    """

    def __init__(
        self,
        trainer: Trainer,
        watch: Watch = None,
        *,
        tokenizer: Any = None,
        record: str | os.PathLike[str] | None = None,
        on_warning: Callable[[SilentFailure], None] | None = None,
        settings: MonitorSettings = MonitorSettings(),  # noqa: B008 - frozen
        clock: Clock = time.perf_counter,
    ) -> None:
        self.trainer = trainer
        self.watch = watch
        self.tokenizer = tokenizer
        self.record = record
        self.on_warning = on_warning
        self.settings = settings
        self.clock = clock
        self.monitor: Monitor | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the first look, or continue from the checkpoint."""
        self.monitor = Monitor(
            kwargs.get("model"),
            self._tokenizer(),
            self._from_training_data(kwargs.get("model")) if self._searches else self.watch,
            optimizer=kwargs.get("optimizer"),
            scheduler=kwargs.get("lr_scheduler"),
            total_steps=state.max_steps,
            log=TrainerLog(self.trainer),
            record=self.record or os.path.join(args.output_dir, RECORD),
            on_warning=self.on_warning,
            settings=self.settings,
            state=state.stateful_callbacks.get(STATE) if state.global_step > 0 else None,
            active=state.is_world_process_zero,
            clock=self.clock,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take a look if one is due."""
        if self.monitor is not None:
            self.monitor.step(state.global_step)
            self._store_state(state, control.should_save)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Store the state if a checkpoint follows."""
        self._store_state(state, control.should_save)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Store the state: this evaluation may be the best so far, and then a checkpoint follows."""
        self._store_state(state, True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the last look."""
        if self.monitor is not None:
            self.monitor.finish()

    def _store_state(self, state: Any, needed: bool) -> None:
        """Put the monitor's state into the trainer's, which the next checkpoint stores."""
        own = self.monitor.state_dict() if needed and self.monitor is not None else None
        if own:
            state.stateful_callbacks[STATE] = own

    @property
    def _searches(self) -> bool:
        return isinstance(self.watch, str) and self.watch == TRAINING_DATA

    def _from_training_data(self, model: Any) -> Callable[[], Watch]:
        """A search that the monitor itself starts, so that its time and its errors count as the monitor's."""
        return lambda: find_contexts(
            model,
            self._tokenizer(),
            first_rows(self.trainer.train_dataset),
            thresholds=self.settings.thresholds,
        )

    def _tokenizer(self) -> Any:
        given = self.tokenizer
        if given is None:
            given = getattr(self.trainer, "processing_class", None)
        return getattr(given, "tokenizer", given)
