"""The monitor for Lightning: `Trainer(callbacks=[PhantomLightningCallback(tokenizer, watch=…)])`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from lightning.pytorch.callbacks import Callback

from phantom_dist.core.errors import InputError
from phantom_dist.monitor.monitor import Monitor
from phantom_dist.monitor.settings import MonitorSettings
from phantom_dist.monitor.warning import SilentFailure
from phantom_dist.monitor.watch import Watch

logger = logging.getLogger("phantom_dist.monitor")


class PhantomLightningCallback(Callback):  # type: ignore[misc]
    """Watches contexts during `trainer.fit`, logs to all of its loggers and warns of silent failures.

    It raises nothing: what it can't watch it says once and leaves (`monitor.stopped`).

    Args:
        tokenizer: the language model's tokenizer.
        watch: a contexts file, contexts, or None for those that ship with the package.
        model: the name of the module's attribute that holds the language model; None: the module itself, or the one
            attribute that has an output embedding.
        record: the record's file; None: no record.
        on_warning: called with each `SilentFailure`.
        settings: interval, budget and thresholds.
    """

    def __init__(
        self,
        tokenizer: Any,
        watch: Watch = None,
        *,
        model: str | None = None,
        record: str | os.PathLike[str] | None = None,
        on_warning: Callable[[SilentFailure], None] | None = None,
        settings: MonitorSettings = MonitorSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.tokenizer = tokenizer
        self.watch = watch
        self.model = model
        self.record = record
        self.on_warning = on_warning
        self.settings = settings
        self.monitor: Monitor | None = None
        self._kept: dict[str, Any] | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the first look, or go on from the checkpoint."""
        try:
            self.monitor = self._monitor(trainer, pl_module)
        except Exception as error:  # a trainer or a module that can't be asked
            self.monitor = Monitor(pl_module, self.tokenizer, active=False)
            if trainer.is_global_zero:
                self.monitor.stop(error)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Look if it is time; batches that were only accumulated are no steps."""
        if self.monitor is not None:
            self.monitor.step(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """A last look."""
        if self.monitor is not None:
            self.monitor.finish()

    def state_dict(self) -> dict[str, Any]:
        """The monitor's state, for the checkpoint."""
        return {} if self.monitor is None else self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The monitor's state, from the checkpoint."""
        self._kept = state_dict or None

    def _monitor(self, trainer: Any, module: Any) -> Monitor:
        total = trainer.estimated_stepping_batches
        return Monitor(
            self._language_model(module),
            self.tokenizer,
            self.watch,
            optimizer=trainer.optimizers[0] if trainer.optimizers else None,
            scheduler=self._scheduler(trainer),
            total_steps=int(total) if total != float("inf") else None,
            log=_LoggersOf(trainer),
            record=self.record,
            on_warning=self.on_warning,
            settings=self.settings,
            state=self._kept,
            active=trainer.is_global_zero,
        )

    @staticmethod
    def _scheduler(trainer: Any) -> Any:
        """The scheduler that steps with the optimizer; None where there is none."""
        return next((c.scheduler for c in trainer.lr_scheduler_configs if c.interval == "step"), None)

    def _language_model(self, module: Any) -> Any:
        if self.model is not None:
            return getattr(module, self.model)
        if hasattr(module, "get_output_embeddings"):
            return module
        found = [child for _, child in module.named_children() if hasattr(child, "get_output_embeddings")]
        if len(found) != 1:
            raise InputError(
                f"PhantomLightningCallback: {len(found)} attributes of {type(module).__name__} are language models; "
                "name one as `model=`"
            )
        return found[0]


class _LoggersOf:
    """Called with each look's values; a logger that fails is left out from then on."""

    def __init__(self, trainer: Any) -> None:
        self._loggers = list(trainer.loggers)

    def __call__(self, values: dict[str, float], step: int) -> None:
        for one in list(self._loggers):
            try:
                one.log_metrics(values, step=step)
            except Exception as error:
                self._loggers.remove(one)
                logger.warning(
                    "phantom_dist: %s takes no row of the monitor and gets none from here on (%s: %s)",
                    type(one).__name__,
                    type(error).__name__,
                    error,
                )
