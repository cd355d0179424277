"""`archive pack`: runs become a data set that others can open, cite and check.

    copies compared -> tables, sorted -> sweeps, laws, figures -> documents -> checksums -> verified -> renamed

Whatever the number of rows, memory is bounded: rows stream, and DuckDB sorts outside memory. Nothing in an archive says
when or where it was packed, so the same runs give the same bytes.
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

from phantom_dist.archive import merge
from phantom_dist.archive.about import DEFAULT_LICENCE, about, citation_text, licence_text
from phantom_dist.archive.card import card
from phantom_dist.archive.checksums import sha256_of, sums_of, write_sums
from phantom_dist.archive.crate import crate
from phantom_dist.archive.croissant import croissant
from phantom_dist.archive.database import database
from phantom_dist.archive.facts import date_of, facts_of
from phantom_dist.archive.figures import draw
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
from phantom_dist.archive.provenance import provenance
from phantom_dist.archive.sources import Source, open_sources
from phantom_dist.archive.staging import staged
from phantom_dist.archive.tables import attach, write_tables
from phantom_dist.archive.verify import problems_of
from phantom_dist.core.errors import StoreError
from phantom_dist.core.result import Result
from phantom_dist.law.file import read_law
from phantom_dist.spec import to_yaml

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackResult(Result):
    """An archive that was written.

    Attributes:
        archive: its absolute path.
        files, bytes, trials, rows: how many it has; `rows` are those of traces.
        duplicates: copies of trials that were left out.
        notices: what one may want to know before publishing.
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
        directories: run directories, local paths or object-store URIs; finished or not.
        out: the archive, a local folder that does not exist yet.
        title: of the data set; None makes one of the sweeps' names.
        authors: "Family, Given" for a person, anything else for a group; none says that nobody was named.
        license: SPDX licence expression.
        laws: law files to include, beside `law.json` of the runs.
        observer: is called with (what, done, total): files of trials, then trace rows.

    Raises:
        InputError: no run in a directory, no trials, wrong words, a name that is taken, or the same trial with results
            that contradict each other.
        StoreError: a run's file is damaged or foreign, its rows break an invariant, or the disk is full. Nothing is
            left under the archive's name.
    """
    sources = open_sources(directories)
    said = about(title, authors, license, [source.spec.name for source in sources])
    given = {Path(path).stem: _law_bytes(path) for path in laws}
    with staged(out) as archive:
        work = archive / ".work"
        with database(work, "archive pack") as connection:
            merge.load(connection, sources, observer)
            rows = merge.trace_rows(connection)
            # each is read once and written once
            progress = _counted(observer, "trace rows read and written", 2 * rows)
            write_tables(connection, sources, archive, work, progress)
            attach(connection, archive)
            sweeps = _write_sweeps(sources, archive)
            law_files = _write_laws(sources, given, archive)
            specs = [source.spec for source in sources]
            drawn, part_drawn = draw(connection, specs, said.title, archive)
            origin = provenance(
                facts := facts_of(connection),
                merge.runs_of(connection, sweeps),
                merge.left_out(connection),
                law_files,
            )
        shutil.rmtree(work)
        _write(archive, PROVENANCE, _json(origin))
        _write(archive, LICENCE, licence_text(said))
        _write(archive, CITATION, citation_text(said, date_of(facts)))
        _write(archive, CARD, card(said, origin, drawn, part_drawn, sorted(set(sweeps))))
        sums = sums_of(archive)
        sizes = {name: (archive / name).stat().st_size for name in sums}
        _write(archive, CROISSANT, _json(croissant(said, facts, sums, sizes)), sums, sizes)
        _write(archive, CRATE, _json(crate(said, origin, sums, sizes)), sums, sizes)
        write_sums(archive, sums)
        wrong = problems_of(archive, _counted(observer, "trace rows verified", rows), known_sums=sums)
        if wrong:
            listed = "\n".join(f"  {defect.where}: {defect.what}" for defect in wrong)
            raise StoreError(f"archive pack: what the runs hold would make no sound archive:\n{listed}")
        sizes[CHECKSUMS] = (archive / CHECKSUMS).stat().st_size
    return PackResult(
        archive=str(Path(out).absolute()),
        files=len(sizes),
        bytes=sum(sizes.values()),
        trials=facts["rows"]["trials"],
        rows=facts["rows"]["traces"],
        duplicates=origin["merged"]["duplicates"],
        notices=tuple(_notices(facts, said.authors, sources)),
    )


def _counted(observer: Observer, what: str, total: int) -> Callable[[int], None]:
    """Adds up what is done for the observer."""
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
    """Write a document; note its checksum and its size where they are asked for."""
    (archive / name).write_text(text, encoding="utf-8", newline="\n")
    if sums is not None and sizes is not None:
        sums[name], sizes[name] = sha256_of(archive / name), (archive / name).stat().st_size


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write_sweeps(sources: Sequence[Source], archive: Path) -> list[str]:
    """The sweeps' files, equal ones once; the name of each source's. Several of one name are numbered."""
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
    """The laws of the runs and those given, equal ones once; their files' names."""
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
    read_law(path)  # is it one?
    return Path(path).read_bytes()


def _notices(facts: Row, authors: Sequence[str], sources: Sequence[Source]) -> list[str]:
    """What a person may want to change before others see it."""
    local = sorted({m["model"] for m in facts["models"] if m["model"].startswith(("/", "~"))})
    found = [f"the model reference {model!r} shows where it lay on your machine" for model in local]
    outside = sorted({name for source in sources for name in source.spec.instruments})
    renamed = sorted({names for source in sources for names in source.renamed.items()})
    found += [
        f"the model {old!r} is called {new!r} here: readers would take {old} for a number, a date or a truth value"
        for old, new in renamed
    ]
    if outside:
        found.append(f"columns of other packages' instruments are left out ({', '.join(outside)})")
    if not authors:
        found.append("no author is named; --author 'Family, Given' does")
    return found
