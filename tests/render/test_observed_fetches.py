"""The corpus of fetches that were seen: the published figures are the computed ones, and what rests on no open."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from tests.fetch_classes import OBSERVED_PAGE, PAGE, observed_page, page
from tests.observed_fetches import CORPUS, SIDES, TRUTHS, recorded, seen, wilson

ROOT = Path(__file__).resolve().parent.parent.parent
JUDGES = (
    "breaker",
    "triggers",
    "goals",
    "habits",
    "lift",
    "sampleratio",
    "population",
    "segments",
    "rulebook",
    "suppressform",
)
"""Modules of `campaigns` that stop, start, choose or judge by what happened."""


@pytest.mark.feature("CM-67")
def test_it_publishes_what_the_observed_cases_are_told_to_be() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
    assert OBSERVED_PAGE.read_text(encoding="utf-8") == observed_page()
    cases = list(seen())
    assert len(cases) >= 50
    assert len({case.source for case in cases}) >= 30
    assert {case.truth for case in cases} == set(TRUTHS)
    timed = [case for case in recorded(cases) if case.seconds is not None]
    assert {case.truth for case in timed} == set(TRUTHS)


def test_it_takes_no_observed_reader_for_a_machine() -> None:
    told = [case for case in recorded(list(seen())) if case.told in SIDES["machine"]]
    assert len(told) > 10
    assert [case for case in told if case.truth not in SIDES["machine"]] == []


def test_it_keeps_facts_and_no_person() -> None:
    raw = CORPUS.read_text(encoding="utf-8")
    without_agents = re.sub(r'"agent": "[^"]*"', "", raw)
    assert "@" not in raw
    assert re.search(r"\b\d{1,3}(\.\d{1,3}){3}\b", without_agents.replace("79.0.3945", "")) is None
    for group in json.loads(raw):
        assert group["source"]
        assert group["date"]
        assert group["sure"] in ("measured", "found", "held")
        for case in group["cases"]:
            assert case["what"]
            assert isinstance(case["agent"], str)


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_it_gives_the_intervals_that_the_books_have(part: int, whole: int, low: float, high: float) -> None:
    assert list(wilson(part, whole)) == pytest.approx([low, high], abs=1e-4)


@pytest.mark.feature("CM-67")
@pytest.mark.parametrize("name", JUDGES)
def test_what_stops_starts_or_judges_reads_no_fetches(name: str) -> None:
    tree = ast.parse((ROOT / "campaigns" / f"{name}.py").read_text(encoding="utf-8"))
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {one for one in imported if one.startswith("campaigns.opens")} <= {"campaigns.opens.Click"}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if re.search(r'FROM "?fetch"?|JOIN "?fetch"?|fetch_class', text)] == []
