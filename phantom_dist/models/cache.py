"""Where converted models and digests are kept between runs, and how they get there whole or not at all."""

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
    """`$PHANTOM_DIST_CACHE`, else `~/.cache/phantom_dist`; not created here."""
    named = os.environ.get("PHANTOM_DIST_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "phantom_dist"


def is_ours(folder: Path) -> bool:
    """Whether a folder lies in the cache: complete, and never written into again."""
    return folder.resolve().is_relative_to(cache_folder().resolve())


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `final` in one rename at the end, and vanishes after an exception.

    Two processes may build the same folder at once: the first rename wins, the other's work is dropped.

    Raises:
        InputError: the place can't be written, or the disk is full.
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
        f"{folder}: converted models can't be kept here ({error.strerror or error}); "
        "set PHANTOM_DIST_CACHE to a folder that can be written and has room"
    )


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits; remembered while the file looks the same."""
    return remembered([path], lambda: _hash_file(path))


def remembered(files: Iterable[Path], digest: Callable[[], str]) -> str:
    """`digest()`, or its value from the cache if it took long and the files look the same."""
    entry = cache_folder() / "digests" / hashlib.sha256(repr(looks(files)).encode()).hexdigest()
    if entry.is_file() and len(known := entry.read_text()) == 64:
        return known
    start = time.perf_counter()
    value = digest()
    if time.perf_counter() - start > WORTH_CACHING_S:
        _remember(entry, value)
    return value


def content_key(versions: object, files: Iterable[Path]) -> str:
    """A cache key over what makes a conversion: versions, and the files' names and bytes."""
    content = sorted((file.name, file_sha256(file)) for file in files)
    return hashlib.sha256(repr((versions, content)).encode()).hexdigest()


def looks(files: Iterable[Path]) -> tuple[tuple[str | int, ...], ...]:
    """What changes when a file does: links followed; its place on the disk, size and times.

    Programs that copy keep size and modification time (`cp -p`, `rsync`), but nobody can set the time of the last
    change to the file's entry (ctime), and a file that took another's place has a number of its own (inode).
    """
    stats = [(str(file.resolve()), file.stat()) for file in sorted(files)]
    return tuple((name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)


def _remember(entry: Path, value: str) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, value.encode())
    except OSError:
        pass  # a cache that can't be written costs time, nothing else


def _hash_file(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
