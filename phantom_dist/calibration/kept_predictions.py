"""Predictions that are kept in a file as they are made: after an interruption the same command goes on from there.

The file is one JSON object, that of `predict`, with more beside it: `asked`, the conditions that all predictions share
(law, model by its weights, training), and `contexts` (of each prediction, in the same order). It is replaced whole, so
it can be read at any moment. A file with other conditions is refused: its numbers would stand among these unmarked.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from phantom_dist.calibration.predicted_rate import PredictedRate
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.trial import Context, Problem
from phantom_dist.law.file_format import dumps
from phantom_dist.law.law import Law
from phantom_dist.models import LoadedModel
from phantom_dist.traces import Store

Json = dict[str, Any]

FORMAT = 1

EVERY_S = 1.0
"""The file is written no more often than this while contexts follow one another quickly."""

SETTINGS = ("method", "lora", "optimizer", "schedule", "steps", "seed", "precision", "thresholds")


class KeptPredictions:
    """The predictions of one file.

    Args:
        out: the file, a local path or an object-store URI; made where there is none.

    Raises:
        InputError: the file holds something else, or can't be written.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.file = os.fspath(out)
        folder, _, name = (self.file if "://" in self.file else str(Path(self.file).absolute())).rpartition(
            "/"
        )
        self._store, self._name = Store(folder), name
        self._conditions: Json | None = None
        self._kept: dict[str, tuple[Json, PredictedRate]] = {}  # by its key: a context and its prediction
        self._unwritten = False
        try:
            self._read(self._store.get(name))
        except FileNotFoundError:
            self._write()
        except StoreError as error:
            raise InputError(f"--out {self.file}: {error}") from None
        self._written_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._kept)

    def require(self, conditions: Json) -> None:
        """Set the conditions; predictions that are in the file must have been made under the same.

        Raises:
            InputError: they were made under others.
        """
        before = self._conditions
        if before is not None and self._kept:
            other = [f"{key} {before.get(key)}" for key in conditions if before.get(key) != conditions[key]]
            if other:
                raise InputError(
                    f"--out {self.file}: it holds predictions for {', '.join(other)}, which is not what is asked "
                    "for now; choose another name, or remove the file."
                )
        self._conditions = conditions

    def of(self, context: Context) -> PredictedRate | None:
        """The prediction of a context, if it is there."""
        entry = self._kept.get(_key(context.model_dump()))
        return None if entry is None else entry[1]

    def add(self, context: Context, prediction: PredictedRate) -> None:
        """Keep a prediction; it is in the file within `EVERY_S` where others follow, and after `close`."""
        value = context.model_dump()
        self._kept[_key(value)] = (value, prediction)
        self._unwritten = True
        if time.monotonic() - self._written_at > EVERY_S:
            self._write()

    def complete(self, lora: Json) -> None:
        """Every prediction is made; `lora`: the object of that name in the JSON of `predict`."""
        self._write(complete=True, lora=lora)

    def close(self) -> None:
        """Write what is not in the file yet.

        Raises:
            StoreError: the disk is full, or the file can't be written; what it contained before is still there.
        """
        if self._unwritten:
            self._write()

    def _read(self, data: bytes) -> None:
        try:
            content = json.loads(data)
            pairs = zip(content["contexts"], content["predictions"], strict=True)
            self._kept = {_key(context): (context, PredictedRate.from_json(made)) for context, made in pairs}
            self._conditions = content["asked"]
            known = content["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise InputError(
                f"--out {self.file}: the file is there and holds no predictions of phantom-dist; choose another name."
            )

    def _write(self, *, complete: bool = False, lora: Json | None = None) -> None:
        content = {
            "format": FORMAT,
            "asked": self._conditions,
            "complete": complete,
            "predictions": [prediction.to_json() for _, prediction in self._kept.values()],
            "contexts": [context for context, _ in self._kept.values()],
            "lora": lora,
        }
        text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, indent=1)
        self._store.put(self._name, text.encode())
        self._unwritten, self._written_at = False, time.monotonic()


def conditions_of(loaded: LoadedModel, problem: Problem, law: Law) -> Json:
    """All but the context that a prediction depends on; equal values mean equal predictions."""
    settings = problem.model_dump(mode="json", include=set(SETTINGS))
    return {
        "model": problem.model,
        "weights": loaded.identity.weights,
        "law": hashlib.sha256(dumps(law).encode()).hexdigest(),
        "version": metadata.version("phantom-dist"),
        **{name: settings[name] for name in SETTINGS},
    }


def _key(context: Json) -> str:
    return json.dumps(context, sort_keys=True)


def _finite(value: Any) -> Any:
    """JSON has no word for NaN and Inf: they become null, as in what the commands print."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
