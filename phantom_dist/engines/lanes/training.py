"""The loop over steps of one batch of lanes; it does to each lane what `engines/single.py` does to one trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import nn

from phantom_dist.core.measurement import Measurement, Trial
from phantom_dist.core.tokens import Tokens
from phantom_dist.engines.lanes.choice import lanes_for
from phantom_dist.engines.lanes.fuse import fused, lane_logits, padded
from phantom_dist.engines.lanes.isolation import DiffersFromProbe, difference_from_probe
from phantom_dist.engines.lanes.kind import Shape
from phantom_dist.engines.lanes.lockstep import Alone, Lockstep
from phantom_dist.engines.lanes.support import LaneKind
from phantom_dist.engines.memory import MemoryWatch
from phantom_dist.engines.optimizers import clip_scale
from phantom_dist.engines.recorder import Recorder, with_gradient_norm
from phantom_dist.engines.watch import outcome_is_decided, why_early
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.models.load import LoadedModel

ALONE = Alone()


@dataclass
class Lane:
    """One trial in training, and its trace so far."""

    trial: Trial
    trace: list[Measurement] = field(default_factory=list)

    @property
    def tokens(self) -> Tokens:
        """The trial's context as the model reads it."""
        return self.trial.measured.tokens

    @property
    def ended(self) -> bool:
        """True after the last step, once a measurement is NaN or Inf, or, with early stopping, it is decided."""
        problem, trace = self.trial.problem, self.trace
        if len(trace) > problem.steps or not trace[-1].finite:
            return True
        return problem.early_stopping and outcome_is_decided(problem, trace)

    @property
    def stopped_early(self) -> str | None:
        """Why the trace has fewer than T + 1 rows; None if it hasn't."""
        return why_early(self.trace, self.trial.problem.steps)

    @property
    def rate(self) -> float:
        """The learning rate of the step that follows the last measurement."""
        problem = self.trial.problem
        return self.trial.learning_rate * problem.schedule.factors(problem.steps)[len(self.trace) - 1]


def train(
    loaded: LoadedModel,
    trials: Sequence[Trial],
    kind: LaneKind,
    plugin_instruments: Sequence[Named] = (),
    lockstep: Lockstep = ALONE,
) -> list[Lane]:
    """Train trials of one training configuration as lanes of a batch, of the given kind.

    Lanes of one context (under LoRA, with the same adapters) start as one row: at step 0 they have the same weights,
    and so the same gradient, whatever their learning rates. A lane that ends leaves the batch. `plugin_instruments` as
    in the reference engine. `lockstep`: the processes that train other lanes of the batch on the same sharded model.

    Raises:
        NotFusable: the model has a module with parameters that no leaf supports; nothing was trained.
        DiffersFromProbe: at step 0 a lane measures something else than the probe; nothing was trained.
        OutOfMemory: hardly any memory is free.
    """
    device = loaded.model.device
    rows = _starting_rows(trials)
    tokens = [row[0].tokens for row in rows]
    ids_LK, last_L = padded([t.prompt for t in tokens], device)
    target_L = torch.tensor([t.target for t in tokens], device=device)
    steps = max(trial.problem.steps for trial in trials)
    shape = Shape(first=len(rows), lanes=len(trials), steps=steps, tokens=ids_LK.shape[1])
    lanes = lanes_for(loaded, [row[0].trial.problem for row in rows], shape, kind)
    all_lanes = [lane for row in rows for lane in row]
    with fused(loaded.model, lanes) as readout:
        geometry = lanes.geometry()
        recorder = Recorder(geometry, tokens, device, plugin_instruments)
        memory = MemoryWatch(device)
        pairs = [token for t in tokens for token in (t.target, t.competitor)]
        read = (token for t in tokens for token in t.prompt)
        lockstep.begin(chain(pairs, read), pairs if geometry.frozen else ())
        for step in range(steps + 1):
            memory.look(len(rows))
            lanes.begin_step(step, learns=step < steps)
            with torch.set_grad_enabled(step < steps):
                logits_LV = lane_logits(loaded.model, readout, ids_LK, last_L)
            measurements = recorder.measure(step, logits_LV)
            if step == 0:
                difference = difference_from_probe(
                    [row[0].trial.measured.pair for row in rows], measurements, logits_LV
                )
                if lockstep.any(difference is not None):
                    raise DiffersFromProbe(difference or "a prompt of another rank differs from its probe")
            for row, measurement in zip(rows, measurements, strict=True):
                for lane in row:
                    lane.trace.append(measurement)
            staying = [place for place, row in enumerate(rows) if not row[0].ended]
            if not lockstep.any(bool(staying)):
                break
            nn.functional.cross_entropy(logits_LV.float(), target_L, reduction="sum").backward()
            if not staying:
                lockstep.accompany(1, [(True, 1)] * (steps - step))
                break
            norms = lanes.squared_gradient_norms().sqrt().tolist()
            for place in staying:
                for lane in rows[place]:
                    lane.trace[-1] = with_gradient_norm(lane.trace[-1], norms[place])
            if step == 0:  # from here on every lane has a row of its own
                staying = [place for place in staying for _ in rows[place]]
                rows = [[lane] for lane in all_lanes if not lane.ended]
            else:
                rows = [rows[place] for place in staying]
            if step == 0 or len(staying) < len(target_L):
                index_L = torch.tensor(staying, device=device)
                ids_LK, last_L, target_L = ids_LK[index_L], last_L[index_L], target_L[index_L]
                lanes.select(staying)
                recorder.select(staying)
            clipping = [row[0].trial.problem.gradient_clipping for row in rows]
            if any(largest is not None for largest in clipping):
                lanes.clip([clip_scale(norms[p], c) for p, c in zip(staying, clipping, strict=True)])
            lanes.update([row[0].rate for row in rows])
    return all_lanes


def _starting_rows(trials: Sequence[Trial]) -> list[list[Lane]]:
    """The lanes grouped by identical start, in the order of each group's first trial."""
    rows: dict[object, list[Lane]] = {}
    for trial in trials:
        lane = Lane(trial)
        start = (lane.tokens.prompt, lane.tokens.target, lane.tokens.competitor, trial.problem.adapters)
        rows.setdefault(start, []).append(lane)
    return list(rows.values())
