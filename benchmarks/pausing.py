"""Pausing, resuming, cancelling and `kill -9` at random moments, a thousand times: each person has one mail or none.

A trial sends to four people through a relay that counts, with six random moves: a batch with a button pressed at a
random statement of the sender, a sender killed by SIGKILL at a random statement, a wait until its claim has run out, a
pause, a resume. In the end nothing waits, the states add up to the audience, the kept counts are those of the rows, an
accepted row has one mail, a skipped one none, and an unknown one at most one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

from base import db
from base.blobs import blobs_from
from base.clock import FixedClock, SystemClock, monotonic
from base.environment import environment
from base.vault import Vault
from benchmarks import world
from benchmarks.report import Report
from campaigns.models import Campaign
from tests.campaigns.shop import Shop
from tests.workers.pausing import moment, prepared
from tests.workers.relay import Relay
from tests.workers.test_sending_killed import digested
from workers.sending import Sender

TRIALS = 1_000


def main() -> None:
    """Run it and print the report."""
    report, relay = Report("pausing"), Relay()
    relay.start()
    try:
        with world.world(database=True) as place:
            _measure(report, place, relay)
    finally:
        relay.stop()
    report.show()


def _measure(report: Report, place: world.World, relay: Relay) -> None:
    settings = replace(place.settings, smtp_url=relay.url)
    engine = db.connect(settings.database_url, vault=Vault.of(settings))
    clock: Any = FixedClock(SystemClock().now())
    shop = Shop(settings, db.sessions(engine), place.store, clock)
    sender = Sender(settings, shop.sessions, shop.store, blobs_from(settings), clock, handing=2)
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    killer = subprocess.Popen(
        [sys.executable, "-m", "tests.workers.killing"], env=outer | environment(settings),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed = 0

    def order(ids: list[int], kill_at: int | None, warm: str | None) -> int:
        assert killer.stdin
        assert killer.stdout
        told = {"ids": ids, "now": shop.now.isoformat(), "kill_at": kill_at, "trace": None, "warm": warm}
        killer.stdin.write(json.dumps(told) + "\n")
        killer.stdin.flush()
        return int(killer.stdout.readline())

    def lose(ids: list[int], lot: random.Random) -> None:
        nonlocal killed
        killed += order(ids, moment(lot), plan) < 0
        digested(relay)

    trials = prepared(shop, relay, sender, lose)
    with shop.sessions.begin() as session:
        plan = session.get_one(Campaign, trials.campaign).plan_hash
    # Its first order the killer carries out itself, so that what dies later has everything loaded.
    order(trials.freeze(), None, None)
    began = monotonic()
    for seed in range(TRIALS):
        trials.run(seed)
    report.add("trials with exact accounts", f"{TRIALS:,}", "of 1,000", None, "all", True)
    states = ("accepted", "unknown", "skipped")
    report.add("people: accepted, unknown, skipped", ", ".join(f"{trials.outcomes[state]:,}" for state in states))
    report.add("senders killed", f"{killed:,}")
    for what in ("pause", "resume", "cancel"):
        report.add(f"{what}: done, refused", f"{trials.moves[f'{what}, done']:,}, {trials.moves[f'{what}, refused']:,}")
    report.add("seconds", f"{monotonic() - began:,.0f}")
    killer.communicate(timeout=10)
    sender.close()
    engine.dispose()


if __name__ == "__main__":
    main()
