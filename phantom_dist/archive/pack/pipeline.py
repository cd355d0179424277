"""`archive pack`: makes a data set of runs that others can open, cite and check.

    compare copies -> write sorted tables -> sweeps, laws, figures -> documents -> checksums -> verify -> rename

Memory is bounded, whatever the number of rows: rows stream, and DuckDB spills its sorts to disk. An archive records
neither when nor where it was packed, so the same runs give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phantom_dist.archive.checksums import sha256_of, sums_of, write_sums
from phantom_dist.archive.database import database
from phantom_dist.archive.documents.card import card
from phantom_dist.archive.documents.citation import DEFAULT_LICENCE, cff_text, licence_text, make_citation
from phantom_dist.archive.documents.crate import crate
from phantom_dist.archive.documents.croissant import croissant
from phantom_dist.archive.documents.figures import draw
from phantom_dist.archive.documents.provenance import provenance
from phantom_dist.archive.layout import (
    CARD,
    CHECKSUMS,
    CITATION,
    CRATE,
    CROISSANT,
    LICENCE,
    PROVENANCE,
    Observer,
)
from phantom_dist.archive.pack import merge
from phantom_dist.archive.pack.sources import Source, open_sources
from phantom_dist.archive.pack.staging import staged
from phantom_dist.archive.pack.tables import write_tables
from phantom_dist.archive.summary import Summary, summarise
from phantom_dist.archive.verify.pipeline import problems_of
from phantom_dist.archive.views import attach
from phantom_dist.core.errors import StoreError
from phantom_dist.core.result import Result
from phantom_dist.law.file import read_law
from phantom_dist.spec import to_yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class PackResult(Result):
    """An archive that was written.

    Attributes:
        archive: its absolute path.
        files, bytes, trials, rows: how many it has; `rows` counts those of traces.
        duplicates: the number of copies of trials that were left out.
        notices: what the user may want to change before publishing.
    """

    archive: str
    files: int
    bytes: int
    trials: int
    rows: int
    duplicates: int
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `archive pack`."""
        return asdict(self) | {"notices": list(self.notices)}

    def parts(self) -> Iterable[str]:
        """What was packed, and the notices."""
        copies = f", {self.duplicates} copies left out" if self.duplicates else ""
        yield f"archive: {self.archive}"
        yield (
            f"{self.trials} trials{copies}, {self.rows} trace rows, {self.files} files, {self.bytes / 1e6:.4g} MB"
        )
        yield from (f"notice: {notice}" for notice in self.notices)


def archive_pack(
    directories: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    title: str | None = None,
    authors: Sequence[str] = (),
    license: str = DEFAULT_LICENCE,
    laws: Sequence[str | os.PathLike[str]] = (),
    observer: Observer = lambda what, done, total: None,
) -> PackResult:
    """Pack one or many run directories into an archive.

    Args:
        directories: run directories, local paths or object-store URIs; the runs may be unfinished.
        out: the archive, a local folder that does not exist yet.
        title: of the data set; by default the names of the sweeps.
        authors: "Family, Given" for a person, anything else for a group; if empty, the documents say so.
        license: SPDX licence expression.
        laws: law files to include, beside `law.json` of the runs.
        observer: called with (action, done, total); it counts files of trials first, then trace rows.

    Raises:
        InputError: a directory is no run, there are no trials, title, authors or licence are invalid, `out` exists, or
            the same trial has results that contradict each other.
        StoreError: a run's file is damaged or foreign, its rows break an invariant, or the disk is full. Nothing is
            left at `out`.
    """
    sources = open_sources(directories)
    citation = make_citation(title, authors, license, [source.spec.name for source in sources])
    given_laws = {Path(path).stem: _law_bytes(path) for path in laws}
    with staged(out) as archive:
        work = archive / ".work"
        with database(work, "archive pack") as connection:
            merge.load(connection, sources, observer)
            rows = merge.trace_rows(connection)
            # every row is read once and written once
            progress = _counted(observer, "trace rows read and written", 2 * rows)
            write_tables(connection, sources, archive, work, progress)
            attach(connection, archive)
            sweeps = _write_sweeps(sources, archive)
            law_files = _write_laws(sources, given_laws, archive)
            specs = [source.spec for source in sources]
            figures, figures_note = draw(connection, specs, citation.title, archive)
            summary = summarise(connection)
            origin = provenance(
                summary, merge.runs_of(connection, sweeps), merge.left_out(connection), law_files
            )
        shutil.rmtree(work)
        _write(archive, PROVENANCE, _json(origin))
        _write(archive, LICENCE, licence_text(citation))
        _write(archive, CITATION, cff_text(citation, summary.date))
        _write(
            archive, CARD, card(citation, summary, figures, figures_note, [*sorted(set(sweeps)), *law_files])
        )
        sums = sums_of(archive)
        sizes = {name: (archive / name).stat().st_size for name in sums}
        _write(archive, CROISSANT, _json(croissant(citation, summary, sums, sizes)), sums, sizes)
        _write(archive, CRATE, _json(crate(citation, summary, origin, sums, sizes)), sums, sizes)
        write_sums(archive, sums)
        wrong = problems_of(archive, _counted(observer, "trace rows verified", rows), known_sums=sums)
        if wrong:
            listed = "\n".join(f"  {defect.where}: {defect.what}" for defect in wrong)
            raise StoreError(f"archive pack: the runs' data would not make a sound archive:\n{listed}")
        sizes[CHECKSUMS] = (archive / CHECKSUMS).stat().st_size
    return PackResult(
        archive=str(Path(out).absolute()),
        files=len(sizes),
        bytes=sum(sizes.values()),
        trials=summary.rows["trials"],
        rows=summary.rows["traces"],
        duplicates=origin["merged"]["duplicates"],
        notices=tuple(_notices(summary, citation.authors, sources)),
    )


