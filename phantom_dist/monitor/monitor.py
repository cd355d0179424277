"""The monitor: measures watched contexts while somebody trains the model, and warns once of each silent failure.

The callbacks for transformers and Lightning are thin adapters around it. A training loop of your own calls it directly:

    monitor = Monitor(model, tokenizer, watch="contexts.yaml", optimizer=optimizer, total_steps=1000)
    for n, batch in enumerate(batches, start=1):
        ...                       # forward, backward, optimizer.step()
        monitor.step(n)
    monitor.finish()
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from phantom_dist.core.errors import InputError, PhantomDistError, StoreError
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context
from phantom_dist.instruments.word_prompts import WordPrompts
from phantom_dist.monitor.batch_independence import check_batch_independence, is_due
from phantom_dist.monitor.learning_rate import Pace
from phantom_dist.monitor.look import Reading, logits_of, read
from phantom_dist.monitor.pacing import Clock, Pacing
from phantom_dist.monitor.peft_method import text_positions
from phantom_dist.monitor.rate import LawComparison, carries_hooks, compare_with_law
from phantom_dist.monitor.readout_geometry import ReadoutGeometry, readout_module
from phantom_dist.monitor.schedule_ahead import ScheduleAhead
from phantom_dist.monitor.settings import MonitorSettings
from phantom_dist.monitor.undisturbed import undisturbed
from phantom_dist.monitor.verdict import Finding, LookHistory, TrainingProgress
from phantom_dist.monitor.warning import SilentFailure
from phantom_dist.monitor.watch import Watch, Watched, choose, contexts_of
from phantom_dist.monitor.whole_model import check_whole
from phantom_dist.monitor.wrappers import is_first_process, unwrapped, wait_for_kernels
from phantom_dist.traces import monitor_log

logger = logging.getLogger("phantom_dist.monitor")

Log = Callable[[dict[str, float], int], None]

LOGGED = ("loss", "logit_gap", "signal", "drag", "order_parameter")
"""Quantities logged as `phantom/<context>/<quantity>`; `core.quantities` has their names, symbols and units."""

STATE = 1
"""Version of the state that a checkpoint stores."""

KAPPA_COST = 4.0
"""Expected time of measuring κ, in looks: it takes two backward passes, but of one context only."""


class Monitor:
    """Measures a model's watched contexts during its training and changes nothing in the model.

    The constructor takes the first look, so the model must be untouched, or `state` must come from a checkpoint of the
    same training. In distributed training only the first process looks; the monitors of the others do nothing.

    Neither the constructor nor any method raises. Where the monitor can't watch a model it logs one warning of
    `phantom_dist.monitor`, stores the reason in `stopped`, and does nothing from then on.

    Args:
        model: a causal language model of transformers, also wrapped by peft, DDP or torch.compile.
        tokenizer: its tokenizer.
        watch: a contexts file, contexts, or None for the near-synonyms that ship with the package; or a function that
            returns one of these, whose time counts as the monitor's.
        optimizer: source of the learning rate. Without an optimizer, pass each step's rate to `step`, or none. Where
            no rate can be read, the monitor counts steps instead.
        scheduler: the learning rate's scheduler. Of a `LambdaLR`, as transformers' schedules are, the monitor computes
            the remaining rates; with any other it assumes that the rate stays as it is.
        total_steps: optimizer steps of the whole training; without it the monitor assumes that as many steps follow as
            were taken.
        log: called with (values, step) at each look.
        record: a JSON-lines file to which the monitor appends looks and warnings (`open_monitor_log` reads it).
        on_warning: called with each `SilentFailure`, after it was logged as a warning of `phantom_dist.monitor`.
        settings: interval, budget and thresholds.
        state: `state_dict()` of the training that is resumed; None or empty where nothing is resumed.
        active: whether this process looks; None: only the first process of the default group does.
        clock: returns seconds, from which the budget is computed.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        watch: Watch | Callable[[], Watch] = None,
        *,
        optimizer: Any = None,
        scheduler: Any = None,
        total_steps: int | None = None,
        log: Log | None = None,
        record: str | os.PathLike[str] | None = None,
        on_warning: Callable[[SilentFailure], None] | None = None,
        settings: MonitorSettings = MonitorSettings(),  # noqa: B008 - frozen
        state: Mapping[str, Any] | None = None,
        active: bool | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.model = model
        self.settings = settings
        self.watched: list[Watched] = []
        self.refused: dict[str, str] = {}
        self.warnings: list[SilentFailure] = []
        self.stopped: str | None = None
        self.total_steps = total_steps
        self.pacing = Pacing(1, 1.0, time.perf_counter)  # a placeholder until `_begin`
        self._clock = clock
        self._active = active is not False
        self._optimizer, self._log, self._record, self._on_warning = optimizer, log, record, on_warning
        self._histories: dict[str, LookHistory] = {}
        self._over = False
        self._step, self._tau, self._ahead_rate, self._rising = 0, 0.0, 0.0, False
        if self._active:
            self._guarded(lambda: self._begin(tokenizer, watch, scheduler, state, active))

    def _begin(
        self,
        tokenizer: Any,
        watch: Watch | Callable[[], Watch],
        scheduler: Any,
        state: Mapping[str, Any] | None,
        active: bool | None,
    ) -> None:
        self._active = is_first_process() if active is None else active
        if not self._active:
            return
        self.model = unwrapped(self.model)
        every = self.settings.every or (10 if self.total_steps is None else max(1, self.total_steps // 50))
        self.pacing = Pacing(every, self.settings.budget, self._clock)
        logits_PV = None
        with self.pacing.working():
            readout_module(self.model)
            check_whole(self.model)
            self._pace = Pace(self._optimizer)
            self._ahead_rate = self._pace.ahead
            if not state:
                _check_tokenizer(tokenizer)
                logits_PV = self._choose(tokenizer, contexts_of(watch() if callable(watch) else watch))
            else:
                self._restore(state)
            self._schedule = ScheduleAhead(None if self._pace.counts_steps else scheduler, self.total_steps)
            self._geometry = ReadoutGeometry(self.model, [w.tokens for w in self.watched])
            self._write([self._start_row()])
        if not state and self.watched:
            self._look(logits_PV)

    @property
    def cost_share(self) -> float:
        """The monitor's own time so far, as a share of the time since it started."""
        return self.pacing.share if self._active else 0.0

    def step(self, n: int, learning_rate: float | None = None) -> None:
        """Call after each optimizer step: `n` steps were taken so far; `learning_rate` where no optimizer was given.

        Steps may be skipped; a step that was already reported is ignored.
        """
        if self._active:
            self._guarded(lambda: self._advance(n, learning_rate))

    def finish(self) -> None:
        """Call when training is over: takes a last look if it is missing and the budget allows, and ends the record."""
        if self._active:
            self._guarded(self._last_look)
            self._guarded(self._end, even_if_stopped=True)

    def stop(self, reason: str | Exception) -> None:
        """Stop watching; the first call logs the reason as a warning, later ones do nothing."""
        if self.stopped is not None:
            return
        unexpected = None if isinstance(reason, str | PhantomDistError) else reason
        self.stopped = str(reason) if unexpected is None else f"{type(reason).__name__}: {reason}"
        logger.warning(
            "phantom_dist: the monitor stops at step %d, training goes on: %s",
            self._step,
            self.stopped,
            exc_info=unexpected,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must store, as JSON values: contexts, all looks, and the warnings already given.

        Empty where nothing is watched.
        """
        if not self.watched:
            return {}
        return {
            "version": STATE,
            "step": self._step,
            "tau": self._tau,
            "learning_rate": self._pace.rate,
            "contexts": [
                {
                    "context": w.context.model_dump(),
                    "tokens": w.tokens.model_dump(mode="json"),
                    "steps": (history := self._histories[w.context.id]).steps,
                    "taus": history.taus,
                    "readings": [asdict(reading) for reading in history.readings],
                    "agreeing": history.agreeing,
                    "said": sorted(history.warned),
                }
                for w in self.watched
            ],
        }

    def _choose(self, tokenizer: Any, contexts: Sequence[Context]) -> Tensor | None:
        with undisturbed(self.model):
            self.watched, self.refused, logits_PV = choose(
                self.model, tokenizer, contexts, self.settings.thresholds
            )
        self._histories = {w.context.id: LookHistory() for w in self.watched}
        self._log_refused()
        return logits_PV

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != STATE:
            raise InputError(
                f"monitor: state of version {state.get('version')!r}; this version reads {STATE}"
            )
        try:
            self._read_state(state)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"monitor: the checkpoint's state can't be read ({type(error).__name__}: {error})"
            ) from None
        if self._last_look_step is not None:
            self.pacing.resume(self._last_look_step)

    def _read_state(self, state: Mapping[str, Any]) -> None:
        self._step, self._tau = state["step"], state["tau"]
        self._ahead_rate = self._pace.resume(state["learning_rate"])
        for entry in state["contexts"]:
            context = Context(**entry["context"])
            self.watched.append(Watched(context=context, tokens=Tokens(**entry["tokens"])))
            self._histories[context.id] = LookHistory(
                steps=list(entry["steps"]),
                taus=list(entry["taus"]),
                readings=[Reading(**reading) for reading in entry["readings"]],
                agreeing=entry["agreeing"],
                warned=set(entry["said"]),
            )

    @property
    def _last_look_step(self) -> int | None:
        histories = list(self._histories.values())
        return histories[0].steps[-1] if histories and histories[0].steps else None

    def _is_watching(self) -> bool:
        return self.stopped is None and bool(self.watched)

    def _guarded(self, action: Callable[[], None], *, even_if_stopped: bool = False) -> None:
        """Run an action of the monitor; an exception stops the monitor instead of ending the user's training."""
        if self.stopped is not None and not even_if_stopped:
            return
        try:
            action()
        except Exception as error:
            self.stop(error)

    def _advance(self, n: int, learning_rate: float | None) -> None:
        if n <= self._step:
            return
        taken, ahead = self._pace.advance(learning_rate)
        self._tau += taken * (n - self._step)
        self._rising = ahead > self._ahead_rate and self._step > 0
        self._step, self._ahead_rate = n, ahead
        if self.watched and self.pacing.due(n):
            self._look()

    def _look(self, logits_PV: Tensor | None = None) -> None:
        wait_for_kernels(self.model)
        with self.pacing.looking(self._step):
            with undisturbed(self.model):
                pairs = [w.tokens for w in self.watched]
                prompts = WordPrompts(pairs).prompts
                if logits_PV is None:
                    logits_PV = logits_of(text_positions(self.model), prompts)
                if is_due(self.pacing.looks):
                    check_batch_independence(self.model, prompts, logits_PV)
                readings = read(self.model, pairs, self._geometry, logits_PV)
            self._publish(readings)
            findings = self._judge(readings)
        self._warn_of(findings)

    def _last_look(self) -> None:
        self._over = True
        if not self.watched:
            return
        if self._last_look_step == self._step:
            self._warn_of(self._judge())
        elif self.pacing.affords(1):
            self._look()

    def _end(self) -> None:
        end = {"row": "end", "step": self._step, "looks": self.pacing.looks, "cost_share": self.cost_share}
        self._write([end])
        if self._is_watching() and self.pacing.looks < self.settings.fewest_looks:
            logger.warning(
                "phantom_dist: only %d looks fitted into the monitor's budget, %.3g of the training time, too few to "
                "judge it; allow more by MonitorSettings(budget=...)",
                self.pacing.looks,
                self.settings.budget,
            )

    def _publish(self, readings: list[Reading]) -> None:
        at = {"step": self._step, "learning_rate": self._pace.rate, "cost_share": self.cost_share}
        self._write(
            {"row": "look", "context": w.context.id, **at, **asdict(reading)}
            for w, reading in zip(self.watched, readings, strict=True)
        )
        if self._log is not None:
            values = {
                f"phantom/{w.context.id}/{name}": getattr(reading, name)
                for w, reading in zip(self.watched, readings, strict=True)
                for name in LOGGED
            }
            self._log(values | {"phantom/cost_share": self.cost_share}, self._step)

    def _judge(self, readings: list[Reading] | None = None) -> list[tuple[Watched, Finding]]:
        """The findings of these readings; without readings, judge the last ones again now that training is over."""
        now = TrainingProgress(
            step=self._step,
            total=self.total_steps,
            tau=self._tau,
            left=self._tau if self.total_steps is None else self._schedule.left(self._step, self._ahead_rate),
            rising=self._rising,
            over=self._over or self._step == self.total_steps,
        )
        findings = []
        for place, w in enumerate(self.watched):
            history = self._histories[w.context.id]
            findings.append(
                history.judge(now, self.settings)
                if readings is None
                else history.add(readings[place], now, self.settings)
            )
        return [
            (w, finding) for w, finding in zip(self.watched, findings, strict=True) if finding is not None
        ]

    def _warn_of(self, findings: list[tuple[Watched, Finding]]) -> None:
        with self.pacing.working():
            for watched, finding in findings:
                self._warn(watched, finding)

    def _warn(self, watched: Watched, finding: Finding) -> None:
        law = None if finding.kind == "diverged" else self._compare_with_law(watched)
        failure = SilentFailure(watched=watched, finding=finding, learning_rate=self._pace.rate, law=law)
        self.warnings.append(failure)
        logger.warning("%s", failure.message)
        self._write([failure.row()])
        if self._on_warning is not None:
            self._on_warning(failure)

    def _compare_with_law(self, watched: Watched) -> LawComparison | None:
        """The comparison with the law, or None: a warning is given without it as well.

        None where the budget has no room, where the monitor counts steps instead of learning rates, and where the
        backward passes would call hooks of the user.
        """
        if self.total_steps is None or self._pace.rate is None or not self.pacing.affords(KAPPA_COST):
            return None
        left = self._schedule.left(self._step, self._pace.rate)
        try:
            if carries_hooks(self.model):
                return None
            return compare_with_law(self.model, self._optimizer, watched.tokens, left)
        except Exception as error:  # the gradients don't fit in memory, or the model has none
            logger.info("phantom_dist: no comparison with the law: %s", error)
            return None

    def _log_refused(self) -> None:
        if self.refused:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.refused.items())
            logger.warning(
                "phantom_dist: %d of %d contexts can't be watched on this model:%s",
                len(self.refused),
                len(self.refused) + len(self.watched),
                reasons,
            )
        if not self.watched:
            logger.warning("phantom_dist: nothing is left to watch: no context can be watched on this model")

    def _start_row(self) -> dict[str, Any]:
        return {
            "row": "start",
            "format": monitor_log.FORMAT,
            "step": self._step,
            "resumed": self._last_look_step is not None,
            "total_steps": self.total_steps,
            "model": type(self.model).__name__,
            "contexts": [
                w.context.model_dump()
                | {"target": w.tokens.target_text, "competitor": w.tokens.competitor_text}
                for w in self.watched
            ],
            "refused": self.refused,
            "settings": self.settings.model_dump(),
        }

    def _write(self, rows: Any) -> None:
        if self._record is None:
            return
        try:
            monitor_log.append(self._record, rows)
        except StoreError as error:
            self._record = None
            logger.warning(
                "phantom_dist: the monitor goes on without its record, which can't be written: %s", error
            )


def _check_tokenizer(tokenizer: Any) -> None:
    if not (hasattr(tokenizer, "encode") and hasattr(tokenizer, "decode")):
        raise InputError(
            f"monitor: {type(tokenizer).__name__} is no tokenizer (it lacks `encode` or `decode`); pass one as "
            "`tokenizer=`"
        )
