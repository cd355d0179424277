"""A folder that appears whole or not at all: it is written under a temporary name and renamed when complete."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phantom_dist.archive.layout import everything
from phantom_dist.core.errors import InputError, StoreError


@contextmanager
def staged(out: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write into, which is renamed to `out` at the end of the block. An error in the block removes it.

    A process that is killed leaves a hidden folder, `.NAME.packing`; the next process that packs to `out` empties it.

    Raises:
        InputError: `out` is a URI, exists and is not empty, or another process is packing to it.
        StoreError: the disk is full, or the folder can't be written.
    """
    if "://" in os.fspath(out):
        raise InputError(
            f"--out {out}: is a URI. `archive pack` writes to a local folder; copy the archive from there."
        )
    final = Path(out).absolute()
    if final.is_symlink() or (final.exists() and not (final.is_dir() and not any(final.iterdir()))):
        raise InputError(f"--out {out}: exists already. Choose another name, or remove it.")
    staging = final.with_name(f".{final.name}.packing")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise InputError(f"--out {out}: can't be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"--out {out}: another process is packing to it now.") from None
        try:
            _clear(staging)
            yield staging
            _flush(staging)
            os.rename(staging, final)
        except BaseException as error:
            shutil.rmtree(staging, ignore_errors=True)
            if isinstance(error, OSError):
                raise StoreError(f"--out {out}: can't be written: {error.strerror or error}") from error
            raise
    finally:
        os.close(lock)


def _clear(folder: Path) -> None:
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _flush(folder: Path) -> None:
    """Flush everything to disk before the rename, so that a power cut can't leave empty files under the final name."""
    for path in [*(folder / name for name, _ in everything(folder)), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
