"""`archive verify`: checks that an archive is complete, unchanged and consistent.

    files and checksums -> schemas -> rows -> ids -> documents

A check that finds defects does not stop the next one, if that is safe: if a table's file is unreadable or was changed,
no rows are read. Everything is read as data; nothing in an archive is executed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from phantom_dist.archive.checksums import read_sums
from phantom_dist.archive.database import database
from phantom_dist.archive.layout import (
    CARD,
    CHECKSUMS,
    CITATION,
    CRATE,
    CROISSANT,
    PROVENANCE,
    TABLES,
    Observer,
    belongs,
    everything,
)
from phantom_dist.archive.summary import Summary, summarise
from phantom_dist.archive.verify import manifests
from phantom_dist.archive.verify.defect import Defect
from phantom_dist.archive.verify.files import check_files, check_schemas
from phantom_dist.archive.verify.identity import check_identities
from phantom_dist.archive.verify.rows import check_rows
from phantom_dist.archive.views import attach
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.result import Result
from phantom_dist.spec import SweepSpec
from phantom_dist.traces.run_directory import model_of, trace_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyResult(Result):
    """What an archive contains, and what is wrong with it.

    Attributes:
        archive: its absolute path.
        files, trials, rows: how many it has; `rows` counts those of traces.
        problems: empty if the archive is sound.
    """

    archive: str
    files: int
    trials: int
    rows: int
    problems: tuple[Defect, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `archive verify`."""
        return asdict(self) | {"problems": [asdict(problem) for problem in self.problems]}

    def parts(self) -> Iterable[str]:
        """Whether the archive is sound, and a line for each problem."""
        counts = f"{self.files} files, {self.trials} trials, {self.rows} trace rows"
        yield f"{self.archive}: {'not sound' if self.problems else 'sound'} ({counts})"
        yield from (f"  {problem.where}: {problem.what}" for problem in self.problems)


def archive_verify(
    archive: str | os.PathLike[str], *, observer: Observer = lambda what, done, total: None
) -> VerifyResult:
    """Check an archive.

    Args:
        archive: its folder.
        observer: called with (action, done, total); it counts trace rows.

    Raises:
        InputError: there is no such folder, or it contains none of an archive's files.
    """
    folder = Path(archive)
    if not folder.is_dir():
        raise InputError(
            f"{archive}: no such folder. `archive verify` checks an archive that `archive pack` made."
        )
    if not any((folder / name).exists() for name in (CHECKSUMS, PROVENANCE, *TABLES)):
        raise InputError(f"{archive}: no archive (it contains none of an archive's files).")
    if (folder / "plan.parquet").exists() and not (folder / PROVENANCE).exists():
        raise InputError(
            f"{archive}: a run directory, no archive. `phantom-dist archive pack` makes an archive of it."
        )
    total = _rows(folder, "traces")
    done = 0

    def progress(rows: int) -> None:
        nonlocal done
        done += rows
        observer("trace rows verified", done, total)

    wrong = problems_of(folder, progress)
    return VerifyResult(
        archive=str(folder.absolute()),
        files=sum(1 for _ in everything(folder)),
        trials=_rows(folder, "trials"),
        rows=total,
        problems=tuple(wrong),
    )


def problems_of(
    archive: Path, progress: Callable[[int], None], *, known_sums: Mapping[str, str] | None = None
) -> list[Defect]:
    """Run all checks and list what is wrong.

    Args:
        archive: its folder.
        progress: called with a number of trace rows after they were checked.
        known_sums: sha256 by name of files that need not be read again.
    """
    names, wrong = check_files(archive, known_sums)
    unreadable = list(check_schemas(archive, names))
    damaged = {entry.where for entry in (*wrong, *unreadable)}
    wrong += unreadable
    tables = [name for name in names if name.endswith(".parquet")]
    specs, bad_sweeps = manifests.read_sweeps(archive, names)
    wrong += bad_sweeps
    summary = None
    if any(where.endswith(".parquet") for where in damaged):
        wrong.append(
            Defect(
                "tables", "rows were not checked, because files of the tables are missing, foreign or changed"
            )
        )
    elif not any(name.startswith("trials/") for name in tables):
        wrong.append(Defect("trials", "the table is missing"))
    else:
        summary, broken = _check_tables(archive, tables, specs, progress)
        wrong += broken
    sums = read_sums(archive)[0] if CHECKSUMS in names else {}
    sums = {name: digest for name, digest in sums.items() if name in names}
    wrong += manifests.check_laws(archive, names)
    if PROVENANCE in names:
        wrong += manifests.check_provenance(archive, summary, names)
    if CROISSANT in names:
        wrong += manifests.check_croissant(archive, sums, summary)
    if CRATE in names:
        wrong += manifests.check_crate(archive, sums)
    if CARD in names and CITATION in names:
        wrong += manifests.check_card(archive, summary)
    return wrong


def _check_tables(
    archive: Path, tables: list[str], specs: list[SweepSpec], progress: Callable[[int], None]
) -> tuple[Summary | None, list[Defect]]:
    """A summary of the tables (None if they can't be read), and what is wrong with their rows."""
    models = sorted({model_of(name) for name in tables if name.startswith("traces/")})
    try:
        # A damaged data page raises `StoreError` even where the file's checksum is right.
        with (
            tempfile.TemporaryDirectory(prefix="phantom_dist-") as work,
            database(Path(work), "rows can't be read") as connection,
        ):
            attach(connection, archive)

            def done(model: str) -> None:
                progress(_rows(archive, trace_folder(model)))

            wrong = list(check_rows(connection, models, done))
            wrong += check_identities(connection, specs)
            return summarise(connection), wrong
    except StoreError as error:
        return None, [Defect("tables", str(error)[:500])]


def _rows(archive: Path, folder: str) -> int:
    """The number of rows below a folder, from the files' footers; unreadable and foreign files count 0."""
    count = 0
    for name, entry in everything(archive):
        if name.startswith(f"{folder}/") and belongs(name) and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(OSError, ValueError):
                count += pq.read_metadata(entry.path).num_rows
    return count
