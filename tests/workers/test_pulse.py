"""The file by which a container's health check sees that a process works: touched while its stores answer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import text

from base import db, stores
from base.clock import pause
from base.processes import free_port
from base.stores import Store
from tests.serving import ROOT
from workers import pulse
from workers.pulse import Pulse, pulsing

COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_it_beats_while_everything_answers(
    sessions: db.Sessions, valkey: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.05)
    path = tmp_path / "alive"
    with pulsing(path, sessions, [valkey]):
        for _ in range(2):
            for _ in range(100):
                pause(0.05)
                if path.exists():
                    break
            path.unlink()
    with pulsing(None, sessions, [valkey]):
        pass


def test_it_leaves_the_file_alone_while_a_store_is_away(sessions: db.Sessions, valkey: Store, tmp_path: Path) -> None:
    path = tmp_path / "alive"
    away = stores.connect(f"redis://127.0.0.1:{free_port()}/0")
    assert not Pulse(path, sessions, [valkey, away]).beat()
    engine = db.connect(f"postgresql://latebind@127.0.0.1:{free_port()}/latebind")
    assert not Pulse(path, db.sessions(engine), [valkey]).beat()
    engine.dispose()
    assert not path.exists()
    assert Pulse(path, sessions, [valkey]).beat()
    assert path.exists()


def test_it_leaves_the_file_alone_at_an_older_schema(sessions: db.Sessions, tmp_path: Path) -> None:
    with db.transaction(sessions) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert not Pulse(tmp_path / "alive", sessions, []).beat()


def test_compose_asks_for_the_file_and_starts_nothing_heavy(tmp_path: Path) -> None:
    (named,) = re.findall(r"LATEBIND_ALIVE_FILE: (\S+)", COMPOSE)
    (check,) = re.findall(r"test: \[CMD-SHELL, '(.*)'\]", COMPOSE)
    assert named in check
    assert re.search(r"test: \[CMD, latebind", COMPOSE) is None
    path = tmp_path / "alive"
    command = check.replace("$$", "$").replace(named, str(path))

    def is_well() -> bool:
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False).returncode == 0

    assert not is_well()
    path.touch()
    assert is_well()
    subprocess.run(["/usr/bin/touch", "-d", "5 minutes ago", str(path)], check=True)
    assert not is_well()
