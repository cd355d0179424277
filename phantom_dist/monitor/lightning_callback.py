"""The monitor for Lightning: `Trainer(callbacks=[PhantomLightningCallback(tokenizer, watch=…)])`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lightning.pytorch.callbacks import Callback

from phantom_dist.core.errors import InputError
from phantom_dist.monitor.monitor import Monitor
from phantom_dist.monitor.settings import MonitorSettings
from phantom_dist.monitor.warning import SilentFailure
from phantom_dist.monitor.watch import Watch


class PhantomLightningCallback(Callback):  # type: ignore[misc]
    """Watches contexts during `trainer.fit`, logs to all of its loggers and warns of silent failures.

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
        total = trainer.estimated_stepping_batches

        def log(values: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

        self.monitor = Monitor(
            self._language_model(pl_module),
            self.tokenizer,
            self.watch,
            optimizer=trainer.optimizers[0] if trainer.optimizers else None,
            scheduler=self._scheduler(trainer),
            total_steps=int(total) if total != float("inf") else None,
            log=log,
            record=self.record,
            on_warning=self.on_warning,
            settings=self.settings,
            state=self._kept,
            active=trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Look if it is time; batches that were only accumulated are no steps."""
        assert self.monitor is not None
        self.monitor.step(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """A last look."""
        assert self.monitor is not None
        self.monitor.finish()

    def state_dict(self) -> dict[str, Any]:
        """The monitor's state, for the checkpoint."""
        return {} if self.monitor is None else self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The monitor's state, from the checkpoint."""
        self._kept = state_dict or None

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
