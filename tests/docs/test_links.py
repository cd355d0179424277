"""Links between documents lead somewhere: to a file that exists, and to a heading in it; files that are named exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.snippets import DOCUMENTS, ROOT

LINK = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
NAMED = re.compile(r"`((?:clusters|phantom_dist|sweeps|tests)/[\w./-]+)`")
BELOW_THE_PACKAGE = re.compile(r"`([\w/]+\.(?:py|md|yaml|json|html))`")


def text_of(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.DOTALL | re.M)


def anchors(document: str) -> set[str]:
    """The fragments that a forge makes of a document's headings."""
    heads = re.findall(r"^#+ (.*)$", text_of(document), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(document: str, text: str) -> list[str]:
    """Links of a text, as part of a document, that lead nowhere."""
    wrong = []
    for target in LINK.findall(text):
        path, _, fragment = target.partition("#")
        file = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        there = file.exists() and (not fragment or fragment in anchors(str(file.relative_to(ROOT))))
        wrong += [] if there else [target]
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    assert broken(document, text_of(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    assert [name for name in NAMED.findall(text_of(document)) if not (ROOT / name).exists()] == []


def test_files_that_the_architecture_names_exist():
    named = BELOW_THE_PACKAGE.findall(text_of("phantom_dist/README.md"))
    assert len(named) > 30
    places = (ROOT / "phantom_dist", ROOT, ROOT / "phantom_dist/engines/lanes")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_a_broken_link_would_be_noticed():
    assert broken("README.md", "[a](nowhere.md) [b](SECURITY.md#nowhere) [c](SECURITY.md)") == [
        "nowhere.md",
        "SECURITY.md#nowhere",
    ]
