"""Title, authors and licence of an archive, and the two files that consist of them: `CITATION.cff` and `LICENSE`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from ruamel.yaml import YAML

from phantom_dist.core.errors import InputError

UNNAMED = "The authors of the archive"
"""The author in all documents if the user named none; no person is invented."""

DEFAULT_LICENCE = "CC-BY-4.0"


@dataclass(frozen=True, kw_only=True)
class Citation:
    """How an archive is cited, and under which licence.

    Attributes:
        title: one line.
        authors: as given: "Family, Given" is a person, anything else a group.
        licence: an SPDX expression.
    """

    title: str
    authors: tuple[str, ...]
    licence: str

    @property
    def names(self) -> tuple[str, ...]:
        """The authors as "Given Family" or a group's name; never empty."""
        return tuple(_display_name(author) for author in self.authors) or (UNNAMED,)

    @property
    def licence_ids(self) -> tuple[str, ...]:
        """The SPDX identifiers in the licence expression."""
        words = self.licence.replace("(", " ").replace(")", " ").split()
        return tuple(word.rstrip("+") for word in words if word not in ("AND", "OR", "WITH"))

    @property
    def licence_url(self) -> str:
        """The page with the text of the (first) licence."""
        return licence_url(self.licence_ids[0])


def make_citation(title: str | None, authors: Sequence[str], licence: str, sweeps: Sequence[str]) -> Citation:
    """Validate what the user gave; without a title, the names of the sweeps make one.

    Raises:
        InputError: an author without a name, an empty title, or a licence that SPDX does not know.
    """
    for author in authors:
        if not _display_name(author):
            raise InputError(f"--author {author!r}: has no name; allowed: 'Family, Given', or a group's name")
    try:
        known = canonicalize_license_expression(licence)
    except InvalidLicenseExpression as error:
        raise InputError(
            f"--license {licence}: no SPDX licence expression ({error}). Examples: CC-BY-4.0, CC0-1.0, Apache-2.0."
        ) from None
    if title is not None and not title.strip():
        raise InputError("--title: is empty; give a title, or leave the option out")
    return Citation(
        title=" ".join(title.split()) if title else f"phantom_dist sweeps: {', '.join(sorted(set(sweeps)))}",
        authors=tuple(authors),
        licence=known,
    )


def licence_url(spdx: str) -> str:
    """SPDX's page of a licence, with its text."""
    return f"https://spdx.org/licenses/{spdx}.html"


def licence_text(citation: Citation) -> str:
    """The file LICENSE: which licence, and where its text is."""
    urls = "\n".join(licence_url(spdx) for spdx in citation.licence_ids)
    return (
        f"{citation.title}\nCopyright: {'; '.join(citation.names)}\nSPDX-License-Identifier: {citation.licence}\n\n"
        f"The files of this archive may be used under the licence that is named above. Its text:\n{urls}\n"
    )


def cff_text(citation: Citation, date: str | None) -> str:
    """The file CITATION.cff (Citation File Format 1.2.0); `date`: of the last result, YYYY-MM-DD."""
    ids = list(citation.licence_ids)
    values: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this data set, please cite it.",
        "type": "dataset",
        "title": citation.title,
        "authors": [_cff_author(author) for author in citation.authors] or [{"name": UNNAMED}],
        "license": ids[0] if len(ids) == 1 else ids,
        "keywords": ["fine-tuning", "learning rate", "language model", "near-synonyms"],
    }
    if date is not None:
        values["date-released"] = date
    return yaml_text(values)


def yaml_text(values: Mapping[str, Any]) -> str:
    """A mapping as YAML, with its keys in their own order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 1_000_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(dict(values), stream)
    return stream.getvalue()


def _display_name(author: str) -> str:
    family, _, given = (part.strip() for part in author.partition(","))
    return f"{given} {family}".strip()


def _cff_author(author: str) -> dict[str, str]:
    family, comma, given = (part.strip() for part in author.partition(","))
    return (
        {"family-names": family, "given-names": given}
        if comma and family and given
        else {"name": _display_name(author)}
    )
