"""Libraries are loaded without what they would drag along, which stays importable."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library", "company"),
    [("workers.boosters", "lightgbm", ("pandas", "sklearn", "pyarrow", "dask")), ("base.logs", "structlog", ("rich",))],
)
def test_it_loads_a_library_without_its_company_and_leaves_that_importable(
    module: str, library: str, company: tuple[str, ...]
) -> None:
    program = f"""
import importlib, sys
importlib.import_module({module!r})
assert {library!r} in sys.modules
print(sorted(set({company}) & sys.modules.keys()))
print(*(importlib.import_module(name).__name__ for name in {company}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["[]", " ".join(company)]
