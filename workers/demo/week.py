"""The fourth act: a week goes by in slices. In each the clock steps on, the slice's purchases arrive as live signals,
and then whoever looks at their mail in it does so.

A slice's signals all come before its opens. Purchases of one household stay in one batch, and a household that opens in
the slice it buys in opens right after the answer to its batch: that is where the delay from signal to open is taken.
Some of those who bought look at their mail once more, as one does who wonders whether it was counted.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

import msgspec

from base.clock import monotonic
from base.recordstreams import RecordStreams
from workers.demo.opens import Answer, Mail, MailClients, is_whole
from workers.demo.readers import LOOK_AGAIN_SHARE, Step, client_of, steps
from workers.demo.regulars import SOLD_OUT
from workers.demo.restock import Restock
from workers.demo.stage import Signals, Stage

SEED: Final = 2017
BATCH: Final = 10
AT_ONCE: Final = 32
"""Steps that are under way at the same time."""

_MINUTES: Final = (2, 5, 10, 20, 30, 45)
_HOURS: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
_HOUSEHOLD: Final = re.compile(r"\.(\d+)@")


@dataclass
class Tally:
    """What the clients saw of the week."""

    mails: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    broken: list[str] = field(default_factory=list)
    redirected: int = 0
    clicks: list[Answer] = field(default_factory=list)
    picture_ms: list[float] = field(default_factory=list)
    signal_ms: list[float] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    signals: int = 0
    sold_out_at: datetime | None = None


@dataclass
class _Doing:
    """A step under way."""

    mail: Mail
    step: Step
    answers: list[Future[Answer]]


def play_week(
    stage: Stage, restock: Restock, mails: Sequence[Mail], purchases: list[tuple[datetime, bytes]], signals: Signals
) -> Tally:
    """Let the week go by; returns what the clients saw."""
    tally = Tally(mails=len(mails))
    clients = MailClients(stage.settings.render_url)
    reader = _Reader(stage, mails)
    began = stage.now
    try:
        for begin, end in _slices(stage.calendar.story, stage.calendar.end):
            stage.clock.set(end)
            if end.date() != begin.date():
                is_gone = end - began >= timedelta(days=3)
                tell_feed(restock, signals, sold_out=is_gone)
                tally.sold_out_at = tally.sold_out_at or (end if is_gone else None)
                stage.say(
                    f"  {end:%a %Y-%m-%d %H:%M}: {tally.signals:,} purchases told, {tally.steps['fetch']:,} opens, "
                    f"{len(tally.clicks):,} clicks"
                )
            arrived = [line for at, line in purchases if begin <= at < end]
            due = reader.between(begin - began, end - began)
            _slice(reader, due, _by_household(arrived), clients, signals, tally)
            stage.await_("the recorder to catch up", lambda: RecordStreams(stage.store).length() == 0)
    finally:
        clients.close()
    return tally


def _slices(story: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Fine at first, when most opens come, then six hours each."""
    offsets = [timedelta(seconds=5), *(timedelta(minutes=minutes) for minutes in _MINUTES)]
    offsets += [timedelta(hours=hours) for hours in _HOURS]
    begin = story
    while begin < end:
        after = next((offset for offset in offsets if story + offset > begin), None)
        until = min(story + after if after is not None else begin + timedelta(hours=6), end)
        yield begin, until
        begin = until


class _Reader:
    """Who reads which mail: hands out the steps of a slice, and the looks of those who have just bought."""

    def __init__(self, stage: Stage, mails: Sequence[Mail]) -> None:
        within = stage.calendar.end - stage.calendar.story
        coming = [(step, mail) for mail in mails for step in steps(mail.to, SEED, within)]
        self._coming = sorted(coming, key=lambda pair: (pair[0].after, pair[1].to))
        self._looked: dict[str, tuple[Step, Mail]] = {}
        self._dice = random.Random(SEED)

    def between(self, begin: timedelta, end: timedelta) -> dict[str, list[tuple[Step, Mail]]]:
        """The steps with begin < after <= end, by household."""
        due: dict[str, list[tuple[Step, Mail]]] = {}
        for step, mail in self._coming:
            if begin < step.after <= end:
                due.setdefault(household_of(mail.to), []).append((step, mail))
        return due

    def did(self, step: Step, mail: Mail) -> None:
        """A step was taken: who fetches anew at each look may look again after buying."""
        if step.kind == "fetch" and not client_of(mail.to, SEED).keeps_copy:
            self._looked[household_of(mail.to)] = (step, mail)

    def after_buying(self, household: str) -> list[tuple[Step, Mail]]:
        """One more look at the mail, by some of those who have looked at it before."""
        looked = self._looked.get(household)
        return [looked] if looked is not None and self._dice.random() < LOOK_AGAIN_SHARE else []


