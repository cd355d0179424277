"""What the documents of an archive say, held against its files and its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from phantom_dist.archive.card import counts
from phantom_dist.archive.crate import address
from phantom_dist.archive.croissant import COLUMNS
from phantom_dist.archive.defect import Defect
from phantom_dist.archive.facts import Facts
from phantom_dist.archive.layout import CARD, CHECKSUMS, CITATION, CRATE, CROISSANT, PROVENANCE, VERSION
from phantom_dist.core.errors import InputError
from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.law.file import read_law
from phantom_dist.spec import SweepSpec, from_yaml


def read_sweeps(archive: Path, names: list[str]) -> tuple[list[SweepSpec], list[Defect]]:
    """The archive's sweeps, and those that are none."""
    specs, wrong = [], []
    for name in names:
        if name.startswith("sweeps/"):
            try:
                specs.append(from_yaml((archive / name).read_text(encoding="utf-8"), source=name))
            except (InputError, UnicodeDecodeError) as error:
                wrong.append(Defect(name, f"is no sweep: {error}"))
    if not specs and not wrong:
        wrong.append(Defect("sweeps", "there is none"))
    return specs, wrong


def check_laws(archive: Path, names: list[str]) -> Iterator[Defect]:
    """Every law can be read."""
    for name in names:
        if name.startswith("laws/"):
            try:
                read_law(archive / name)
            except (InputError, UnicodeDecodeError) as error:
                yield Defect(name, f"is no law: {error}")


def check_provenance(archive: Path, facts: Facts | None, names: list[str]) -> Iterator[Defect]:
    """`provenance.json` says what the tables hold; `facts`: what they do hold, None where that could not be counted."""
    said = _json(archive / PROVENANCE)
    if said is None:
        yield Defect(PROVENANCE, "is no JSON object")
        return
    for key, here in (("archive_version", VERSION), ("schema_version", SCHEMA_VERSION)):
        if said.get(key) != here:
            yield Defect(PROVENANCE, f"{key} is {said.get(key)!r}; this phantom_dist reads {here}")
    sweeps = {name for name in names if name.startswith("sweeps/")}
    runs = said.get("runs")
    named = {run.get("sweep") for run in runs if isinstance(run, dict)} if isinstance(runs, list) else set()
    if named != sweeps:
        yield Defect(PROVENANCE, f"names other sweeps than are there: {_some(named ^ sweeps)}")
    laws = [name for name in names if name.startswith("laws/")]
    if said.get("laws") != sorted(laws):
        yield Defect(PROVENANCE, "names other laws than are there")
    if facts is None:
        return
    data = said.get("data")
    if not isinstance(data, dict):
        yield Defect(PROVENANCE, "says nothing of the data")
        return
    for key in sorted({*facts, *data}):
        if data.get(key) != facts.get(key):
            yield Defect(
                PROVENANCE, f"{key} is {_short(data.get(key))}; the tables hold {_short(facts.get(key))}"
            )
    merged = said.get("merged")
    copies = merged.get("duplicates") if isinstance(merged, dict) else None
    counts = [run.get("trials") for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
    whole = [count for count in (*counts, copies) if isinstance(count, int)]
    if len(whole) != len(counts) + 1 or sum(whole[:-1]) - whole[-1] != facts["rows"]["trials"]:
        yield Defect(
            PROVENANCE, "the runs' trials without their copies are not as many as there are in the table"
        )


def check_croissant(archive: Path, sums: Mapping[str, str], facts: Facts | None) -> Iterator[Defect]:
    """`croissant.json` lists every Parquet file with its size and checksum, and every column."""
    said = _json(archive / CROISSANT)
    if said is None:
        yield Defect(CROISSANT, "is no JSON object")
        return
    tables = {name: digest for name, digest in sums.items() if name.endswith(".parquet")}
    files = {
        item.get("contentUrl"): (item.get("sha256"), item.get("contentSize"))
        for item in _dicts(said.get("distribution"))
        if item.get("@type") == "cr:FileObject"
    }
    there = {name: (digest, f"{(archive / name).stat().st_size} B") for name, digest in tables.items()}
    for name in sorted({*files, *there}, key=str):
        if name not in files or name not in there or files[name] != there[name]:
            yield Defect(CROISSANT, f"says of {name} what is not so (its place, size or sha256)")
    records = {record.get("name"): record for record in _dicts(said.get("recordSet"))}
    expected = {name.split("/", 1)[0] for name in tables}
    if set(records) != expected:
        yield Defect(
            CROISSANT, f"has other record sets than there are tables: {_some({*records} ^ expected)}"
        )
    for name in sorted(expected & {*records}):
        columns = [field.get("name") for field in _dicts(records[name].get("field"))]
        if columns != [quantity.name for quantity in COLUMNS[name]]:
            yield Defect(CROISSANT, f"has other fields of {name} than there are columns")
        if facts is not None and not str(records[name].get("description")).endswith(
            f" {facts['rows'][name]} rows."
        ):
            yield Defect(CROISSANT, f"says that {name} has another number of rows than {facts['rows'][name]}")


def check_crate(archive: Path, sums: Mapping[str, str]) -> Iterator[Defect]:
    """`ro-crate-metadata.json` lists every file with its size and checksum."""
    said = _json(archive / CRATE)
    if said is None:
        yield Defect(CRATE, "is no JSON object")
        return
    entities = {item.get("@id"): item for item in _dicts(said.get("@graph"))}
    files = {
        name: (item.get("sha256"), item.get("contentSize"))
        for name, item in entities.items()
        if item.get("@type") == "File"
    }
    there = {
        name: (digest, str((archive / name).stat().st_size))
        for name, digest in sums.items()
        if name not in (CRATE, CHECKSUMS)
    }
    there = {address(name): facts for name, facts in there.items()}
    for name in sorted({*files, *there}, key=str):
        if name not in files or name not in there or files[name] != there[name]:
            yield Defect(CRATE, f"says of {name} what is not so (that it is there, its size or sha256)")
    parts = {part.get("@id") for part in _dicts(entities.get("./", {}).get("hasPart"))}
    if parts != set(there):
        yield Defect(CRATE, f"has other parts than there are files: {_some(parts ^ set(there))}")


def check_card(archive: Path, facts: Facts | None) -> Iterator[Defect]:
    """The card has its header and counts what there is; the citation is YAML."""
    try:
        text = (archive / CARD).read_text(encoding="utf-8")
        head = YAML(typ="safe", pure=True).load(text.split("---\n")[1]) if text.startswith("---\n") else None
    except (YAMLError, UnicodeDecodeError, IndexError):
        head, text = None, ""
    if not isinstance(head, dict):
        yield Defect(CARD, "has no header")
    elif facts is not None and counts(facts) not in text:
        yield Defect(CARD, "counts other rows or outcomes than there are")
    try:
        citation = YAML(typ="safe", pure=True).load((archive / CITATION).read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        citation = None
    if not isinstance(citation, dict) or "cff-version" not in citation:
        yield Defect(CITATION, "is no citation file")


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
