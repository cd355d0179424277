"""`fit`: a law from runs and from what is calibrated already."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from phantom_dist.campaign.calibrate import Observer, calibration_rows, measurement_of
from phantom_dist.campaign.suffices import SETTINGS, lora_rows
from phantom_dist.law.closure import Closure
from phantom_dist.law.file import read_law, write_law
from phantom_dist.law.law import Law, by_class, class_of, fit_class, fit_law
from phantom_dist.law.validation import HELD_OUT, Held, beats_core, leave_one_out, validate, with_held_out

Row = dict[str, Any]


def fit(
    directories: Sequence[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    prior: str | os.PathLike[str] | None = None,
    alone: bool = False,
    lora: Sequence[str | os.PathLike[str]] = (),
    observer: Observer | None = None,
) -> Row:
    """Fit the critical-rate law and write its file.

    The critical rates that the runs measured join those of the prior law; the path of each new one is probed first
    (4 to 6 trial-steps), so its model must be reachable.

    Args:
        directories: run directories.
        out: the file to write.
        prior: law file whose calibration is built on; None for the shipped one.
        alone: build on no prior.
        lora: more run directories, whose LoRA searches only say where LoRA suffices; their critical rates stay out.
        observer: told (done, total) of the paths.

    Raises:
        InputError: a directory holds no run, a model can't be reached, or there are too few models to fit to.
        StoreError: the file can't be written.
    """
    before = None if alone else read_law(prior)
    old = (
        [] if before is None else [{k: v for k, v in row.items() if k not in HELD_OUT} for row in before.rows]
    )
    new, dropped = calibration_rows(directories, {measurement_of(row) for row in old}, observer)
    rows = [*old, *new]
    law = fit_law(rows, _provenance(rows, before, [*directories, *lora], len(new), dropped))
    held: list[Held] = []
    # A class that has no law has too few models to leave one out.
    for name, members in by_class([row for row in rows if class_of(row) in law.classes]).items():
        left_out = leave_one_out(members)
        if not beats_core(left_out):
            law.classes[name] = fit_class(members, Closure())
            left_out = leave_one_out(members, Closure())
        held += left_out
    by_row = {id(h.row): h for h in held}
    known = [with_held_out(row, by_row[id(row)]) if id(row) in by_row else row for row in rows]
    earlier = [] if before is None else list(before.lora)
    found = lora_rows([*directories, *lora], earlier)
    law = dataclasses.replace(law, rows=known, lora=_merged(earlier, found))
    write_law(law, out)
    return {
        "file": os.fspath(out),
        "rows": len(rows),
        "new_rows": len(new),
        "dropped": dropped,
        "models": sorted({row["model"] for row in rows}),
        "classes": {
            name: {
                "constants": item.closure.constants,
                "groups": list(item.closure.groups),
                "models": item.models,
                "rows": item.rows,
            }
            for name, item in law.classes.items()
        },
        "lora": None if law.lora_classes is None else law.lora_classes.verdict,
        "validation": [e for e in validate(held) if e["rule"] == "law"],
    }


def _merged(earlier: Sequence[Any], found: Sequence[Row]) -> list[Any]:
    """What is counted anew replaces what was counted of the same model and settings in no more contexts."""
    merged: dict[tuple[Any, ...], Any] = {}
    for row in (*earlier, *found):
        key = (row["weights"], *(row.get(name) for name in SETTINGS))
        if key not in merged or row["contexts"] >= merged[key]["contexts"]:
            merged[key] = row
    return list(merged.values())


def _provenance(
    rows: Sequence[Any],
    before: Law | None,
    directories: Sequence[str | os.PathLike[str]],
    new: int,
    dropped: dict[str, int],
) -> Row:
    return {
        "calibration_sha256": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest(),
        "weights": {str(row["model"]): row["weights"] for row in rows},
        "prior": None
        if before is None
        else {
            key: before.provenance.get(key)
            for key in ("calibration_sha256", "runs", "new_rows", "dropped", "prior")
        },
        "runs": [os.path.basename(os.fspath(d).rstrip("/")) for d in directories],
        "new_rows": new,
        "dropped": dropped,
        "versions": {
            name: metadata.version(name) for name in ("phantom_dist", "torch", "transformers", "peft")
        },
        "fitted_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
