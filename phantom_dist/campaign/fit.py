"""`fit`: a law from runs and from what is calibrated already."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from phantom_dist.campaign.calibrate import Observer, calibration_rows
from phantom_dist.law.file import read_law, write_law
from phantom_dist.law.law import Law, class_of, fit_law
from phantom_dist.law.validation import validate

Row = dict[str, Any]


def fit(
    directories: Sequence[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    prior: str | os.PathLike[str] | None = None,
    alone: bool = False,
    observer: Observer | None = None,
) -> Row:
    """Fit the critical-rate law and write its file.

    The critical rates that the runs measured join those of the prior law; the path of each new one is probed first
    (4 or 5 trial-steps), so its model must be reachable.

    Args:
        directories: run directories.
        out: the file to write.
        prior: law file whose calibration is built on; None for the shipped one.
        alone: build on no prior.
        observer: told (done, total) of the paths.

    Raises:
        InputError: a directory holds no run, a model can't be reached, or there are too few models to fit to.
        StoreError: the file can't be written.
    """
    before = None if alone else read_law(prior)
    old: list[Any] = [] if before is None else list(before.rows)
    new, dropped = calibration_rows(directories, {str(row["problem"]) for row in old}, observer)
    rows = [*old, *new]
    law = fit_law(rows, _provenance(rows, before, directories, len(new), dropped))
    write_law(law, out)
    # A class that has no law has too few models to leave one out.
    fitted = [row for row in rows if class_of(row) in law.classes]
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
        "validation": [e for e in validate(fitted) if e["rule"] == "law"],
    }


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
        "prior_sha256": None if before is None else before.provenance.get("calibration_sha256"),
        "runs": [os.path.basename(os.fspath(d).rstrip("/")) for d in directories],
        "new_rows": new,
        "dropped": dropped,
        "versions": {
            name: metadata.version(name) for name in ("phantom_dist", "torch", "transformers", "peft")
        },
        "fitted_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
