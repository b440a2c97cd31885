"""What concerns processes of the host."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque

import pytest

from base import processes
from base.errors import StartError
from base.processes import PORTS, free_port

SCRIPT = "import os; from base.processes import give_way; {}; print(os.nice(0))"


@pytest.mark.parametrize(
    ("calls", "gained"),
    [("give_way(0)", 0), ("give_way(3)", 3), ("give_way(3); give_way(3)", 3), ("give_way(3); give_way(1)", 3)],
)
def test_it_gives_way_by_what_is_said_and_never_takes_it_back(calls: str, gained: int) -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT.format(calls)], capture_output=True, text=True, check=True)
    alone = subprocess.run([sys.executable, "-c", SCRIPT.format("pass")], capture_output=True, text=True, check=True)
    assert int(said.stdout) == max(int(alone.stdout), gained)


def test_it_gives_each_free_port_once_and_none_that_somebody_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = free_port(), free_port()
    assert one != other
    assert {one, other} <= set(PORTS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", one))
        taken.listen()
        monkeypatch.setattr(processes, "PORTS", (one, other))
        monkeypatch.setattr(processes, "_given", deque())
        assert free_port() == other
        with pytest.raises(StartError, match="No free port"):
            free_port()
