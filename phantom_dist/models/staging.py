"""A temporary folder with exactly one model's files.

transformers also loads files beside the one that it is told to load, such as an adapter, a tokenizer or another
configuration. So it gets a folder that contains only the files that we chose and hashed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from phantom_dist.core.errors import InputError


@contextmanager
def staged(files: Iterable[Path], name: str = "model") -> Iterator[Path]:
    """A temporary folder called `name` with symbolic links to `files`.

    Raises:
        InputError: no temporary folder can be created.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix="phantom-dist-")
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: no temporary folder can be made here ({error.strerror or error}); set TMPDIR "
            "to a writable folder"
        ) from None
    with scratch:
        folder = Path(scratch.name, name)
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        yield folder
