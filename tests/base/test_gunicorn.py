"""What gunicorn is told of this system, tried in a process of its own."""

from __future__ import annotations

import gc
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import urlopen

import pytest
from flask import Flask, Response, jsonify, request

from base.clock import monotonic, pause
from base.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
kept = Flask("kept")
"""An app that answers with what it took for the fields of a form, its bodies bounded as those of the pages are."""
kept.config["MAX_CONTENT_LENGTH"] = 1_000_000


@kept.post("/")
def keep() -> Response:
    return jsonify(sorted(request.form))


@kept.get("/garbage")
def garbage() -> Response:
    return jsonify([gc.isenabled(), gc.get_freeze_count()])


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Where `kept` answers."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")),
        *("--bind", f"127.0.0.1:{port}", "--workers", "1", f"{__name__}:kept"),
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline = monotonic() + START_SECONDS
        while process.poll() is None and monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                pause(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def status(port: int, declared: int, form: bytes) -> int:
    """What is answered to a form of which no more comes than this."""
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {declared}\r\n"
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as line:
        line.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + form)
        line.shutdown(socket.SHUT_WR)
        answer = HTTPResponse(line)
        answer.begin()
        return answer.status


@pytest.mark.parametrize("length", [100, 200_000])
def test_no_app_takes_a_form_that_breaks_off_for_a_whole_one(length: int, port: int) -> None:
    form = b"first=1&last=" + b"x" * length
    assert status(port, len(form), form) == 200
    assert status(port, len(form), form[:-1]) == 400
    assert status(port, len(form), form[: length // 2]) == 400
    assert status(port, len(form), b"") == 400


def test_no_request_waits_for_a_look_through_what_was_loaded(port: int) -> None:
    with urlopen(f"http://127.0.0.1:{port}/garbage", timeout=10) as answer:
        is_looking, left_out = json.load(answer)
    assert is_looking
    assert left_out > 10_000


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
