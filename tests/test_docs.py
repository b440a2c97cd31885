"""The documents agree with what they speak of: links lead somewhere, and the API's routes are all there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.api_page import PAGE, page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_it_links_only_to_what_is_there(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_it_mentions_every_document_in_the_readme_or_another() -> None:
    linked = {(path.parent / link).resolve() for path in DOCUMENTS for link in LINK.findall(path.read_text())}
    assert [path.name for path in DOCUMENTS[2:] if path not in linked] == []


def test_it_lists_every_route_of_the_api() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.api_page"
