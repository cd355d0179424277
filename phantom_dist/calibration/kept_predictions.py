"""A file that stores predictions as they are made, so that an interrupted command can be resumed.

The file is the JSON object of `predict` with additional keys: `law` (its sha256), `version`, `weights` (of each model),
`problems`, that of each prediction in the same order, and `sets`, the words of each training on a data set. It is
replaced atomically, so it can be read at any time. A file of another law, version or other weights is refused, because
its predictions would mix unmarked with new ones.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from phantom_dist.calibration.predicted_rate import PredictedRate
from phantom_dist.calibration.predicted_training import PredictedTraining
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.trial import Problem
from phantom_dist.engines.set_probe import OnSet
from phantom_dist.law.file_format import dumps
from phantom_dist.law.law import Law
from phantom_dist.traces import Store

Json = dict[str, Any]

FORMAT = 3

EVERY_S = 1.0
"""Minimum time between two writes of the file, in seconds."""


class KeptPredictions:
    """The predictions of one file.

    Args:
        out: the file, a local path or an object-store URI; created if it doesn't exist.
        law: the law that predicts.

    Raises:
        InputError: the file holds something else, predictions of another law or version, or can't be written.
    """

    def __init__(self, out: str | os.PathLike[str], law: Law) -> None:
        self.file = os.fspath(out)
        folder, _, name = (self.file if "://" in self.file else str(Path(self.file).absolute())).rpartition(
            "/"
        )
        self._store, self._name = Store(folder), name
        self._conditions = {
            "law": hashlib.sha256(dumps(law).encode()).hexdigest(),
            "version": metadata.version("phantom-dist"),
        }
        self._weights: dict[str, str] = {}  # by the model's reference
        self._kept: dict[str, tuple[Json, PredictedRate]] = {}  # problem and prediction, by the problem's key
        self._trainings: dict[str, Json] = {}  # by what stands in `_together`
        self._unwritten = False
        try:
            self._read(self._store.get(name))
        except FileNotFoundError:
            self._write()
        except StoreError as error:
            raise InputError(f"--out {self.file}: {error}") from None
        self._written_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._kept) + sum(len(entry["words"]) for entry in self._trainings.values())

    def require(self, model: str, weights: str) -> None:
        """Set the weights of a model; predictions of it in the file must be for the same ones.

        Raises:
            InputError: they are for others.
        """
        name = f"weights of {model}"
        self._refuse_others({name: self._weights.setdefault(model, weights)}, {name: weights})

    def _refuse_others(self, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        other = [f"{key} {stored.get(key)}" for key in asked if stored.get(key) != asked[key]]
        if other:
            raise InputError(
                f"--out {self.file}: it holds predictions for {', '.join(other)}, which differs from this command; "
                "choose another name, or remove the file."
            )

    def of(self, problem: Problem) -> PredictedRate | None:
        """The stored prediction of a problem, or None."""
        entry = self._kept.get(_key(problem.model_dump(mode="json")))
        return None if entry is None else entry[1]

    def add(self, problem: Problem, prediction: PredictedRate) -> None:
        """Add a prediction. The file is written at most once per `EVERY_S`, and at the latest by `close`."""
        value = problem.model_dump(mode="json")
        self._kept[_key(value)] = (value, prediction)
        self._unwritten = True
        if time.monotonic() - self._written_at > EVERY_S:
            self._write()

    def of_training(self, problems: Sequence[Problem]) -> PredictedTraining | None:
        """The stored predictions of a training's words; None unless all were made together.

        A sample of the data is drawn for all words that are watched, so with others the same word gets another one.
        """
        entry = self._trainings.get(_key(_together(problems)))
        return None if entry is None else _training(entry)

    def add_training(self, problems: Sequence[Problem], training: PredictedTraining) -> None:
        """Add the predictions of a training's words, as `add` does."""
        together = _together(problems)
        self._trainings[_key(together)] = together | {
            "words": [word.to_json() for word in training.words],
            "probed": asdict(training.probed),
        }
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
            pairs = zip(content["problems"], content["predictions"], strict=True)
            alone = ((problem, made) for problem, made in pairs if problem.get("training") is None)
            self._kept = {_key(problem): (problem, PredictedRate.from_json(made)) for problem, made in alone}
            self._trainings = {_key(_which(entry)): entry for entry in content["sets"]}
            self._weights = dict(content["weights"])
            known = content["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise InputError(
                f"--out {self.file}: the file exists and holds no predictions of phantom-dist, or those of another "
                f"version; choose another name."
            )
        if self._kept or self._trainings:
            self._refuse_others(content, self._conditions)

    def _write(self, *, complete: bool = False, lora: Json | None = None) -> None:
        sets = list(self._trainings.values())
        content = {
            "format": FORMAT,
            **self._conditions,
            "weights": self._weights,
            "complete": complete,
            "predictions": [
                *(prediction.to_json() for _, prediction in self._kept.values()),
                *(word for entry in sets for word in entry["words"]),
            ],
            "problems": [
                *(problem for problem, _ in self._kept.values()),
                *(problem for entry in sets for problem in entry["problems"]),
            ],
            "trainings": [_training(entry).to_json() for entry in sets],
            "sets": sets,
            "lora": lora,
        }
        text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, indent=1)
        self._store.put(self._name, text.encode())
        self._unwritten, self._written_at = False, time.monotonic()


def _together(problems: Sequence[Problem]) -> Json:
    """What the predictions of a training depend on."""
    return {"problems": [problem.model_dump(mode="json") for problem in problems]}


def _training(entry: Json) -> PredictedTraining:
    words = tuple(PredictedRate.from_json(made) for made in entry["words"])
    return PredictedTraining(words=words, probed=OnSet(**entry["probed"]))


def _which(entry: Json) -> Json:
    return {"problems": entry["problems"]}


def _key(problem: Json) -> str:
    return json.dumps(problem, sort_keys=True)


def _finite(value: Any) -> Any:
    """Replace NaN and Inf, which JSON doesn't have, by null, as in the commands' output."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
