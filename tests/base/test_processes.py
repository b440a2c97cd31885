"""What concerns processes of the host."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = "import os; from base.processes import give_way; {}; print(os.nice(0))"


@pytest.mark.parametrize(
    ("calls", "gained"),
    [("give_way(0)", 0), ("give_way(3)", 3), ("give_way(3); give_way(3)", 3), ("give_way(3); give_way(1)", 3)],
)
def test_it_gives_way_by_what_is_said_and_never_takes_it_back(calls: str, gained: int) -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT.format(calls)], capture_output=True, text=True, check=True)
    alone = subprocess.run([sys.executable, "-c", SCRIPT.format("pass")], capture_output=True, text=True, check=True)
    assert int(said.stdout) == max(int(alone.stdout), gained)
