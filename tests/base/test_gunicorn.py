"""What gunicorn is told of this system, tried in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from base.processes import free_port

ROOT = Path(__file__).resolve().parents[2]


def test_no_app_listens_without_a_process_to_answer() -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")),
            *("--bind", f"127.0.0.1:{free_port()}", "--workers", "0", "render.app:from_environment()"),
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert b"--workers: must be a whole number from 1" in ended.stderr
