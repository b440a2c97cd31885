"""Honest words: each kind of evidence has its phrase, and no page or answer says that a mail was read or opened."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from campaigns import wording
from render.facts import FetchClass
from signals.mailreports import KINDS

ROOT = Path(__file__).resolve().parents[2]
DISHONEST = re.compile(r"\b(read|reads|reading|opened|unopened)\b", re.IGNORECASE)
_CODE = re.compile(
    r"{%.*?%}|{#.*?#}|<(style|script)\b.*?</\1>|(?<=[ \n])(href|src|id|class|name|for)=\"[^\"]*\"", re.DOTALL
)
_SAID = re.compile(r"'[^']*'|\"[^\"]*\"")


def words_of_a_template(path: Path) -> Iterator[str]:
    """What a reader of the page may see: its text and attributes, and the texts that its expressions choose from."""
    source = path.read_text()
    for expression in re.findall(r"{{.*?}}|{%.*?%}", source, re.DOTALL):
        if "url_for" not in expression and "extends" not in expression:
            yield from _SAID.findall(expression)
    yield re.sub(r"{{.*?}}", " ", _CODE.sub(" ", source), flags=re.DOTALL)


def texts_of_a_module(path: Path) -> Iterator[str]:
    """The texts of a module that are no documentation."""
    tree = ast.parse(path.read_text())
    told = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


@pytest.mark.feature("SU-08")
def test_it_has_a_phrase_for_each_kind_of_evidence_and_says_nowhere_that_a_mail_was_read() -> None:
    assert set(wording.CLASS_WORDS) == set(get_args(FetchClass))
    assert set(wording.LATER_WORDS) == set(KINDS)
    phrases = dict(wording.EVIDENCE)
    assert len(set(phrases.values())) == len(wording.EVIDENCE), "two kinds of evidence must not sound alike"
    assert phrases["ledger: the relay answered 250"] == "accepted by the mail server"
    assert phrases["fetch of class prefetch"].startswith("fetched by a machine")
    assert phrases["fetch of class scanner"].startswith("fetched by a machine")
    assert phrases["fetch of class proxy"].startswith("probably seen")
    assert phrases["click of a person after a sight"] == "seen and clicked"
    assert phrases["report of a bounce, the address is gone"].startswith("bounced later")
    dishonest = [
        (path.relative_to(ROOT), found[0], text[max(0, found.start() - 40) : found.end() + 40])
        for path in sorted((ROOT / "templates").rglob("*.html"))
        for text in words_of_a_template(path)
        if (found := DISHONEST.search(text))
    ]
    dishonest += [
        (path.relative_to(ROOT), found[0], text)
        for path in sorted((ROOT / "campaigns").rglob("*.py"))
        for text in texts_of_a_module(path)
        if (found := re.search(r"\b(is|was|were|been|not) (read|opened)\b", text))
    ]
    assert not dishonest, dishonest


def test_it_documents_the_phrases_as_they_are() -> None:
    page = (ROOT / "docs" / "wording.md").read_text()
    rows = re.findall(r"^\| (.+?) \| “(.+?)” \|", page, re.MULTILINE)
    assert rows == list(wording.EVIDENCE)
