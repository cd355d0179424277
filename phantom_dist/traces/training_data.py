"""The examples of a training set in a run directory: one Arrow file, named by their hash.

Workers map it into memory, so data may be larger than memory; from an object store they copy it to this machine first.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.traces.run_directory import RunDirectory

_SCHEMA = pa.schema([("example", pa.large_string())])

_BLOCK = 1024
"""Examples that are written at a time."""


class StoredExamples:
    """The canonical texts of a training set by index."""

    def __init__(self, path: Path) -> None:
        # Kept open: the table's buffers are views of the mapped file.
        self._file = pa.memory_map(str(path))
        self._column = pa.ipc.open_file(self._file).read_all()["example"]

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int) -> str:
        text: str = self._column[index].as_py()
        return text


def write_examples(directory: RunDirectory, sha256: str, examples: Iterable[str]) -> None:
    """Store the examples of a training set, unless they are stored already.

    Raises:
        StoreError: they can't be stored.
    """
    name = _name(sha256)
    if directory.store.exists(name):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            for block in _blocks(iter(examples)):
                writer.write_batch(pa.record_batch([pa.array(block, pa.large_string())], schema=_SCHEMA))
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            directory.store.put(name, whole)


def read_examples(directory: RunDirectory, sha256: str) -> StoredExamples:
    """The examples of a training set.

    Raises:
        InputError: the directory doesn't hold them.
        StoreError: the file is damaged or can't be read.
    """
    store, name = directory.store, _name(sha256)
    if not store.exists(name):
        raise InputError(f"{store.location}: the training data are not here ({name})")
    try:
        if store.local_path is not None:
            return StoredExamples(store.local_path / name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "examples.arrow"
            path.write_bytes(store.get(name))
            return StoredExamples(path)  # a mapped file outlives its name
    except pa.ArrowInvalid as error:
        raise StoreError(f"{store.location}: {name} is damaged ({error})") from error


def _name(sha256: str) -> str:
    return f"data/{sha256[:32]}.arrow"


def _blocks(examples: Iterator[str]) -> Iterator[list[str]]:
    while block := list(islice(examples, _BLOCK)):
        yield block
