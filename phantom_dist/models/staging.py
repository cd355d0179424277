"""A folder with a model's own files and nothing else.

transformers looks around: an adapter, a tokenizer or a configuration that lies beside the file it was asked for takes
part in what it loads. So it is shown a folder in which there is nothing to find but what was asked for and hashed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from phantom_dist.core.errors import InputError


@contextmanager
def staged(files: Iterable[Path], name: str = "model") -> Iterator[Path]:
    """A temporary folder of this name that holds links to these files, under their own names.

    Raises:
        InputError: the temporary folder can't be written.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix="phantom-dist-")
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: no temporary folder can be made here ({error.strerror or error}); set TMPDIR "
            "to a folder that can be written"
        ) from None
    with scratch:
        folder = Path(scratch.name, name)
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        yield folder
