"""The cache of converted models and digests; every entry is written atomically."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from phantom_dist.core.errors import InputError
from phantom_dist.core.whole_file import write_whole

CHUNK = 1 << 24
WORTH_CACHING_S = 1.0


def cache_folder() -> Path:
    """`$PHANTOM_DIST_CACHE`, or `~/.cache/phantom_dist` where that isn't set; not created here."""
    named = os.environ.get("PHANTOM_DIST_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "phantom_dist"


def is_in_cache(folder: Path) -> bool:
    """Whether a folder is in the cache: then it is complete and never changes."""
    return folder.resolve().is_relative_to(cache_folder().resolve())


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """Yield an empty folder; rename it to `final` at the end, or delete it after an exception.

    Two processes may build the same folder at once: the first rename wins, and the other's copy is deleted.

    Raises:
        InputError: the cache can't be written, or the disk is full.
    """
    scratch = _scratch(final)
    try:
        try:
            yield scratch
        except OSError as error:
            raise _unwritable(final.parent, error) from error
        scratch.chmod(0o755)
        try:
            scratch.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(final: Path) -> Path:
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{final.name[:16]}-", dir=final.parent))
    except OSError as error:
        raise _unwritable(final.parent, error) from None


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder}: converted models can't be stored here ({error.strerror or error}); "
        "set PHANTOM_DIST_CACHE to a writable folder with enough free space"
    )


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits; cached while the file's fingerprint stays the same."""
    return cached_digest([path], lambda: _hash_file(path))


def cached_digest(files: Iterable[Path], digest: Callable[[], str]) -> str:
    """`digest()`, or its cached value where the fingerprint of all files is unchanged; only slow digests are cached."""
    entry = cache_folder() / "digests" / hashlib.sha256(repr(fingerprint(files)).encode()).hexdigest()
    if entry.is_file() and len(known := entry.read_text()) == 64:
        return known
    start = time.perf_counter()
    value = digest()
    if time.perf_counter() - start > WORTH_CACHING_S:
        _store_digest(entry, value)
    return value


def content_key(versions: object, files: Iterable[Path]) -> str:
    """The cache key of a conversion: a hash of versions and of the files' names and bytes."""
    content = sorted((file.name, file_sha256(file)) for file in files)
    return hashlib.sha256(repr((versions, content)).encode()).hexdigest()


def fingerprint(files: Iterable[Path]) -> tuple[tuple[str | int, ...], ...]:
    """Values that change whenever a file changes: path, device, inode, size, mtime and ctime, with links followed.

    Size and mtime alone aren't enough, because `cp -p` and `rsync` preserve them. No program can set ctime, and a file
    that replaced another has its own inode.
    """
    stats = [(str(file.resolve()), file.stat()) for file in sorted(files)]
    return tuple((name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)


def _store_digest(entry: Path, value: str) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, value.encode())
    except OSError:
        pass  # without a writable cache the digest is just computed again


def _hash_file(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