def _slice(
    reader: _Reader,
    waiting: dict[str, list[tuple[Step, Mail]]],
    households: list[tuple[str, list[bytes]]],
    clients: MailClients,
    signals: Signals,
    tally: Tally,
) -> None:
    for batch in _batches(households):
        began = monotonic()
        lines = [line for _, lines in batch for line in lines]
        signals.batch(lines)
        tally.signals += len(lines)
        told = monotonic() - began
        # One after the other: the delay is the batch's own time and that of the very next open, not of others before.
        for household, _ in batch:
            for step, mail in waiting.pop(household, None) or reader.after_buying(household):
                began = monotonic()
                _settle(_Doing(mail, step, clients.play(mail, step)), tally)
                reader.did(step, mail)
                if step.kind == "fetch":
                    tally.signal_ms.append((told + monotonic() - began) * 1000)
    doing: list[_Doing] = []
    for step, mail in (pair for pairs in waiting.values() for pair in pairs):
        # A click follows what was seen: everything before it must have been answered.
        while doing and (step.kind == "click" or len(doing) >= AT_ONCE):
            _settle(doing.pop(0), tally)
        doing.append(_Doing(mail, step, clients.play(mail, step)))
        reader.did(step, mail)
    while doing:
        _settle(doing.pop(0), tally)


def _settle(doing: _Doing, tally: Tally) -> None:
    """Wait for a step's answers and put them down."""
    answers = [future.result() for future in doing.answers]
    tally.steps[doing.step.kind] += 1
    tally.redirected += sum(300 <= answer.status < 400 and "/o/" in answer.url for answer in answers)
    if doing.step.kind == "click":
        tally.clicks += answers
        return
    by_url = {answer.url: answer for answer in answers if answer.pixels is not None or "/o/" in answer.url}
    for picture in doing.mail.pictures:
        answer = by_url.get(picture.dark or "") or by_url.get(picture.url)
        if answer is None:
            continue
        tally.pictures += 1
        tally.served[answer.sha256] += 1
        if not is_whole(picture, answer):
            tally.broken.append(f"{answer.status} {answer.content_type} {answer.pixels}")
        if doing.step.kind == "fetch":
            tally.picture_ms.append(answer.ms)


def _by_household(lines: list[bytes]) -> list[tuple[str, list[bytes]]]:
    told = sorted((_who(line), number, line) for number, line in enumerate(lines))
    return [(who, [line for _, _, line in group]) for who, group in groupby(told, key=lambda entry: entry[0])]


def _batches(households: list[tuple[str, list[bytes]]]) -> Iterator[list[tuple[str, list[bytes]]]]:
    """Households in batches of about BATCH events; none is split, so that its open knows all it bought."""
    batch: list[tuple[str, list[bytes]]] = []
    for household in households:
        batch.append(household)
        if sum(len(lines) for _, lines in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def tell_feed(restock: Restock, signals: Signals, *, sold_out: bool = False) -> None:
    """The shop's product feed of the morning, for the products that offers show; one sells out in the middle."""
    rows = ["id\ttitle\tproduct_type\tprice\tavailability\tquantity"]
    for number, promoted in restock.promoted.items():
        gone = sold_out and restock.restock.get(number) == SOLD_OUT
        best, stock = promoted.best, "out_of_stock\t0" if gone else "in_stock\t50"
        rows.append(f"{best.id}\t{best.title}\t{promoted.category}\t{best.cents / 100:.2f} USD\t{stock}")
    signals.products("\n".join(rows).encode())


def household_of(address: str) -> str:
    """The user id behind an invented address."""
    found = _HOUSEHOLD.search(address)
    return f"household-{found.group(1)}" if found else address


class _Named(msgspec.Struct):
    userId: str  # noqa: N815 — Segment's spelling


_named: Final = msgspec.json.Decoder(_Named)


def _who(line: bytes) -> str:
    return _named.decode(line).userId
