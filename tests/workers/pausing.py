"""Trials of one question: whatever is paused, resumed, cancelled or lost at any moment, are the accounts exact?"""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any, Final

from sqlalchemy import select, text

from base.errors import Conflict
from campaigns import audience, sweeping, tally, transitions
from campaigns.deliveries import LEASE
from campaigns.models import Campaign, Delivery, Occurrence
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.killing import WALKED
from tests.workers.relay import Relay
from workers.sending import Sender

STATEMENTS: Final = 900
"""About as many statements as a sender runs for a batch of four."""
STEPS: Final = 6
AGAIN: Final = text(
    "INSERT INTO delivery (campaign_id, occurrence, profile_id, channel, address_hash, state, holdout, plan_hash,"
    " created_at) SELECT campaign_id, :number, profile_id, channel, address_hash, 'queued', holdout, plan_hash, :now"
    " FROM delivery WHERE campaign_id = :campaign AND occurrence = 1 ORDER BY profile_id"
)


def moment(lot: random.Random) -> int:
    """A statement, the early ones more often: later everything has been handed over."""
    return int(STATEMENTS * lot.random() ** 2)


@dataclass
class Trials:
    """A campaign that is run again and again. `lose` has a sender take these rows and die at some moment."""

    shop: Shop
    relay: Relay
    sender: Sender
    campaign: int
    people: dict[int, str]
    lose: Callable[[list[int], random.Random], None]
    moves: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def run(self, seed: int) -> None:
        """One trial; raises AssertionError naming the seed where an account is wrong."""
        lot = random.Random(seed)
        ids = self.freeze()
        self.relay.mails.clear()
        for _ in range(STEPS):
            self._step(lot.choice(("send", "send", "send", "lose", "wait", "pause", "resume")), ids, lot)
        self._move("resume")
        for _ in range(3):
            self._wait()
            self.sender.send(ids)
        self._check(seed)

    def freeze(self) -> list[int]:
        """One more run of the campaign; the ids of its rows."""
        self._number += 1
        shop, key = self.shop, {"campaign": self.campaign, "number": self._number, "now": self.shop.now}
        with shop.sessions.begin() as session:
            session.get_one(Campaign, self.campaign).state = "sending"
            session.add(Occurrence(campaign_id=self.campaign, number=self._number, state="sending", due_at=shop.now))
            session.flush()
            if self._number == 1:
                audience.freeze(session, self.campaign, 1, shop.now, shop.settings.hash_key)
            else:
                session.execute(AGAIN, key)
        return sorted(row.id for row in self._rows())

    def _rows(self) -> Sequence[Delivery]:
        with self.shop.sessions.begin() as session:
            query = select(Delivery).where(Delivery.campaign_id == self.campaign, Delivery.occurrence == self._number)
            return session.scalars(query).all()

    def _step(self, what: str, ids: list[int], lot: random.Random) -> None:
        self.moves[what] += 1
        if what == "send":
            self._send(ids, lot.choice(("", "pause", "resume", "cancel")), moment(lot))
        elif what == "lose":
            self.lose(ids, lot)
        elif what == "wait":
            self._wait()
        else:
            self._move(what)

    def _wait(self) -> None:
        """As long as a lost sender's claim lasts; then the schedule loop looks."""
        self.shop.clock.set(self.shop.now + LEASE + timedelta(seconds=1))
        with self.shop.sessions.begin() as session:
            sweeping.sweep(session, self.shop.now)

    def _move(self, what: str) -> None:
        """Press a button; a press that comes too late is refused."""
        moves = {"pause": transitions.pause, "resume": transitions.resume, "cancel": transitions.cancel}
        try:
            with self.shop.sessions.begin() as session:
                moves[what](session, self.campaign, self.shop.now, MANAGER)
            self.moves[f"{what}, done"] += 1
        except Conflict:
            self.moves[f"{what}, refused"] += 1

    def _send(self, ids: list[int], meanwhile: str, at: int) -> None:
        """Send, and at a statement of the sender press a button beside it, which may have to wait for its locks."""
        pressed: list[threading.Thread] = []
        seen = 0

        def local(_frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal seen
            if event == "line":
                seen += 1
                if seen == at and meanwhile:
                    pressed.append(threading.Thread(target=self._move, args=(meanwhile,)))
                    pressed[0].start()
                    pressed[0].join(0.05)
            return local

        sys.settrace(lambda frame, _event, _argument: local if frame.f_code.co_filename in WALKED else None)
        try:
            self.sender.send(ids)
        finally:
            sys.settrace(None)
            for one in pressed:
                one.join()

    def _check(self, seed: int) -> None:
        rows, received = self._rows(), self.relay.received()
        assert len(rows) == len(self.people), seed
        for row in rows:
            mails = received[self.people[row.profile_id]]
            allowed = {"accepted": (1,), "unknown": (0, 1), "skipped": (0,)}
            assert mails in allowed.get(row.state, ()), (seed, row.state, mails)
            assert row.state != "skipped" or row.reason == "cancelled", (seed, row.reason)
        self.outcomes.update(row.state for row in rows)
        with self.shop.sessions.begin() as session:
            kept = tally.counts(session, self.campaign, self._number)
        assert kept == dict(Counter((row.state, row.reason or "") for row in rows)), seed


def prepared(shop: Shop, relay: Relay, sender: Sender, lose: Callable[[list[int], random.Random], None]) -> Trials:
    """A campaign to four people."""
    names = [f"p{number}" for number in range(4)]
    shop.people(*names)
    campaign = shop.campaign()
    people = {profile: f"{name}@example.com" for name, profile in shop.known().items()}
    return Trials(shop, relay, sender, campaign, people, lose)
