"""The loop over steps of one batch of lanes that train the same batches of a training set, each at its own rate.

It does to each lane what `engines/single.py` does to one training.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain

import torch
from torch import Tensor, nn

from phantom_dist.core.measurement import Measurement
from phantom_dist.data import Batches
from phantom_dist.engines.lanes.choice import lanes_for
from phantom_dist.engines.lanes.fuse import Positions, batch_logits, fused, lane_logits, packed_logits, padded
from phantom_dist.engines.lanes.isolation import DiffersFromProbe, difference_from_probe, may_pack
from phantom_dist.engines.lanes.kind import Lanes, Shape
from phantom_dist.engines.lanes.lockstep import Lockstep
from phantom_dist.engines.lanes.support import LaneKind
from phantom_dist.engines.lanes.training import ALONE
from phantom_dist.engines.memory import MemoryWatch
from phantom_dist.engines.optimizers import clip_scale
from phantom_dist.engines.recorder import Geometry, Recorder
from phantom_dist.engines.training_sets import padded as padded_batch
from phantom_dist.engines.watch import Watch
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.instruments.word_prompts import WordPrompts
from phantom_dist.models.load import LoadedModel


def train_on_set(
    loaded: LoadedModel,
    watches: Sequence[Watch],
    batches: Batches,
    kind: LaneKind,
    plugin_instruments: Sequence[Named] = (),
    lockstep: Lockstep = ALONE,
) -> None:
    """Train several trainings of one training configuration, each as a lane, and add their measurements to `watches`.

    As in `training.train`, lanes with the same adapters start as one row, and a lane that ends leaves the batch.

    Raises:
        NotFusable: the model has a module with parameters that no leaf supports; nothing was trained.
        DiffersFromProbe: at step 0 a prompt measures something else than in the probe; nothing was trained.
        OutOfMemory: hardly any memory is free.
    """
    model, device = loaded.model, loaded.model.device
    drops = any(watch.problem.lora is not None and watch.problem.lora.dropout for watch in watches)
    packs = may_pack(model) and not drops
    rows = _starting_rows(watches)
    problem, tokens = watches[0].problem, watches[0].tokens
    words = WordPrompts(tokens)
    ids_PK, last_P = padded(words.prompts, device)
    shape = Shape(
        first=len(rows),
        lanes=len(watches),
        steps=problem.steps,
        tokens=ids_PK.shape[1],
        in_batches=True,
    )
    lanes = lanes_for(loaded, [row[0].problem for row in rows], shape, kind)
    with fused(model, lanes) as readout:
        geometry = WatchedGeometry(lanes.geometry(), len(tokens))
        recorder = Recorder(geometry, [*tokens] * len(rows), device, plugin_instruments)
        memory = MemoryWatch(device)
        pairs = [token for t in tokens for token in (t.target, t.competitor)]
        prompts = (token for prompt in words.prompts for token in prompt)
        steps = (s.ids for step in range(problem.steps) for s in batches[step].sequences)
        lockstep.begin(chain(pairs, prompts, chain.from_iterable(steps)), pairs if geometry.frozen else ())
        for step in range(problem.steps + 1):
            memory.look(len(rows))
            if watches[0].is_due(step):
                lanes.rows = len(words.prompts)
                lanes.begin_step(step, learns=False)
                with torch.no_grad():
                    logits_RV = lane_logits(
                        model, readout, ids_PK.repeat(len(rows), 1), last_P.repeat(len(rows))
                    )
                logits_LWV, rests_LW3 = words.split(logits_RV.unflatten(0, (len(rows), -1)))
                measurements = recorder.measure(
                    step, logits_LWV.flatten(0, 1), None if rests_LW3 is None else rests_LW3.flatten(0, 1)
                )
                if step == 0:
                    difference = _difference(rows, measurements, logits_RV)
                    if lockstep.any(difference is not None):
                        raise DiffersFromProbe(
                            difference or "a prompt of another rank differs from its probe"
                        )
                for place, row in enumerate(rows):
                    for watch in row:
                        watch.add(measurements[place * len(tokens) : (place + 1) * len(tokens)])
            staying = [place for place, row in enumerate(rows) if not row[0].ended]
            if not lockstep.any(bool(staying)):
                return
            lanes.begin_step(step, learns=True)
            losses = _backward(model, readout, lanes, batches, step, len(rows), packs=packs)
            if not staying:
                following = range(step + 1, problem.steps + 1)
                lockstep.accompany(
                    _passes(batches, step), ((watches[0].is_due(s), _passes(batches, s)) for s in following)
                )
                return
            norms = lanes.squared_gradient_norms().sqrt().tolist()
            for place in staying:
                for watch in rows[place]:
                    watch.stepped(step, norms[place], losses[place])
            before = len(rows)
            if step == 0:  # from here on every lane has a row of its own
                staying = [place for place in staying for _ in rows[place]]
                rows = [[watch] for row in rows for watch in row if not watch.ended]
            else:
                rows = [rows[place] for place in staying]
            if step == 0 or len(staying) < before:
                lanes.select(staying)
                recorder.select([p * len(tokens) + word for p in staying for word in range(len(tokens))])
            clipping = [row[0].problem.gradient_clipping for row in rows]
            if any(largest is not None for largest in clipping):
                lanes.clip([clip_scale(norms[p], c) for p, c in zip(staying, clipping, strict=True)])
            factors = [row[0].problem.schedule.factors(problem.steps)[step] for row in rows]
            lanes.update([row[0].learning_rate * f for row, f in zip(rows, factors, strict=True)])


def _backward(
    model: nn.Module,
    readout: Positions,
    lanes: Lanes,
    batches: Batches,
    step: int,
    count: int,
    *,
    packs: bool,
) -> list[float]:
    """Take the gradient of every lane's loss on the batch of a step; returns the losses.

    `packs`: without padding (`isolation.may_pack`). Dropout is drawn for padded batches, as the reference draws it.
    """
    batch = batches[step]
    sums_L = torch.zeros(count, dtype=torch.float64)
    for number, part in enumerate(batch.passes(batches.training.accumulate)):
        packed = packs and packing_pays([len(s.ids) for s in part.sequences], lanes.readout.shape[1])
        lanes.rows = 1 if packed else len(part.sequences)
        with nullcontext() if lanes.dropout is None else lanes.dropout.drawn(step, number):
            if packed:
                logits_LnV, labels_n = packed_logits(model, readout, part, count, lanes.readout.device)
            else:
                logits_LnV, labels_n = batch_logits(
                    model, readout, padded_batch(part, lanes.readout.device), count
                )
        losses_Ln = nn.functional.cross_entropy(
            logits_LnV.float().flatten(0, 1), labels_n.repeat(count), reduction="none"
        ).unflatten(0, (count, -1))
        losses_L = losses_Ln.sum(dim=1) / batch.counted
        losses_L.sum().backward()
        sums_L += losses_L.detach().double().cpu()
    losses: list[float] = sums_L.tolist()
    return losses


def _passes(batches: Batches, step: int) -> int:
    return len(list(batches[step].passes(batches.training.accumulate)))


def packing_pays(lengths: Sequence[int], width: int) -> bool:
    """Whether the products with matrices that padding would take are more than attention takes beyond each sequence.

    A token costs some 24 width² operations a layer in matrices, and 4 width for each token of its row in attention.
    """
    longest, tokens = max(lengths), sum(lengths)
    padding = len(lengths) * longest - tokens
    return 24 * width**2 * padding > 4 * width * (tokens**2 - len(lengths) * longest**2)


def _starting_rows(watches: Sequence[Watch]) -> list[list[Watch]]:
    """The trainings grouped by identical start."""
    rows: dict[object, list[Watch]] = {}
    for watch in watches:
        rows.setdefault(watch.problem.adapters, []).append(watch)
    return list(rows.values())


def _difference(
    rows: Sequence[Sequence[Watch]], measurements: Sequence[Measurement], logits_RV: Tensor
) -> str | None:
    """How a row's first measurements differ from the probes of its contexts; None if they don't."""
    probed = [trial.measured.pair for row in rows for trial in row[0].trials]
    return difference_from_probe(probed, measurements, logits_RV)


class WatchedGeometry:
    """The geometry of lanes that each watch several contexts: as many rows for each lane, one after another."""

    def __init__(self, geometry: Geometry, watched: int) -> None:
        self._geometry, self._watched = geometry, watched
        self.frozen = geometry.frozen

    def watch(self, pairs_L2: Tensor) -> None:
        """See `Geometry`."""
        self._geometry.watch(pairs_L2)

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `Geometry`."""
        if self.frozen:  # all lanes share it
            return self._geometry.overlap_rows(pairs_L2, lanes)
        own = (row // self._watched for row in range(lanes.start, lanes.start + len(pairs_L2)))
        parts = [
            self._geometry.overlap_rows(pair_2[None], slice(lane, lane + 1))
            for lane, pair_2 in zip(own, pairs_L2, strict=True)
        ]
        return torch.cat(parts)

    def drift(self) -> Sequence[float]:
        """See `Geometry`."""
        return [drift for drift in self._geometry.drift() for _ in range(self._watched)]

    def hash(self) -> str:
        """See `Geometry`."""
        return self._geometry.hash()
