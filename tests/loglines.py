"""What a test's program has logged."""

from __future__ import annotations

import pytest


def log_lines(word: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines with a word in them. Once a test of the same process has set up logs, each line goes two ways."""
    ways = "".join(capsys.readouterr()), caplog.text
    found = [[line for line in way.splitlines() if word in line] for way in ways]
    return max(found, key=len)
