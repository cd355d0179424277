"""Checks the documents of an archive against its files and its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from phantom_dist.archive.documents.card import counts
from phantom_dist.archive.documents.crate import address
from phantom_dist.archive.documents.croissant import COLUMNS
from phantom_dist.archive.layout import CARD, CHECKSUMS, CITATION, CRATE, CROISSANT, PROVENANCE, VERSION
from phantom_dist.archive.summary import Summary
from phantom_dist.archive.verify.defect import Defect
from phantom_dist.core.errors import InputError
from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.law.file import read_law
from phantom_dist.spec import SweepSpec, from_yaml


def read_sweeps(archive: Path, names: list[str]) -> tuple[list[SweepSpec], list[Defect]]:
    """The archive's sweeps, and a defect for each file that is no sweep."""
    specs, wrong = [], []
    for name in names:
        if name.startswith("sweeps/"):
            try:
                specs.append(from_yaml((archive / name).read_text(encoding="utf-8"), source=name))
            except (InputError, UnicodeDecodeError) as error:
                wrong.append(Defect(name, f"is not a sweep: {error}"))
    if not specs and not wrong:
        wrong.append(Defect("sweeps", "the archive contains no sweep"))
    return specs, wrong


def check_laws(archive: Path, names: list[str]) -> Iterator[Defect]:
    """Every law file must be readable."""
    for name in names:
        if name.startswith("laws/"):
            try:
                read_law(archive / name)
            except (InputError, UnicodeDecodeError) as error:
                yield Defect(name, f"is not a law: {error}")


def check_provenance(archive: Path, summary: Summary | None, names: list[str]) -> Iterator[Defect]:
    """`provenance.json` must describe the tables; `summary`: recomputed from them, None if they can't be read."""
    provenance = _json(archive / PROVENANCE)
    if provenance is None:
        yield Defect(PROVENANCE, "is not a JSON object")
        return
    for key, supported in (("archive_version", VERSION), ("schema_version", SCHEMA_VERSION)):
        if provenance.get(key) != supported:
            yield Defect(PROVENANCE, f"{key} is {provenance.get(key)!r}; this phantom_dist reads {supported}")
    sweeps = {name for name in names if name.startswith("sweeps/")}
    runs = provenance.get("runs")
    named = {run.get("sweep") for run in runs if isinstance(run, dict)} if isinstance(runs, list) else set()
    if named != sweeps:
        yield Defect(
            PROVENANCE, f"does not name exactly the archive's sweeps; the difference: {_some(named ^ sweeps)}"
        )
    laws = [name for name in names if name.startswith("laws/")]
    if provenance.get("laws") != sorted(laws):
        yield Defect(PROVENANCE, "does not name exactly the archive's laws")
    if summary is None:
        return
    data, expected = provenance.get("data"), summary.to_json()
    if not isinstance(data, dict):
        yield Defect(PROVENANCE, "has no object `data`")
        return
    for key in sorted({*expected, *data}):
        if data.get(key) != expected.get(key):
            yield Defect(
                PROVENANCE, f"{key} is {_short(data.get(key))}; the tables have {_short(expected.get(key))}"
            )
    merged = provenance.get("merged")
    copies = merged.get("duplicates") if isinstance(merged, dict) else None
    counts = [run.get("trials") for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
    whole = [count for count in (*counts, copies) if isinstance(count, int)]
    if len(whole) != len(counts) + 1 or sum(whole[:-1]) - whole[-1] != summary.rows["trials"]:
        yield Defect(
            PROVENANCE,
            "the trials of the runs minus the copies left out are not the number of rows in trials",
        )


def check_croissant(archive: Path, sums: Mapping[str, str], summary: Summary | None) -> Iterator[Defect]:
    """`croissant.json` must list every Parquet file with its size and checksum, and every column."""
    croissant = _json(archive / CROISSANT)
    if croissant is None:
        yield Defect(CROISSANT, "is not a JSON object")
        return
    tables = {name: digest for name, digest in sums.items() if name.endswith(".parquet")}
    files = {
        item.get("contentUrl"): (item.get("sha256"), item.get("contentSize"))
        for item in _dicts(croissant.get("distribution"))
        if item.get("@type") == "cr:FileObject"
    }
    actual = {name: (digest, f"{(archive / name).stat().st_size} B") for name, digest in tables.items()}
    for name in sorted({*files, *actual}, key=str):
        if name not in files or name not in actual or files[name] != actual[name]:
            yield Defect(CROISSANT, f"describes {name} wrongly (its presence, size or sha256)")
    records = {record.get("name"): record for record in _dicts(croissant.get("recordSet"))}
    expected = {name.split("/", 1)[0] for name in tables}
    if set(records) != expected:
        yield Defect(
            CROISSANT,
            f"does not have one record set per table; the difference: {_some({*records} ^ expected)}",
        )
    for name in sorted(expected & {*records}):
        columns = [field.get("name") for field in _dicts(records[name].get("field"))]
        if columns != [quantity.name for quantity in COLUMNS[name]]:
            yield Defect(CROISSANT, f"lists fields of {name} that are not its columns")
        if summary is not None and not str(records[name].get("description")).endswith(
            f" {summary.rows[name]} rows."
        ):
            yield Defect(CROISSANT, f"gives {name} another number of rows than {summary.rows[name]}")


def check_crate(archive: Path, sums: Mapping[str, str]) -> Iterator[Defect]:
    """`ro-crate-metadata.json` must list every file with its size and checksum."""
    crate = _json(archive / CRATE)
    if crate is None:
        yield Defect(CRATE, "is not a JSON object")
        return
    entities = {item.get("@id"): item for item in _dicts(crate.get("@graph"))}
    files = {
        name: (item.get("sha256"), item.get("contentSize"))
        for name, item in entities.items()
        if item.get("@type") == "File"
    }
    actual = {
        address(name): (digest, str((archive / name).stat().st_size))
        for name, digest in sums.items()
        if name not in (CRATE, CHECKSUMS)
    }
    for name in sorted({*files, *actual}, key=str):
        if name not in files or name not in actual or files[name] != actual[name]:
            yield Defect(CRATE, f"describes {name} wrongly (its presence, size or sha256)")
    parts = {part.get("@id") for part in _dicts(entities.get("./", {}).get("hasPart"))}
    if parts != set(actual):
        yield Defect(
            CRATE, f"does not list exactly the archive's files; the difference: {_some(parts ^ set(actual))}"
        )


def check_card(archive: Path, summary: Summary | None) -> Iterator[Defect]:
    """The card must have its header and the right counts; the citation must be YAML."""
    try:
        text = (archive / CARD).read_text(encoding="utf-8")
        header = (
            YAML(typ="safe", pure=True).load(text.split("---\n")[1]) if text.startswith("---\n") else None
        )
    except (YAMLError, UnicodeDecodeError, IndexError):
        header, text = None, ""
    if not isinstance(header, dict):
        yield Defect(CARD, "has no YAML header")
    elif summary is not None and counts(summary) not in text:
        yield Defect(CARD, "counts rows or outcomes wrongly")
    try:
        citation = YAML(typ="safe", pure=True).load((archive / CITATION).read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        citation = None
    if not isinstance(citation, dict) or "cff-version" not in citation:
        yield Defect(CITATION, "is not a citation file (YAML with `cff-version`)")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _some(names: set[Any]) -> str:
    return ", ".join(sorted(map(str, names))[:3])[:300]


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."
