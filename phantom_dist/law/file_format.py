"""Encode and decode law files: the one module that knows which field is which JSON key."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.problem_columns import PROBLEM_COLUMNS, problem_columns
from phantom_dist.core.trial import OPTIMIZER_SETTINGS
from phantom_dist.law.calibration_row import CalibrationRow, HeldOutRate
from phantom_dist.law.closure import Closure
from phantom_dist.law.domain import Domain, domain_of
from phantom_dist.law.intervals import Interval
from phantom_dist.law.law import Law, TrainingClassLaw
from phantom_dist.law.law_input import LawInput
from phantom_dist.law.sufficiency_split import SufficiencyCount

Json = dict[str, Any]

FORMAT = 3

KEYS = (
    "problem", *PROBLEM_COLUMNS, "eta_c", "bracket", "weights", "parameters", "width", "effective_steps", "gap_0",
    "kappa", "overlap_0", "log_odds_0", "path_rates", "gap_end", "probe_trial_steps", "beta1", "beta2", "epsilon",
)  # fmt: skip
"""Keys of a new calibration row, in their order; LoRA rows have `adapters` after them, words of several tokens
`pair_kind`."""

SET_KEYS = ("examples_used", "share", "drawn", "reach")
"""Keys of a row with a training set, after the others."""

HELD_OUT = ("held_out_eta_c", "held_out_interval")
"""Keys after the measured ones: the prediction by a law fitted without the row's architecture."""


def keys_of(law_input: LawInput) -> tuple[str, ...]:
    """The keys of a new calibration row."""
    lora = ("adapters",) if law_input.method == "lora" else ()
    several = ("pair_kind",) if law_input.pair_kind != "single" else ()
    return (*KEYS, *lora, *several, *(SET_KEYS if law_input.on_set is not None else ()))


def row_from_json(value: Mapping[str, Any]) -> CalibrationRow:
    """Decode a row of `calibration`."""
    held_out = None
    if value.get("held_out_eta_c") is not None:
        interval = value["held_out_interval"]
        held_out = HeldOutRate(
            eta_c=value["held_out_eta_c"], interval=None if interval is None else (interval[0], interval[1])
        )
    low, high = value["bracket"]
    return CalibrationRow(
        problem=value["problem"],
        **problem_columns(value),
        eta_c=value["eta_c"],
        bracket=(low, high),
        weights=value["weights"],
        width=value["width"],
        law_input=LawInput.from_columns(value),
        probe_trial_steps=value["probe_trial_steps"],
        held_out=held_out,
        keys=_measured_keys(tuple(value)),
    )


