from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT
from workers.cli import COMMANDS


def latebind(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "latebind"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_it_lists_its_commands_without_loading_them() -> None:
    done = latebind("--help")
    assert done.returncode == 0
    for name, (_, line) in COMMANDS.items():
        assert name in done.stdout
        assert line.split()[0] in done.stdout


def test_it_says_in_one_line_what_is_wrong_with_a_setting() -> None:
    done = latebind("up", LATEBIND_WEB_PORT="eighty")
    assert done.returncode == 1
    assert done.stderr == "latebind: LATEBIND_WEB_PORT: must be a whole number from 1 to 65535\n"


def test_it_says_what_to_do_where_nothing_runs_and_nothing_is_named(tmp_path: Path) -> None:
    done = latebind("user", "list", LATEBIND_VAR=str(tmp_path / "var"))
    assert done.returncode == 1
    assert done.stderr.startswith("latebind: No LATEBIND_DATABASE_URL is set and no `latebind up` runs on ")


def test_it_starts_nothing_when_a_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = latebind("up", LATEBIND_VAR=str(tmp_path / "var"), LATEBIND_RENDER_PORT=str(port))
    assert done.returncode == 1
    assert done.stderr == f"latebind: Port {port} is taken. Stop what uses it, or set LATEBIND_RENDER_PORT.\n"
    assert not (tmp_path / "var" / "postgres").exists()
    assert not (tmp_path / "var" / "run.json").exists()


def test_it_starts_nothing_when_its_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = latebind("up", LATEBIND_VAR=str(tmp_path / "file" / "var"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"latebind: Cannot write to {tmp_path / 'file' / 'var'}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["nonsense", "../up"])
def test_it_knows_no_other_command(name: str) -> None:
    assert latebind(name).returncode == 2
