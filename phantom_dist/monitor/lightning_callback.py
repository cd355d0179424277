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
    """Watches contexts during `trainer.fit`, logs to all of the trainer's loggers and warns of silent failures.

    It never raises. Where it can't watch a model it logs one warning and stops (`monitor.stopped` has the reason).

    Args:
        tokenizer: the language model's tokenizer.
        watch: a contexts file, contexts, or None for those that ship with the package.
        model: the name of the module's attribute that holds the language model; None: the module itself, or the one
            attribute that has an output embedding.
        record: file of the record; None: no record is written.
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
        self._restored: dict[str, Any] | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the first look, or continue from the checkpoint."""
        try:
            self.monitor = self._monitor(trainer, pl_module)
        except Exception as error:  # foreign code: a trainer or a module that raises
            self.monitor = Monitor(pl_module, self.tokenizer, active=False)
            if trainer.is_global_zero:
                self.monitor.stop(error)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Take a look if one is due; batches whose gradients are only accumulated are not steps."""
        if self.monitor is not None:
            self.monitor.step(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the last look."""
        if self.monitor is not None:
            self.monitor.finish()

    def state_dict(self) -> dict[str, Any]:
        """The monitor's state, which Lightning stores in the checkpoint."""
        return {} if self.monitor is None else self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the checkpoint's state until training starts."""
        self._restored = state_dict or None

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
            state=self._restored,
            active=trainer.is_global_zero,
        )

    @staticmethod
    def _scheduler(trainer: Any) -> Any:
        """The scheduler that advances with each optimizer step; None where there is none."""
        return next((c.scheduler for c in trainer.lr_scheduler_configs if c.interval == "step"), None)

    def _language_model(self, module: Any) -> Any:
        if self.model is not None:
            return getattr(module, self.model)
        if hasattr(module, "get_output_embeddings"):
            return module
        models = [child for _, child in module.named_children() if hasattr(child, "get_output_embeddings")]
        if len(models) != 1:
            raise InputError(
                f"PhantomLightningCallback: {len(models)} attributes of {type(module).__name__} are language models; "
                "name one as `model=`"
            )
        return models[0]


class _LoggersOf:
    """Sends each look's values to the trainer's loggers; one that raises gets no further values."""

    def __init__(self, trainer: Any) -> None:
        self._loggers = list(trainer.loggers)

    def __call__(self, values: dict[str, float], step: int) -> None:
        for target in list(self._loggers):
            try:
                target.log_metrics(values, step=step)
            except Exception as error:
                self._loggers.remove(target)
                logger.warning(
                    "phantom_dist: %s failed at a row of the monitor and gets no more of them (%s: %s)",
                    type(target).__name__,
                    type(error).__name__,
                    error,
                )
