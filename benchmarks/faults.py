"""Faults under load: half of saturation goes on while each part is killed, stalled, emptied or filled in turn.

The whole installation runs as in tests/promises, with the deadline of production. Every answer must be 200, nearly all
in time; afterwards every served picture has exactly one fetch record, or is counted as unrecorded.
"""

from __future__ import annotations

import fcntl
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from base.clock import pause
from base.embedded import Server
from benchmarks import load
from benchmarks.open import address_of
from benchmarks.report import Report
from campaigns import publish
from render.fonts import FILES, locate
from tests.campaigns.shop import MANAGER
from tests.promises.ground import DEADLINE_MS, Ground, grounded
from tests.promises.reader import BROWSER
from tests.promises.world import Story, World

PEOPLE = 300
CONNECTIONS = 64
STALL_SECONDS = 5.0
SPOOL_MB = 1
"""So little fits into the spool that it is soon full."""


def main(seconds: float = 12.0) -> None:
    """Run every fault for at least `seconds` of load and print the report."""
    report = Report("faults")
    with grounded("faults") as ground:
        world = ground.world
        story = world.story("faults", people=PEOPLE, slots=2)
        url = world.serve("prompt render", deadline_ms=DEADLINE_MS, render_workers=1, spool_mb=SPOOL_MB).url
        requests = _requests(url, story)
        calm = load.run(*address_of(url), list(itertools.islice(requests, 1_500)), 16, 60)
        rate = calm.per_second / 2
        report.add("half of saturation", f"{rate:,.0f} opens/s")
        for name, fault in _faults(ground, story).items():
            _measure(report, world, story, name, fault, requests, rate, seconds)
    report.show()


def _measure(
    report: Report,
    world: World,
    story: Story,
    name: str,
    fault: Callable[[], None],
    requests: Iterator[bytes],
    rate: float,
    seconds: float,
) -> None:
    before, unrecorded = _recorded(world, story), world.metric("unrecorded")
    sent = list(itertools.islice(requests, round(rate * seconds)))
    breaking = threading.Thread(target=fault)
    breaking.start()
    address = address_of(world.apps["prompt render"].url)
    result = load.run(*address, sent, CONNECTIONS, seconds + 30, rate)
    breaking.join()
    answers = len(result.latencies)
    kept = _recorded(world, story) - before
    counted = world.metric("unrecorded") - unrecorded
    late = sum(1 for latency in result.latencies if latency > DEADLINE_MS / 1000) / max(1, answers)
    others = len(sent) - result.statuses.get(200, 0)
    report.add(name, f"{answers:,} answers, p99 {result.percentile(0.99):.0f} ms")
    report.add("  not 200, or not answered", str(others), aim="0", met=others == 0)
    report.add("  past the deadline, from when due", f"{late:.2%}", aim="≤ 0.10%", met=late <= 0.001)
    # Whoever got the static picture for want of a record is counted; its record may still follow (`Recorder.correct`).
    whole = answers - counted <= kept <= answers
    report.add("  fetch records, unrecorded", f"{kept:,}, {counted:,}", f"{answers:,} served", aim="all", met=whole)


def _faults(ground: Ground, story: Story) -> dict[str, Callable[[], None]]:
    """What is broken, each mended before it returns."""
    world = ground.world
    blobs, spool = Path(world.settings.blob_url), world.settings.var / "spool"

    def full() -> None:
        """Another process of this host has filled the spool."""
        spool.mkdir(parents=True, exist_ok=True)
        filler = spool / "other.spool"
        with filler.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(SPOOL_MB * 1_000_000)
            killed(ground.valkey)
        filler.unlink()

    def killed(part: Server, meanwhile: Callable[[], object] = lambda: None) -> None:
        pause(1)
        part.kill()
        pause(1)
        meanwhile()
        pause(2)
        part.start()

    def stalled() -> None:
        pause(1)
        ground.proxy.stall()
        pause(STALL_SECONDS)
        ground.proxy.flow()

    def recorder() -> None:
        pause(1)
        world.programs["recorder"].kill()
        pause(2)
        world.run("recorder")

    def files() -> None:
        away = blobs.with_name("blobs.away")
        with world.sessions.begin() as session:
            publish.switch(
                session, world.store, story.campaign, "set model", world.shop.now, MANAGER, {"model_hash": "f" * 64}
            )
        blobs.rename(away)
        pause(3)
        shutil.rmtree(blobs, ignore_errors=True)
        away.rename(blobs)

    def fonts() -> None:
        """The files of all fonts are away, as when a package is being replaced."""
        found = [path for file in FILES if (path := locate(file)) is not None]
        away = [(path.rename(path.with_name(f"{path.name}.away")), path) for path in dict.fromkeys(found)]
        try:
            pause(3)
        finally:
            for moved, path in away:
                moved.rename(path)

    return {
        "nothing broken": lambda: None,
        "Valkey killed, 3 s": lambda: killed(ground.valkey),
        "Valkey killed, 3 s, the spool full": full,
        "Valkey killed, the spool folder deleted meanwhile": lambda: killed(
            ground.valkey, lambda: shutil.rmtree(spool, ignore_errors=True)
        ),
        "Valkey stalled, 5 s": stalled,
        "PostgreSQL killed, 3 s": lambda: killed(ground.postgres),
        "recorder killed": recorder,
        "model and pictures gone, 3 s": files,
        "fonts gone, 3 s": fonts,
    }


def _recorded(world: World, story: Story) -> int:
    """Fetch records of the campaign, once all have arrived."""
    world.recorded(120)
    rows = world.rows('SELECT count(*) AS n FROM "fetch" WHERE campaign_id = :campaign', campaign=story.campaign)
    return int(rows[0].n)


def _requests(url: str, story: Story) -> Iterator[bytes]:
    paths = [path for mail in story.mails.values() for path in (*mail.pictures.values(), *mail.dark.values())]
    host, port = address_of(url)
    return itertools.cycle([load.get(host, port, path, {"User-Agent": BROWSER}) for path in paths])


if __name__ == "__main__":
    main()
