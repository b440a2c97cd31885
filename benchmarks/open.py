"""The warm open against bare Flask answering the same bytes under the same server, and the cold open.

Each request is the first open of another profile: one read, one decision over all candidates by the model, one
agreement with its record, and a picture that is at hand (warm) or is drawn first (cold). The server has one core, store
and load generator the other.
"""

from __future__ import annotations

import http.client
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from base.processes import free_port
from base.recordstreams import RecordStreams
from benchmarks import load, world
from benchmarks.report import Report
from tests.serving import Served

ROOT = Path(__file__).resolve().parent.parent
REQUESTS = 6_000
ROUNDS = 3
CONNECTIONS = 16
COLD = 400
SHARES = (0.25, 0.5, 0.75)
"""Of saturation: where latency is told."""
BARE = """
import sys
from flask import Flask, Response
body = open({body!r}, "rb").read()
app = Flask("bare")
@app.get("/o/<token>")
def picture(token):
    return Response(body, content_type="image/jpeg", headers={{"Cache-Control": "no-store"}})
@app.get("/readyz")
def ready():
    return "ok"
"""


def main() -> None:
    """Run all parts and print the report."""
    report = Report("open")
    generator_core = sorted(os.sched_getaffinity(0))[-1]
    os.sched_setaffinity(0, {generator_core})
    for candidates, trees, title in ((20, 100, "20 candidates × 100 trees"), (50, 300, "50 candidates × 300 trees")):
        _warm(report, candidates, trees, title)
    _cold(report)
    report.show()


def _warm(report: Report, candidates: int, trees: int, title: str) -> None:
    with world.world() as place:
        world.publish(place, candidates, trees)
        paths = world.people(place, REQUESTS * (ROUNDS + 2), world.now())
        with Running(place) as url, _bare(place, url, paths[0]) as bare_url:
            _warm_up(url, paths[-2_000:])
            mine = _saturated(report, url, bare_url, paths, title)
            _at_shares(report, url, paths[ROUNDS * REQUESTS : -2_000], mine)
            report.add("records on the stream for those opens", f"{RecordStreams(place.store).length():,}")
            report.add("memory of a render process, unique", f"{unique_mb(url):.0f} MB", aim="≤ 200 MB")


def _saturated(report: Report, url: str, bare_url: str, paths: list[str], title: str) -> float:
    """As fast as it goes, ours and bare Flask in turns: requests a second, and processor time. Ours, a second."""
    took: dict[str, list[load.Result]] = {url: [], bare_url: []}
    cpu: dict[str, list[float]] = {url: [], bare_url: []}
    for number in range(ROUNDS):
        part = paths[number * REQUESTS : (number + 1) * REQUESTS]
        for at in (url, bare_url):
            before = processor_seconds(at)
            took[at].append(_round(at, part, title))
            cpu[at].append((processor_seconds(at) - before) / len(part) * 1e6)
    mine, theirs = (median(result.per_second for result in results) for results in took.values())
    ratio = mine / theirs
    report.add(
        f"warm open, {title}: requests/s", f"{mine:,.0f}", f"bare Flask {theirs:,.0f}", ratio, "≥ 0.40", ratio >= 0.4
    )
    own, peer = (median(micros) for micros in cpu.values())
    report.add("  processor time a request in the process", f"{own:.0f} µs", f"bare Flask {peer:.0f} µs", peer / own)
    return mine


