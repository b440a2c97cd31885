"""What `latebind demo` says while it works, and when it is ready."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base.clock import pause
from base.errors import StartError
from base.settings import Settings
from workers.commands import demo
from workers.demo.stage import Voice


class Idle:
    """A system that has nothing to do, and ends."""

    def places(self) -> list[str]:
        return ["Pages    http://127.0.0.1:8100", "manager: mia@example.com  secret"]

    def wait(self) -> str:
        return "It ended."

    def stop(self) -> None:
        pass


def test_the_logins_are_the_last_that_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "System", lambda _settings: Idle())
    show: Any = demo._Show(Settings.from_environment({"LATEBIND_VAR": str(tmp_path)}), Voice(print), None)
    with pytest.raises(StartError, match=r"It ended\."):
        show.go_on()
    show.end()
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert said[0].endswith("the clock now goes with yours; Ctrl-C stops everything")
    assert said[1:] == Idle().places()


def test_a_long_silence_is_broken_and_a_short_one_is_not() -> None:
    said: list[str] = []
    voice = Voice(said.append)
    with voice.unbroken(0.3):
        voice("training")
    assert len(said) == 1
    with voice.unbroken(0.05):
        while len(said) < 3:
            pause(0.01)
    assert said[1].endswith("… it goes on")
    told = len(said)
    pause(0.15)
    assert len(said) == told, "it is over"
