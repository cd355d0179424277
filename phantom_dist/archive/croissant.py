"""`croissant.json`: the tables for machines (Croissant 1.1): files with checksums, columns with types and meanings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phantom_dist.archive.about import About
from phantom_dist.archive.facts import Facts, date_of
from phantom_dist.archive.layout import MEDIA_TYPES, TABLES
from phantom_dist.core.quantities import PROBE_COLUMNS, TRACE_COLUMNS, TRIAL_COLUMNS, ColumnType, Quantity

COLUMNS = {"trials": TRIAL_COLUMNS, "probes": PROBE_COLUMNS, "traces": TRACE_COLUMNS}

ROWS = {
    "trials": "One row per trial: settings, outcome, jump, Π.",
    "probes": "One row per problem: what was measured before any training, or why it was refused.",
    "traces": "One row per trial and step; a folder for each model.",
}

PARQUET = MEDIA_TYPES[".parquet"]

_TYPES: dict[ColumnType, str] = {
    "float64": "cr:Float64",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "timestamp": "sc:DateTime",
    "list<int32>": "cr:Int32",
    "list<float64>": "cr:Float64",
}

_TERMS = (
    "arrayShape citeAs column conformsTo containedIn equivalentProperty extract field fileProperty fileObject fileSet "
    "format includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated "
    "replace samplingRate separator source subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS.split()},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
}
"""The context that Croissant's specification gives."""


def croissant(said: About, facts: Facts, sums: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The contents of the file.

    Args:
        said: title, authors, licence.
        facts: what the tables hold.
        sums: sha256 of files by name; the tables' are taken.
        sizes: their sizes in bytes.
    """
    rows = facts["rows"]
    tables = [table for table in TABLES if any(name.startswith(f"{table}/") for name in sums)]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": said.title,
        "description": description(facts),
        "license": said.licence_url,
        "creator": [
            {"@type": "sc:Person" if "," in a else "sc:Organization", "name": n} for a, n in _creators(said)
        ],
        "datePublished": date_of(facts),
        "version": "1.0.0",
        "citeAs": citation(said, facts),
        "distribution": [*_files(sums, sizes), *map(_set, tables)],
        "recordSet": [_records(table, rows[table]) for table in tables],
    }


def description(facts: Facts) -> str:
    """The data set in two sentences."""
    rows = facts["rows"]
    return (
        f"{rows['trials']:,} fine-tuning trials of {len({m['weights_sha256'] for m in facts['models']})} language "
        f"model(s) on contexts whose right next word has a near-synonym rival, with {rows['traces']:,} steps measured. "
        "What is measured: loss, logit gap, signal, drag and order parameter, as phantom_dist reconstructs them from "
        "the abstract of arXiv 2606.07559."
    )


def citation(said: About, facts: Facts) -> str:
    """A BibTeX entry."""
    year = (date_of(facts) or "")[:4]
    fields = [f"title = {{{said.title}}}", f"author = {{{' and '.join(said.names)}}}"]
    return f"@misc{{archive, {', '.join([*fields, *[f'year = {{{year}}}'] * bool(year)])}}}"


def _creators(said: About) -> list[tuple[str, str]]:
    return list(zip(said.authors or said.names, said.names, strict=True))


def _files(sums: Mapping[str, str], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{sizes[name]} B",
            "encodingFormat": PARQUET,
            "sha256": digest,
        }
        for name, digest in sorted(sums.items())
        if name.endswith(".parquet")
    ]


def _set(table: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{table}-files",
        "name": f"{table}-files",
        "description": ROWS[table],
        "encodingFormat": PARQUET,
        "includes": f"{table}/**/*.parquet" if table == "traces" else f"{table}/*.parquet",
    }


def _records(table: str, rows: int) -> dict[str, Any]:
    key = {"trials": [f"{table}/trial_id"], "probes": [f"{table}/problem"]}
    keys = key.get(table, [f"{table}/trial_id", f"{table}/step"])
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "description": f"{ROWS[table]} {rows} rows.",
        "key": [{"@id": name} for name in keys],
        "field": [_field(table, quantity) for quantity in COLUMNS[table]],
    }


def _field(table: str, q: Quantity) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table}/{q.name}",
        "name": q.name,
        "description": q.description + (f" (unit: {q.unit})" if q.unit not in ("", "1") else ""),
        "dataType": _TYPES[q.type],
        "source": {"fileSet": {"@id": f"{table}-files"}, "extract": {"column": q.name}},
    }
    if q.type.startswith("list"):
        field |= {"isArray": True, "arrayShape": "-1"}
    if table == "traces" and q.name == "trial_id":
        field["references"] = {"field": {"@id": "trials/trial_id"}}
    return field