def _at_shares(report: Report, url: str, paths: list[str], saturation: float) -> None:
    """Latency below saturation, each request sent when it is due."""
    for number, share in enumerate(SHARES):
        part = paths[number * len(paths) // len(SHARES) : (number + 1) * len(paths) // len(SHARES)]
        result = load.run(*address_of(url), requests_of(url, part), CONNECTIONS, 60, saturation * share)
        p50, p99 = result.percentile(0.5), result.percentile(0.99)
        aim, met = ("p99 ≤ 25 ms", p99 <= 25) if share == 0.5 else ("", None)
        report.add(f"  at {share:.0%} of that, open loop", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", aim=aim, met=met)


def _cold(report: Report) -> None:
    """Opens whose picture was never drawn, one after the other: each reader's own name stands in it."""
    with world.world() as place:
        world.publish(place, 20, 100, hero="Thank you")
        paths = world.people(place, COLD, world.now(), named=True)
        with Running(place) as url:
            _round(url, paths[: COLD // 4], "cold")
            result = load.run(*address_of(url), requests_of(url, paths[COLD // 4 :]), 1, 60)
    p50, p99 = result.percentile(0.5), result.percentile(0.99)
    report.add("cold open of a 1200×600 block", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", aim="p50 ≤ 15 ms", met=p50 <= 15)


def _round(url: str, paths: list[str], what: str) -> load.Result:
    result = load.run(*address_of(url), requests_of(url, paths), CONNECTIONS, 60)
    if set(result.statuses) != {200}:
        raise SystemExit(f"{what}: answers were {result.statuses}")
    return result


def turn(url: str, paths: Iterator[str], count: int, rate: float) -> load.Result:
    """So many opens at a rate, the next of these paths. Raises SystemExit where one is not answered with 200."""
    asked = list(itertools.islice(paths, count))
    result = load.run(*address_of(url), requests_of(url, asked), CONNECTIONS, 120, rate)
    if set(result.statuses) != {200}:
        raise SystemExit(f"answers were {result.statuses}")
    return result


def requests_of(url: str, paths: list[str]) -> list[bytes]:
    """Requests as a mail program sends them."""
    host, port = address_of(url)
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Thunderbird/153.7.0"}
    return [load.get(host, port, path, agent) for path in paths]


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def _warm_up(url: str, paths: list[str]) -> None:
    """Until every offer's picture is drawn and the model is loaded."""
    _round(url, paths, "warm-up")


class Running:
    """The render app under gunicorn on the server's core."""

    def __init__(self, place: world.World) -> None:
        self._place = place

    def __enter__(self) -> str:
        with on_server_core():
            self._served = Served.start("render", self._place.settings, self._place.folder / "render.log")
        return self._served.url

    def __exit__(self, *_: object) -> None:
        self._served.stop()


class _bare:  # noqa: N801
    """Bare Flask with the same gunicorn settings, answering the bytes of one of our own pictures."""

    def __init__(self, place: world.World, url: str, path: str) -> None:
        connection = http.client.HTTPConnection(*address_of(url), timeout=10)
        connection.request("GET", path)
        body = place.folder / "body.jpg"
        body.write_bytes(connection.getresponse().read())
        (place.folder / "bare.py").write_text(BARE.format(body=str(body)))
        self._place = place

    def __enter__(self) -> str:
        port = free_port()
        settings = replace(self._place.settings)
        environ = {**os.environ, "LATEBIND_PIN_CPUS": "1", "LATEBIND_RENDER_THREADS": str(settings.render_threads)}
        command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py"), "--workers", "1"]
        command += ["--bind", f"127.0.0.1:{port}", "--pythonpath", f"{self._place.folder},{ROOT}", "bare:app"]
        with on_server_core(), (self._place.folder / "bare.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=ROOT)
        self._served = Served(f"http://127.0.0.1:{port}", self._place.folder / "bare.log", self._process)
        self._served.await_ready()
        return self._served.url

    def __exit__(self, *_: object) -> None:
        self._served.stop()


class on_server_core:  # noqa: N801
    """Children started inside inherit every core but the generator's."""

    def __enter__(self) -> None:
        self._before = os.sched_getaffinity(0)
        cores = set(range(os.cpu_count() or 1)) - self._before
        os.sched_setaffinity(0, cores or self._before)

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self._before)


def unique_mb(url: str) -> float:
    """Private memory of the process that answers, in MB."""
    return max(
        (
            sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private"))
            for text in _of_processes(url, "smaps_rollup")
        ),
        default=0,
    ) / 1024  # fmt: skip


def processor_seconds(url: str) -> float:
    """Processor time that the server has taken so far: user and system, in the kernel's hundredths of a second."""
    # Behind the name in brackets come state and ten numbers more, then the two (proc(5)).
    words = [text.rpartition(")")[2].split() for text in _of_processes(url, "stat")]
    return sum(int(word[11]) + int(word[12]) for word in words) / os.sysconf("SC_CLK_TCK")


def _of_processes(url: str, name: str) -> list[str]:
    """One file of /proc for each process of the server that listens there."""
    marker = f"127.0.0.1:{address_of(url)[1]}".encode()
    texts = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "cmdline").read_bytes():
                texts.append((folder / name).read_text())
        except OSError:
            continue
    return texts


if __name__ == "__main__":
    main()
