"""`kill -9` of a sender at every statement it runs: nobody gets a mail twice, nobody is skipped in silence."""

from __future__ import annotations

import itertools
import json
import os
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.clock import pause
from base.environment import environment
from campaigns import accounting, audience, sweeping
from campaigns.deliveries import LEASE
from campaigns.models import Campaign, Delivery, Occurrence
from tests.campaigns.shop import Shop
from tests.workers.killing import WALKED
from tests.workers.relay import HOST, Relay
from workers.schedule import Scheduler
from workers.sending import Sender

ROOT = Path(__file__).resolve().parent.parent.parent
PEOPLE = [f"p{number}" for number in range(3)]
FROZEN_AGAIN = text(
    "INSERT INTO delivery (campaign_id, occurrence, profile_id, channel, address_hash, state, holdout, plan_hash,"
    " created_at) SELECT campaign_id, :number, profile_id, channel, address_hash, 'queued', holdout, plan_hash, :now"
    " FROM delivery WHERE campaign_id = :campaign AND occurrence = 1 ORDER BY profile_id"
)


@pytest.fixture
def killer(shop: Shop, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The program that sends and dies."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    with (tmp_path / "killing.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.killing"], cwd=ROOT, env=outer | environment(shop.settings),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    yield process
    assert process.stdin
    process.stdin.close()
    process.wait(timeout=10)
    assert process.stdout
    process.stdout.close()


def send(
    shop: Shop, killer: subprocess.Popen[str], ids: list[int], kill_at: int | None, warm: str | None, trace: str = ""
) -> int:
    """Let a child send these; its exit status, or minus the signal that ended it."""
    assert killer.stdin
    assert killer.stdout
    order = {"ids": ids, "now": shop.now.isoformat(), "kill_at": kill_at, "trace": trace, "warm": warm}
    killer.stdin.write(json.dumps(order) + "\n")
    killer.stdin.flush()
    return int(killer.stdout.readline())


def run(shop: Shop, campaign: int, number: int) -> list[int]:
    """One more run of the campaign; its ids. What the first froze is frozen for the others too."""
    with shop.sessions.begin() as session:
        session.get_one(Campaign, campaign).state = "sending"
        session.add(Occurrence(campaign_id=campaign, number=number, state="sending", due_at=shop.now))
        session.flush()
        if number == 1:
            audience.freeze(session, campaign, number, shop.now, shop.settings.hash_key)
        else:
            session.execute(FROZEN_AGAIN, {"campaign": campaign, "number": number, "now": shop.now})
        return [row.id for row in rows_of(session, campaign, number)]


def rows_of(session: Session, campaign: int, number: int) -> list[Delivery]:
    """The ledger of one run, by profile."""
    query = select(Delivery).where(Delivery.campaign_id == campaign, Delivery.occurrence == number)
    return list(session.scalars(query.order_by(Delivery.profile_id)))


def digested(relay: Relay) -> None:
    """Return when the relay has read what the dead child had sent it: a later session is served after."""
    pause(0.01)
    with smtplib.SMTP(HOST, relay.port) as probe:
        probe.noop()


@dataclass(frozen=True)
class Stretch:
    """Statements run one after another between which nothing leaves the process; `first` and `last` are their numbers.

    The world cannot tell at which of them it died, so that to kill it at these two is to kill it at all.
    """

    first: int
    last: int
    lines: frozenset[str]


def traced(shop: Shop, killer: subprocess.Popen[str], ids: list[int], warm: str | None, path: Path) -> list[Stretch]:
    """The statements a sender runs to the end for these."""
    assert send(shop, killer, ids, None, warm, str(path)) == 0
    seen = enumerate(json.loads(path.read_text()))
    found = [list(run) for _, run in itertools.groupby(seen, key=lambda one: one[1][1])]
    return [Stretch(run[0][0], run[-1][0], frozenset(line for _, (line, _) in run)) for run in found]


@pytest.mark.slow
@pytest.mark.feature("OP-02")
def test_it_survives_a_kill_at_every_statement(
    shop: Shop, relay: Relay, sender: Sender, scheduler: Scheduler, killer: subprocess.Popen[str], tmp_path: Path
) -> None:
    shop.people(*PEOPLE)
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        plan = session.get_one(Campaign, campaign).plan_hash
    assert send(shop, killer, run(shop, campaign, 1), None, None) == 0
    cold = traced(shop, killer, run(shop, campaign, 2), None, tmp_path / "cold")
    warm = traced(shop, killer, run(shop, campaign, 3), plan, tmp_path / "warm")
    assert set(relay.received().values()) == {3}
    lines = frozenset[str]().union(*(stretch.lines for stretch in warm))
    assert {line.partition(":")[0] for line in lines} == {Path(name).name for name in WALKED}
    # A sender compiles a plan's mail in its first batch only: those statements are walked apart.
    stretches = [(stretch, plan) for stretch in warm]
    stretches += [(stretch, None) for stretch in cold if not stretch.lines <= lines]
    assert len(lines) > 150
    assert len(stretches) > 30
    walked = [(at, compiled) for stretch, compiled in stretches for at in sorted({stretch.first, stretch.last})]
    profiles = {profile: f"{name}@example.com" for name, profile in shop.known().items()}
    outcomes: dict[str, int] = {"accepted": 0, "unknown": 0}
    resent = 0
    for number, (kill_at, compiled) in enumerate(walked, 4):
        relay.mails.clear()
        ids = run(shop, campaign, number)
        assert send(shop, killer, ids, kill_at, compiled) == -signal.SIGKILL, kill_at
        digested(relay)
        before = relay.received()
        # Nothing is touched before the dead sender's claim has run out; then the next one takes what is surely unsent.
        with shop.sessions.begin() as session:
            assert not any(sweeping.sweep(session, shop.now).values())
        shop.clock.advance(LEASE + timedelta(seconds=1))
        with shop.sessions.begin() as session:
            sweeping.sweep(session, shop.now)
        resent += len(sender.send(ids).states and relay.received() - before)
        after = relay.received()
        with shop.sessions.begin() as session:
            rows = rows_of(session, campaign, number)
            listed = accounting.listing(session, campaign, occurrence=number, state="unknown")
        assert [row.id for row in listed] == sorted(row.id for row in rows if row.state == "unknown")
        assert len(rows) == len(PEOPLE)
        for row in rows:
            outcomes[row.state] = outcomes.get(row.state, 0) + 1
            mails = after[profiles[row.profile_id]]
            allowed = {"accepted": (1,), "unknown": (0, 1)}[row.state]
            assert mails in allowed, (kill_at, compiled, row.state, mails)
        assert sum(row.state == "unknown" for row in rows) <= 2, "at most one group is in doubt"
    assert outcomes["unknown"] > 0
    assert outcomes["accepted"] > outcomes["unknown"]
    assert resent > 0
