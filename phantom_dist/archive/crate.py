"""`ro-crate-metadata.json`: which runs made which files, a Process Run Crate (Workflow Run RO-Crate 0.5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from phantom_dist.archive.about import UNNAMED, About, licence_url
from phantom_dist.archive.croissant import description
from phantom_dist.archive.facts import date_of
from phantom_dist.archive.layout import CRATE, MEDIA_TYPES

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_SOFTWARE = "#phantom_dist"


def crate(
    said: About, provenance: Mapping[str, Any], sums: Mapping[str, str], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """The contents of the file: one action a sweep, from its file to the tables.

    Args:
        said: title, authors, licence.
        provenance: the contents of `provenance.json`.
        sums: sha256 of files by name.
        sizes: their sizes in bytes.
    """
    facts = provenance["data"]
    authors = [_agent(number, name, said) for number, name in enumerate(said.names)]
    tables = [name for name in sorted(sums) if name.endswith(".parquet")]
    actions = [_action(sweep, tables, provenance, authors) for sweep in _sweeps(provenance)]
    licences = [
        {
            "@id": licence_url(spdx),
            "@type": "CreativeWork",
            "name": spdx,
            "description": f"SPDX licence {spdx}",
        }
        for spdx in said.licence_ids
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": said.title,
        "description": description(facts),
        "datePublished": date_of(facts),
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
        "softwareVersion": "; ".join(facts["versions"]) or provenance["packed_by"]["phantom_dist"],
    }
    files = [_file(name, sums[name], sizes[name]) for name in sorted(sums)]
    return {
        "@context": ["https://w3id.org/ro/crate/1.1/context", {"sha256": "http://schema.org/sha256"}],
        "@graph": [descriptor, root, profile, software, *authors, *licences, *actions, *files],
    }


def address(name: str) -> str:
    """A file's name as a relative URI."""
    return quote(name)


def _sweeps(provenance: Mapping[str, Any]) -> list[str]:
    return sorted({run["sweep"] for run in provenance["runs"]})


def _agent(number: int, name: str, said: About) -> dict[str, Any]:
    person = number < len(said.authors) and "," in said.authors[number]
    described = {"description": "Whoever packed this archive named nobody."} if name == UNNAMED else {}
    return {
        "@id": f"#author-{number + 1}",
        "@type": "Person" if person else "Organization",
        "name": name,
    } | described


def _action(
    sweep: str, tables: list[str], provenance: Mapping[str, Any], authors: list[dict[str, Any]]
) -> dict[str, Any]:
    facts = provenance["data"]
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
    times = {"startTime": facts["first_result"], "endTime": facts["last_result"]}
    return action | ({} if facts["last_result"] is None else {"endTime": times["endTime"]})


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
    """References; a single one stands alone, as RO-Crate recommends."""
    found = [{"@id": entity["@id"]} for entity in entities]
    return found[0] if len(found) == 1 else found
