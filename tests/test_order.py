from __future__ import annotations

import pytest

from tests.order import SECONDS, SHARING, longest_first, whole
from tests.serving import ROOT


def test_it_keeps_all_tests_of_an_installation_on_one_process(request: pytest.FixtureRequest) -> None:
    folders = {fixture: (ROOT / paths[0]).parent for fixture, paths in SHARING.items()}
    for item in request.session.items:
        assert isinstance(item, pytest.Function)
        for fixture, folder in folders.items():
            if item.path.parent == folder and fixture in item.fixturenames:
                assert whole(item.nodeid) == fixture, f"list {item.path.name} in tests/order.py"


def test_it_knows_files_that_there_are() -> None:
    named = {path for paths in SHARING.values() for path in paths} | (SECONDS.keys() - SHARING.keys())
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_it_begins_with_the_longest_and_keeps_what_belongs_together() -> None:
    told = ["tests/short.py::a", "tests/promises/test_once.py::a", "tests/workers/test_up.py::b", "tests/short.py::c",
            "tests/workers/test_up.py::a", "tests/promises/test_fresh.py::a"]  # fmt: skip
    assert longest_first(told) == [told[1], told[5], told[2], told[4], told[0], told[3]]