def _counted(observer: Observer, what: str, total: int) -> Callable[[int], None]:
    """A callback that adds up amounts and reports the sum to the observer."""
    done = 0

    def progress(more: int) -> None:
        nonlocal done
        done += more
        observer(what, min(done, total), total)

    return progress


def _write(
    archive: Path,
    name: str,
    text: str,
    sums: dict[str, str] | None = None,
    sizes: dict[str, int] | None = None,
) -> None:
    """Write a document; add its checksum and its size to `sums` and `sizes`, if given."""
    (archive / name).write_text(text, encoding="utf-8", newline="\n")
    if sums is not None and sizes is not None:
        sums[name], sizes[name] = sha256_of(archive / name), (archive / name).stat().st_size


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write_sweeps(sources: Sequence[Source], archive: Path) -> list[str]:
    """Write the sweeps' files, equal ones once; return each source's. Different sweeps of one name are numbered."""
    texts = {(source.spec.name, to_yaml(source.spec)) for source in sources}
    names = {}
    for place, (name, text) in enumerate(sorted(texts)):
        number = sum(other == name for other, _ in sorted(texts)[:place])
        names[name, text] = f"sweeps/{name}{f'-{number + 1}' if number else ''}.yaml"
    (archive / "sweeps").mkdir()
    for (_, text), file in names.items():
        _write(archive, file, text)
    return [names[source.spec.name, to_yaml(source.spec)] for source in sources]


def _write_laws(sources: Sequence[Source], given: dict[str, bytes], archive: Path) -> list[str]:
    """Write the laws of the runs and the given ones, equal ones once; return their files."""
    laws = list(given.items())
    for source in sources:
        with contextlib.suppress(FileNotFoundError):
            laws.append((source.spec.name, source.directory.store.get("law.json")))
    files: dict[bytes, str] = {}
    for name, text in sorted(set(laws)):
        if text in files:
            continue
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in name)
        taken = sum(
            file.startswith(f"laws/{stem}.") or file.startswith(f"laws/{stem}-") for file in files.values()
        )
        files[text] = f"laws/{stem}{f'-{taken + 1}' if taken else ''}.json"
        (archive / "laws").mkdir(exist_ok=True)
        (archive / files[text]).write_bytes(text)
    return sorted(files.values())


def _law_bytes(path: str | os.PathLike[str]) -> bytes:
    read_law(path)  # raises if it is no law
    return Path(path).read_bytes()


def _notices(summary: Summary, authors: Sequence[str], sources: Sequence[Source]) -> list[str]:
    """What the user may want to change before others see the archive."""
    local = sorted({m.model for m in summary.models if m.model.startswith(("/", "~"))})
    notices = [f"the model reference {model!r} publishes a path of your machine" for model in local]
    plugins = sorted({name for source in sources for name in source.spec.instruments})
    renamed = sorted({names for source in sources for names in source.renamed.items()})
    notices += [
        f"the model {old!r} is named {new!r} in the archive: readers would take {old} for a number, a date or a boolean"
        for old, new in renamed
    ]
    if plugins:
        notices.append(f"columns of plug-in instruments are left out ({', '.join(plugins)})")
    if not authors:
        notices.append("no author is named; add one with --author 'Family, Given'")
    return notices
