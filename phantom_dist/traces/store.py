"""Named files under a local path or an object-store URI; each becomes visible whole or not at all.

A local file is written under a hidden temporary name, flushed to the disk, and renamed to its final name. An object
store shows an object only after its upload is complete, so there the file is written under its final name directly.

Files that are written under a lease (see `leases`) become visible only while the lease lasts.
"""

from __future__ import annotations

import copy
import mmap
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import ArrowInvalid, fs

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.whole_file import write_whole

LEASES = ".leases"
"""The folder of leases."""


class Store:
    """The files of one directory.

    Args:
        location: a local path, or a URI that pyarrow's file systems know (`s3://…`, `gs://…`, `file://…`).

    Raises:
        InputError: an unsupported URI scheme.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = os.fspath(location)
        self._lease: str | None = None
        if "://" in self.location:
            try:
                self.filesystem, self.root = fs.FileSystem.from_uri(_one_request_per_file(self.location))
            except (ArrowInvalid, OSError) as error:
                raise InputError(f"{self.location}: not a local path or a supported URI ({error})") from None
        else:
            self.filesystem, self.root = fs.LocalFileSystem(), str(Path(self.location).absolute())

    def under(self, lease: str) -> Store:
        """The same files under a lease: writes and deletions take effect only while the lease lasts."""
        other = copy.copy(self)
        other._lease = lease
        return other

    @property
    def local_path(self) -> Path | None:
        """The directory if it is on a local (or mounted) file system, else None."""
        return Path(self.root) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def path(self, name: str) -> str:
        """The full path of a file within `filesystem`.

        Raises:
            StoreError: the name would leave the directory.
        """
        if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise StoreError(f"{self.location}: {name!r} is not the name of a file in it")
        return f"{self.root}/{name}"

    def put(self, name: str, data: bytes | mmap.mmap) -> None:
        """Store a file atomically; an existing file is replaced.

        Raises:
            StoreError: the disk is full, the directory can't be written, or the lease is over.
        """
        with self._errors_named(f"write {name}"):
            if self.local_path is None:
                self._check_lease(f"{name} was not written")
                with self.filesystem.open_output_stream(self.path(name)) as stream:
                    stream.write(data)
                return
            path = Path(self.path(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_whole(path, data, staging=self._staging(path))
            except FileNotFoundError:
                raise self._fenced(f"{name} was not written") from None

    def _staging(self, path: Path) -> Path:
        """The folder in which a file is written before it is renamed to its final path."""
        assert self.local_path is not None
        return path.parent if self._lease is None else self.local_path / LEASES / self._lease

    def _fenced(self, what: str) -> StoreError:
        """The error that this process's lease is over."""
        return StoreError(
            f"{self.location}: {what}: another process has taken over this work in the meantime."
        )

    def get(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: it can't be read.
        """
        with self._errors_named(f"read {name}"), self.filesystem.open_input_stream(self.path(name)) as stream:
            data: bytes = stream.read()
            return data

    @contextmanager
    def _errors_named(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{self.location}: can't {what}: {error.strerror or error}") from error

    def exists(self, name: str) -> bool:
        """True if there is a file (not a folder) of this name."""
        with self._errors_named(f"look for {name}"):
            return bool(self.filesystem.get_file_info(self.path(name)).type == fs.FileType.File)

    def names(self, folder: str = "") -> list[str]:
        """Sorted names of all files below a folder, relative to the directory; hidden files are left out."""
        selector = fs.FileSelector(
            self.path(folder) if folder else self.root, recursive=True, allow_not_found=True
        )
        with self._errors_named(f"list {folder or 'the files'}"):
            infos = self.filesystem.get_file_info(selector)
        names = [i.path[len(self.root) + 1 :] for i in infos if i.type == fs.FileType.File]
        return sorted(
            name for name in names if "/." not in name[len(folder) :] and (folder or name[0] != ".")
        )

    def delete(self, name: str) -> None:
        """Remove a file if it exists.

        Raises:
            StoreError: it can't be removed, or the lease is over.
        """
        with self._errors_named(f"remove {name}"):
            if self._lease is not None and self.local_path is not None:
                self._delete_locally(name)
                return
            self._check_lease(f"{name} was not removed")
            if self.exists(name):
                self.filesystem.delete_file(self.path(name))

    def _delete_locally(self, name: str) -> None:
        """Remove a file by moving it into the lease's folder, which fails once the lease is over.

        So a file that a successor has written is never removed.
        """
        path = Path(self.path(name))
        staging = self._staging(path)
        gone = staging / f".{path.name}.{uuid.uuid4().hex}.tmp"
        try:
            path.replace(gone)
        except FileNotFoundError:
            if not staging.is_dir():
                raise self._fenced(f"{name} was not removed") from None
            return
        gone.unlink(missing_ok=True)

    def _check_lease(self, failure: str) -> None:
        if self._lease is not None and not self.exists(f"{LEASES}/{self._lease}"):
            raise self._fenced(failure)


def _one_request_per_file(uri: str) -> str:
    """Make Arrow write a small file to S3 in a single PUT; by default it makes a multipart upload of three requests."""
    option = "allow_delayed_open=true"
    if not uri.startswith("s3://") or "allow_delayed_open=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{option}"
