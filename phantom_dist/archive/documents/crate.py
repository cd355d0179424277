"""`ro-crate-metadata.json`: which runs made which files, as a Process Run Crate (Workflow Run RO-Crate 0.5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from phantom_dist.archive.documents.citation import UNNAMED, Citation, licence_url
from phantom_dist.archive.documents.croissant import description
from phantom_dist.archive.layout import CRATE, MEDIA_TYPES
from phantom_dist.archive.summary import Summary

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_SOFTWARE = "#phantom_dist"


def crate(
    citation: Citation,
    summary: Summary,
    provenance: Mapping[str, Any],
    sums: Mapping[str, str],
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """The contents of the file: one action per sweep, from the sweep's file to the tables.

    Args:
        citation: title, authors, licence.
        summary: what the tables contain.
        provenance: the contents of `provenance.json`.
        sums: sha256 by name of file.
        sizes: bytes by name of file.
    """
    authors = [_agent(number, name, citation) for number, name in enumerate(citation.names)]
    tables = [name for name in sorted(sums) if name.endswith(".parquet")]
    sweeps = sorted({run["sweep"] for run in provenance["runs"]})
    actions = [_action(sweep, tables, summary, authors) for sweep in sweeps]
    licences = [
        {
            "@id": licence_url(spdx),
            "@type": "CreativeWork",
            "name": spdx,
            "description": f"SPDX licence {spdx}",
        }
        for spdx in citation.licence_ids
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": citation.title,
        "description": description(summary),
        "datePublished": summary.date,
        "license": _ids(licences),
        "author": _ids(authors),
        "conformsTo": {"@id": _PROFILE},
        "hasPart": [{"@id": address(name)} for name in sorted(sums)],
        "mentions": _ids(actions),
    }
    descriptor = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    profile = {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    software = {
        "@id": _SOFTWARE,
        "@type": "SoftwareApplication",
        "name": "phantom_dist",
        "softwareVersion": "; ".join(summary.versions) or provenance["packed_by"]["phantom_dist"],
    }
    files = [_file(name, sums[name], sizes[name]) for name in sorted(sums)]
    return {
        "@context": ["https://w3id.org/ro/crate/1.1/context", {"sha256": "http://schema.org/sha256"}],
        "@graph": [descriptor, root, profile, software, *authors, *licences, *actions, *files],
    }


def address(name: str) -> str:
    """A file's name as a relative URI."""
    return quote(name)


def _agent(number: int, name: str, citation: Citation) -> dict[str, Any]:
    person = number < len(citation.authors) and "," in citation.authors[number]
    described = {"description": "Whoever packed this archive named nobody."} if name == UNNAMED else {}
    return {
        "@id": f"#author-{number + 1}",
        "@type": "Person" if person else "Organization",
        "name": name,
    } | described


def _action(sweep: str, tables: list[str], summary: Summary, authors: list[dict[str, Any]]) -> dict[str, Any]:
    action = {
        "@id": f"#{sweep}",
        "@type": "CreateAction",
        "name": f"phantom-dist run {PurePosixPath(sweep).name}",
        "description": "Trains and measures every trial of the sweep.",
        "instrument": {"@id": _SOFTWARE},
        "object": {"@id": address(sweep)},
        "result": [{"@id": address(name)} for name in tables],
        "agent": _ids(authors),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    return action | ({} if summary.last_result is None else {"endTime": summary.last_result})


def _file(name: str, digest: str, size: int) -> dict[str, Any]:
    return {
        "@id": address(name),
        "@type": "File",
        "name": name,
        "encodingFormat": MEDIA_TYPES[PurePosixPath(name).suffix],
        "contentSize": str(size),
        "sha256": digest,
    }


def _ids(entities: list[dict[str, Any]]) -> list[dict[str, str]] | dict[str, str]:
    """References to entities; a single one is not wrapped in a list, as RO-Crate recommends."""
    references = [{"@id": entity["@id"]} for entity in entities]
    return references[0] if len(references) == 1 else references
