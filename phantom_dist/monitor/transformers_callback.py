"""The monitor for transformers' Trainer: `trainer.add_callback(PhantomCallback(trainer, watch=…))`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback

from phantom_dist.core.errors import InputError
from phantom_dist.monitor.candidates import find_contexts
from phantom_dist.monitor.monitor import Monitor
from phantom_dist.monitor.pacing import Clock
from phantom_dist.monitor.settings import MonitorSettings
from phantom_dist.monitor.warning import SilentFailure
from phantom_dist.monitor.watch import Watch
from phantom_dist.monitor.wrappers import unwrapped

STATE = "phantom_dist.monitor"
"""Where the trainer's state, and with it each checkpoint, keeps the monitor's."""

TRAINING_DATA = "training data"
RECORD = "phantom_monitor.jsonl"


class PhantomCallback(TrainerCallback):  # type: ignore[misc]
    """Watches contexts during `trainer.train()`, logs through `Trainer.log` and warns of silent failures.

    What it logs reaches everything that the trainer reports to. A resumed training goes on with the looks that its
    checkpoint kept.

    Args:
        trainer: the trainer that it is added to.
        watch: a contexts file, contexts, None for those that ship with the package, or `"training data"`: candidates
            are looked for in the trainer's data set (`find_contexts`).
        tokenizer: where the trainer has no `processing_class` that is one.
        record: the record's file; None: `phantom_monitor.jsonl` in the output directory.
        on_warning: called with each `SilentFailure`.
        settings: interval, budget and thresholds.
        clock: seconds, by which the budget is kept.
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
        """Take the first look, or go on from the checkpoint."""
        kept = state.stateful_callbacks.get(STATE) if state.global_step > 0 else None
        model, first = unwrapped(kwargs["model"]), state.is_world_process_zero
        watch = self.watch
        if first and kept is None and watch == TRAINING_DATA:
            watch = find_contexts(
                model,
                self._tokenizer(),
                self.trainer.train_dataset,
                thresholds=self.settings.thresholds,
            )
        self.monitor = Monitor(
            model,
            self._tokenizer(),
            watch,
            optimizer=kwargs.get("optimizer"),
            scheduler=kwargs.get("lr_scheduler"),
            total_steps=state.max_steps,
            log=self._log,
            record=self.record or os.path.join(args.output_dir, RECORD),
            on_warning=self.on_warning,
            settings=self.settings,
            state=kept,
            active=first,
            clock=self.clock,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if it is time."""
        assert self.monitor is not None
        self.monitor.step(state.global_step)
        self._keep(state, control.should_save)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint may follow."""
        self._keep(state, control.should_save)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The best checkpoint so far may follow."""
        self._keep(state, self.monitor is not None)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A last look."""
        assert self.monitor is not None
        self.monitor.finish()

    def _log(self, values: dict[str, float], step: int) -> None:
        """Through `Trainer.log`, which would take the trainer's own pending log for done."""
        pending = self.trainer.control.should_log
        self.trainer.log(values)
        self.trainer.control.should_log = pending

    def _keep(self, state: Any, asked: bool) -> None:
        """The monitor's state goes with the trainer's into the next checkpoint."""
        if asked and self.monitor is not None:
            state.stateful_callbacks[STATE] = self.monitor.state_dict()

    def _tokenizer(self) -> Any:
        given = self.tokenizer or self.trainer.processing_class
        tokenizer = getattr(given, "tokenizer", given)
        if not hasattr(tokenizer, "encode"):
            raise InputError(
                "PhantomCallback: the trainer has no tokenizer (`processing_class`); give one as `tokenizer=`"
            )
        return tokenizer
