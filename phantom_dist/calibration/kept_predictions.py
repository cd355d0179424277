"""A file that stores predictions as they are made, so that an interrupted command can be resumed.

The file is the JSON object of `predict` with additional keys: `asked`, the conditions shared by all predictions (law,
model by its weights, training), and `contexts`, the context of each prediction in the same order. It is replaced
atomically, so it can be read at any time. A file with other conditions is refused, because its predictions would mix
unmarked with new ones.
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
from phantom_dist.models.load import LoadedModel
from phantom_dist.traces import Store

Json = dict[str, Any]

FORMAT = 1

EVERY_S = 1.0
"""Minimum time between two writes of the file, in seconds."""

SETTINGS = ("method", "lora", "optimizer", "schedule", "steps", "seed", "precision", "thresholds")


class KeptPredictions:
    """The predictions of one file.

    Args:
        out: the file, a local path or an object-store URI; created if it doesn't exist.

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
        self._kept: dict[str, tuple[Json, PredictedRate]] = {}  # context and prediction, by the context's key
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
        """Set the conditions; predictions in the file must have the same ones.

        Raises:
            InputError: they have others.
        """
        before = self._conditions
        if before is not None and self._kept:
            other = [f"{key} {before.get(key)}" for key in conditions if before.get(key) != conditions[key]]
            if other:
                raise InputError(
                    f"--out {self.file}: it holds predictions for {', '.join(other)}, which differs from this "
                    "command; choose another name, or remove the file."
                )
        self._conditions = conditions

    def of(self, context: Context) -> PredictedRate | None:
        """The stored prediction of a context, or None."""
        entry = self._kept.get(_key(context.model_dump()))
        return None if entry is None else entry[1]

    def add(self, context: Context, prediction: PredictedRate) -> None:
        """Add a prediction. The file is written at most once per `EVERY_S`, and at the latest by `close`."""
        value = context.model_dump()
        self._kept[_key(value)] = (value, prediction)
        self._unwritten = True
        if time.monotonic() - self._written_at > EVERY_S:
            self._write()

    def complete(self, lora: Json) -> None:
        """Mark the file as complete and write it; `lora`: the object of that name in the JSON of `predict`."""
        self._write(complete=True, lora=lora)

    def close(self) -> None:
        """Write predictions that are not in the file yet.

        Raises:
            StoreError: the disk is full, or the file can't be written; its previous content is preserved.
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
                f"--out {self.file}: the file exists and holds no predictions of phantom-dist; choose another name."
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
    """Everything except the context that a prediction depends on; equal values mean equal predictions."""
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
    """Replace NaN and Inf, which JSON doesn't have, by null, as in the commands' output."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
