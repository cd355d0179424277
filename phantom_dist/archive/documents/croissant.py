"""`croissant.json` (Croissant 1.1): the files with checksums, the columns with types and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phantom_dist.archive.documents.citation import Citation
from phantom_dist.archive.layout import MEDIA_TYPES, TABLES
from phantom_dist.archive.summary import Summary
from phantom_dist.core.quantities import PROBE_COLUMNS, TRACE_COLUMNS, TRIAL_COLUMNS, ColumnType, Quantity

COLUMNS = {"trials": TRIAL_COLUMNS, "probes": PROBE_COLUMNS, "traces": TRACE_COLUMNS}

ROWS = {
    "trials": "One row per trial: settings, outcome, jump, Π.",
    "probes": "One row per problem: what was measured before any training, or why it was refused.",
    "traces": "One row per trial and step; a folder for each model.",
}
"""What a row is. `archive verify` looks for these words in the card: another wording would refuse older archives."""

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
"""The JSON-LD context of Croissant's specification."""


def croissant(
    citation: Citation, summary: Summary, sums: Mapping[str, str], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """The contents of the file.

    Args:
        citation: title, authors, licence.
        summary: what the tables contain.
        sums: sha256 by name of file; only the tables' files are listed.
        sizes: bytes by name of file.
    """
    tables = [table for table in TABLES if any(name.startswith(f"{table}/") for name in sums)]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": citation.title,
        "description": description(summary),
        "license": citation.licence_url,
        "creator": [
            {"@type": "sc:Person" if "," in author else "sc:Organization", "name": name}
            for author, name in zip(citation.authors or citation.names, citation.names, strict=True)
        ],
        "datePublished": summary.date,
        "version": "1.0.0",
        "citeAs": bibtex(citation, summary),
        "distribution": [*_files(sums, sizes), *map(_file_set, tables)],
        "recordSet": [_record_set(table, summary.rows[table]) for table in tables],
    }


def description(summary: Summary) -> str:
    """The data set in two sentences."""
    rows = summary.rows
    return (
        f"{rows['trials']:,} fine-tuning trials of {len({m.weights_sha256 for m in summary.models})} language "
        f"model(s) on contexts whose right next word has a near-synonym rival, with {rows['traces']:,} steps measured. "
        "What is measured: loss, logit gap, signal, drag and order parameter, as phantom_dist reconstructs them from "
        "the abstract of arXiv 2606.07559."
    )


def bibtex(citation: Citation, summary: Summary) -> str:
    """A BibTeX entry."""
    year = (summary.date or "")[:4]
    fields = [f"title = {{{citation.title}}}", f"author = {{{' and '.join(citation.names)}}}"]
    return f"@misc{{archive, {', '.join([*fields, *[f'year = {{{year}}}'] * bool(year)])}}}"


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


def _file_set(table: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{table}-files",
        "name": f"{table}-files",
        "description": ROWS[table],
        "encodingFormat": PARQUET,
        "includes": f"{table}/**/*.parquet" if table == "traces" else f"{table}/*.parquet",
    }


def _record_set(table: str, rows: int) -> dict[str, Any]:
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
