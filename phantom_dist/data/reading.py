"""Reads a file of training examples: JSON lines, Parquet, or a folder that the library `datasets` saved.

Nothing is held in memory: a file is read once to check and hash it, and again to copy it into a run directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context
from phantom_dist.data.examples import Form, NoExample, canonical, form_of

Row = tuple[str, Mapping[str, Any]]
"""Where an example stands, for messages, and its fields."""

SUFFIXES = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A data set that has been read once; iterating gives the canonical text of each example, empty ones left out.

    Attributes:
        name: where it comes from, for people.
        sha256: over the canonical texts, one a line.
        form: the form of all examples.
        examples: their number.
        words: mean number of words of an example, rounded up.
        empty: number of empty ones, which are left out.
    """

    name: str
    sha256: str
    form: Form
    examples: int
    words: int
    empty: int
    rows: Callable[[], Iterable[Row]]

    def __iter__(self) -> Iterator[str]:
        for place, fields in self.rows():
            text = _canonical(place, fields, self.form)
            if text is not None:
                yield text


def read_data(path: str | Path) -> TrainingData:
    """Check and hash a data set.

    Raises:
        InputError: there is no such file, it has another format, an example is broken, has another form than the
            first, or none is usable; names file and line.
    """
    path = Path(path)
    if path.is_dir():
        return _checked(path.name, str(path), lambda: _saved(path))
    if not path.is_file():
        raise InputError(f"there is no data file {str(path)!r}; the path is relative to the sweep file")
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: data of this format can't be read. Allowed: {', '.join(SUFFIXES)}, or a folder saved by "
            f"`datasets.Dataset.save_to_disk`"
        )
    rows = _parquet if path.suffix == ".parquet" else _json_lines
    return _checked(path.name, str(path), lambda: rows(path))


def data_of_contexts(contexts: Iterable[Context]) -> TrainingData:
    """The contexts themselves as training data: each text is a prompt, its target the completion."""
    rows = [
        (f"context {context.id!r}", {"prompt": context.text, "completion": context.target})
        for context in contexts
        if not context.held_out
    ]
    return _checked("contexts", "contexts", lambda: rows)


def _checked(name: str, source: str, rows: Callable[[], Iterable[Row]]) -> TrainingData:
    digest, examples, empty, words = hashlib.sha256(), 0, 0, 0
    form: Form | None = None
    place = source
    for place, fields in rows():
        if form is None:
            with _placed(place):
                form = form_of(fields)
        text = _canonical(place, fields, form)
        if text is None:
            empty += 1
            continue
        examples += 1
        words += len(text.split())
        digest.update(text.encode() + b"\n")
    if form is None or not examples:
        raise InputError(f"{place}: there is no usable example ({empty} are empty); at least one is needed")
    return TrainingData(
        name=name,
        sha256=digest.hexdigest(),
        form=form,
        examples=examples,
        words=-(-words // examples),
        empty=empty,
        rows=rows,
    )


def _canonical(place: str, fields: Mapping[str, Any], form: Form) -> str | None:
    with _placed(place):
        return canonical(fields, form)


@contextmanager
def _placed(place: str) -> Iterator[None]:
    try:
        yield
    except NoExample as error:
        raise InputError(f"{place}: the example {error}") from None


def _json_lines(path: Path) -> Iterator[Row]:
    # Line by line rather than by `datasets`, whose errors don't name the line.
    with path.open(encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}:{number}", _object(f"{path}:{number}", line)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is no UTF-8 text ({error})") from None


def _object(place: str, line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: the line is no JSON ({error.msg} at column {error.colno}); each line is one JSON object"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f'{place}: the line is no JSON object; each line is one, like {{"text": "…"}}')
    return value


def _parquet(path: Path) -> Iterator[Row]:
    import datasets  # takes a second, and JSON lines don't need it

    try:
        rows = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        for number, row in enumerate(rows, start=1):
            yield f"{path}, row {number}", row
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _saved(folder: Path) -> Iterator[Row]:
    import datasets

    try:
        rows = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    if isinstance(rows, datasets.DatasetDict):
        raise InputError(f"{folder}: holds several splits ({', '.join(rows)}); name the folder of one")
    for number, row in enumerate(rows, start=1):
        yield f"{folder}, row {number}", row


def _unreadable(path: Path, error: Exception) -> InputError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"{path}: the data can't be read: {line}")