@functools.cache
def _measured_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys without `HELD_OUT`; cached, so that the thousands of rows with equal keys share one tuple."""
    return tuple(key for key in keys if key not in HELD_OUT)


def row_to_json(row: CalibrationRow, *, held_out: bool = True) -> Json:
    """Encode a row of `calibration`; `held_out`: include the held-out prediction, if there is one."""
    probed, settings = row.law_input, row.law_input.settings
    own_settings = OPTIMIZER_SETTINGS[row.optimizer]
    values: Json = row.problem_columns() | {
        "problem": row.problem,
        "eta_c": row.eta_c,
        "bracket": list(row.bracket),
        "weights": row.weights,
        "parameters": probed.parameters,
        "width": row.width,
        "effective_steps": probed.effective_steps,
        "gap_0": probed.gap_0,
        "kappa": probed.kappa,
        "overlap_0": probed.overlap_0,
        "log_odds_0": probed.log_odds_0,
        "path_rates": list(probed.path_rates),
        "gap_end": probed.gap_end,
        "probe_trial_steps": row.probe_trial_steps,
        "beta1": settings.beta1 if "beta1" in own_settings else None,
        "beta2": settings.beta2 if "beta2" in own_settings else None,
        "epsilon": settings.epsilon if "epsilon" in own_settings else None,
        "warmup_steps": settings.warmup_steps,
        "adapters": None if settings.adapters is None else settings.adapters.targets,
        "pair_kind": probed.pair_kind,
    }
    if (on_set := probed.on_set) is not None:
        values |= {"share": on_set.share, "drawn": on_set.drawn, "reach": on_set.reach}
        values["examples_used"] = round(row.steps * on_set.batch_size / on_set.epochs)
    own = {key: values[key] for key in row.keys}
    if row.held_out is None or not held_out:
        return own
    interval = row.held_out.interval
    return own | {
        "held_out_eta_c": row.held_out.eta_c,
        "held_out_interval": None if interval is None else list(interval),
    }


def calibration_digest(rows: Iterable[CalibrationRow]) -> str:
    """sha256 of the measurements, without held-out predictions."""
    measured = [row_to_json(row, held_out=False) for row in rows]
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def to_json(law: Law) -> Json:
    """The contents of a law file."""
    return {
        "format": FORMAT,
        "provenance": law.provenance,
        "classes": {name: _class_to_json(item) for name, item in law.classes.items()},
        "lora": [count.to_json() for count in law.lora],
        "calibration": [row_to_json(row) for row in law.rows],
    }


def from_json(value: Any, where: str) -> Law:
    """Decode a law from the contents of its file; `where` names the file in messages.

    Raises:
        InputError: it is no law file, or has a newer format.
    """
    try:
        if value["format"] > FORMAT:
            raise InputError(f"{where}: law of format {value['format']}; this version reads up to {FORMAT}")
        rows = [row_from_json(row) for row in value["calibration"]]
        if value["format"] < FORMAT:
            value = _to_format_3(value, rows)
        return Law(
            {name: _class_from_json(item) for name, item in value["classes"].items()},
            rows,
            value["provenance"],
            [SufficiencyCount.from_json(count) for count in value.get("lora", [])],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: no law file ({type(error).__name__}: {error})") from None


def dumps(law: Law) -> str:
    """The text of a law file: one calibration row per line, so that diffs are readable."""
    head = to_json(law)
    tables = {name: head.pop(name) for name in ("lora", "calibration")}
    text = json.dumps(head, indent=1, allow_nan=False)[:-2]
    for name, rows in tables.items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        text += f',\n "{name}": [\n  {lines}\n ]'
    return text + "\n}\n"


def _class_to_json(law: TrainingClassLaw) -> Json:
    return {
        "closure": {name: value for name, value in asdict(law.closure).items() if name != "ranges" or value},
        "interval": None if law.interval is None else _interval_to_json(law.interval),
        "domain": _domain_to_json(law.domain),
        "models": law.models,
        "rows": law.rows,
    }


def _class_from_json(item: Json) -> TrainingClassLaw:
    closure, interval, domain = item["closure"], item["interval"], item["domain"]
    return TrainingClassLaw(
        closure=Closure(
            constant=closure["constant"],
            groups=tuple(closure["groups"]),
            weights=tuple(closure["weights"]),
            ridge=closure["ridge"],
            ranges=tuple((low, high) for low, high in closure.get("ranges", ())),
        ),
        interval=interval
        and Interval(
            tuple(interval["weights"]), interval["quantile"], interval["by_cell"], interval.get("large", 1.0)
        ),
        domain=Domain(
            {key: (low, high) for key, (low, high) in domain["ranges"].items()},
            {key: tuple(known) for key, known in domain["choices"].items()},
            tuple(domain["parameters"]),
        ),
        models=item["models"],
        rows=item["rows"],
    )


def _interval_to_json(interval: Interval) -> Json:
    """Without `large` where it is 1, as files from before it was kept."""
    return {name: value for name, value in asdict(interval).items() if name != "large" or value != 1}


def _domain_to_json(domain: Domain) -> Json:
    return {
        "ranges": domain.ranges,
        "choices": {name: list(known) for name, known in domain.choices.items()},
        "parameters": list(domain.parameters),
    }


def _to_format_3(value: Json, rows: list[CalibrationRow]) -> Json:
    """Convert earlier formats, whose domains had lists of settings, and format 1 a missing interval as infinite.

    The domain is derived from the rows, and all cells have one quantile.
    """
    classes = {}
    for name, item in value["classes"].items():
        members = [row for row in rows if row.training_class == name]
        interval = item["interval"]
        known = interval is not None and math.isfinite(interval["quantile"])
        classes[name] = {key: item[key] for key in ("closure", "models", "rows")} | {
            "interval": interval | {"by_cell": {}} if known else None,
            "domain": _domain_to_json(domain_of(members, item["closure"]["groups"])),
        }
    return value | {"classes": classes}
