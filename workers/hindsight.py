"""Hindsight: what is known of fetches and clicks only after they were answered, and the class told again by it.

An open knows when its mail was made, not when the server took it, nor what else is about to be followed in it. The
recorder does: it adds `seconds_since_send`, `near_trap` (the link that no reader sees was followed within the minute)
and `burst_links` (different links of the mail followed within five seconds) to the kept features and has the same
function tell the class. What the open told stays in the record itself, which is never rewritten. Reports, credit and
training read the class that stands in the row. Doing it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from base.ids import Delivery
from campaigns.models import Campaign
from campaigns.models import Delivery as Ledger
from campaigns.opens import Click, Decision, Fetch
from render.classify import since_send, told
from render.click import is_ambiguous
from render.facts import LastShown
from render.record import ClickRecord, FetchRecord, Record
from signals.moments import unix_ms
from workers.recording import moment

TRAP_SPAN: Final = timedelta(seconds=60)
"""Whoever followed the hidden link is behind what happens to that mail within so long, before or after."""
LINKS_SPAN: Final = timedelta(seconds=5)
MAX_ROWS: Final = 2000
"""Rows of one delivery's minute that are looked at: no mail has as many links."""
MAX_WAITING: Final = 10_000
_SEEN: Final = ("person", "proxy", "undecided")
_KEPT_APART: Final = ("test", "staff")

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Told:
    """How many classes were told otherwise than before, and which deliveries must be looked at again."""

    changed: int
    waiting: Mapping[Delivery, Span]


def spans(records: Iterable[Record]) -> dict[Delivery, Span]:
    """The deliveries that fetches and clicks belong to, each with the first and the last moment of them."""
    found: dict[Delivery, tuple[int, int]] = {}
    for record in records:
        if isinstance(record, FetchRecord | ClickRecord) and record.profile and record.occurrence:
            delivery = Delivery(record.profile, record.campaign, record.occurrence)
            first, last = found.get(delivery, (record.at_ms, record.at_ms))
            found[delivery] = (min(first, record.at_ms), max(last, record.at_ms))
    return {
        delivery: (moment(first), moment(last)) for delivery, (first, last) in found.items() if not delivery.is_test
    }


def look_back(session: Session, deliveries: Mapping[Delivery, Span]) -> Told:
    """Tell the classes of these deliveries' fetches and clicks again, in the caller's transaction.

    A delivery that is still being handed over has no moment of its send yet: it is handed back as waiting.
    """
    changed, waiting = 0, {}
    sent = _sent(session, deliveries)
    for delivery, (first, last) in deliveries.items():
        state, sent_at = sent.get(delivery, ("", None))
        if state == "claimed" and sent_at is None:
            waiting[delivery] = (first, last)
        changed += _Look(session, delivery, first - TRAP_SPAN, last + TRAP_SPAN).tell(sent_at)
    return Told(changed, waiting)


def _sent(session: Session, deliveries: Mapping[Delivery, Span]) -> dict[Delivery, tuple[str, datetime | None]]:
    wanted = [(key.campaign, key.occurrence, key.profile) for key in deliveries]
    key = tuple_(Ledger.campaign_id, Ledger.occurrence, Ledger.profile_id)
    columns = select(Ledger.profile_id, Ledger.campaign_id, Ledger.occurrence, Ledger.state, Ledger.sent_at)
    rows = session.execute(columns.where(key.in_(wanted))) if wanted else ()
    return {Delivery(row.profile_id, row.campaign_id, row.occurrence): (row.state, row.sent_at) for row in rows}


class _Look:
    """One delivery's fetches and clicks within a span."""

    def __init__(self, session: Session, delivery: Delivery, first: datetime, last: datetime) -> None:
        self._session = session
        self._delivery = delivery
        self.fetches: Sequence[Any] = session.execute(
            select(Fetch.id, Fetch.at, Fetch.fetch_class, Fetch.evidence, Fetch.slot).where(
                *_of(Fetch, delivery), Fetch.at.between(first, last)
            ).order_by(Fetch.at, Fetch.id).limit(MAX_ROWS)
        ).all()  # fmt: skip
        self.clicks: Sequence[Any] = session.execute(
            select(Click.id, Click.at, Click.fetch_class, Click.evidence, Click.slot, Click.outcome).where(
                *_of(Click, delivery), Click.at.between(first, last)
            ).order_by(Click.at, Click.id).limit(MAX_ROWS)
        ).all()  # fmt: skip

    def tell(self, sent_at: datetime | None) -> int:
        """Write what has changed; how many classes that were."""
        traps = [row.at for row in self.clicks if row.outcome == "trap"]
        links = [(row.at, row.slot) for row in self.clicks if row.outcome != "trap"]
        changed = 0
        for table, rows in ((Fetch, self.fetches), (Click, self.clicks)):
            for row in rows:
                if row.fetch_class in _KEPT_APART or "agent" not in row.evidence:
                    continue
                evidence = dict(row.evidence)
                if sent_at is not None:
                    evidence |= since_send((row.at - sent_at).total_seconds())
                if any(abs(row.at - trap) <= TRAP_SPAN for trap in traps):
                    evidence["near_trap"] = True
                near = {slot for at, slot in links if abs(row.at - at) <= LINKS_SPAN} if table is Click else set()
                if len(near) > 1:
                    evidence["burst_links"] = max(len(near), int(evidence.get("burst_links", 0)))
                changed += self._write(table, row, evidence)
        if changed:
            self._mark_clicks()
        return changed

    def _write(self, table: type[Fetch] | type[Click], row: Any, evidence: dict[str, Any]) -> int:
        fetch_class = told(evidence)
        if evidence == row.evidence and fetch_class == row.fetch_class:
            return 0
        self._session.execute(
            update(table)
            .where(table.id == row.id, table.at == row.at)
            .values(evidence=evidence, fetch_class=fetch_class)
            .execution_options(synchronize_session=False)
        )
        return int(fetch_class != row.fetch_class)

    def _mark_clicks(self) -> None:
        """Say anew which clicks are ambiguous: what a machine fetched was not what the person saw."""
        hold_s = self._session.scalar(select(Campaign.hold_s).where(Campaign.id == self._delivery.campaign)) or 0
        clicks = self._session.execute(
            select(Click.id, Click.at, Click.slot, Click.offer_id, Click.ambiguous).where(
                *_of(Click, self._delivery), Click.offer_id.is_not(None), Click.fetch_class == "person"
            ).limit(MAX_ROWS)
        ).all()  # fmt: skip
        if not clicks:
            return
        sights = self._sights()
        for click in clicks:
            seen = tuple(sight for at, slot, sight in sights if slot == click.slot and at <= click.at)
            followed = bool(seen) and seen[-1].offer == click.offer_id
            ambiguous = not followed or is_ambiguous(seen, unix_ms(click.at), hold_s * 1000)
            if ambiguous != click.ambiguous:
                where = (Click.id == click.id, Click.at == click.at)
                self._session.execute(
                    update(Click).where(*where).values(ambiguous=ambiguous).execution_options(synchronize_session=False)
                )

    def _sights(self) -> list[tuple[datetime, int, LastShown]]:
        """What people may have seen of the mail, in order: as the opens' own notes, without what machines fetched."""
        rows = self._session.execute(
            select(Fetch.at, Fetch.slot, Fetch.decision_id, Fetch.fetch_class, Decision.slots)
            .join(Decision, (Decision.id == Fetch.decision_id) & (Decision.at == Fetch.decision_at))
            .where(
                *_of(Fetch, self._delivery), Fetch.lane == "live", Fetch.fetch_class.in_(_SEEN), Fetch.rung != "static",
                (Fetch.rung != "default") | (Decision.rung == "default"),
            )
            .order_by(Fetch.at, Fetch.id).limit(MAX_ROWS)
        )  # fmt: skip
        return [
            (row.at, row.slot, LastShown(offer, row.decision_id, unix_ms(row.at), row.fetch_class))
            for row in rows
            if (offer := row.slots.get(str(row.slot))) is not None
        ]


def _of(table: type[Fetch] | type[Click], delivery: Delivery) -> tuple[Any, ...]:
    return (
        table.profile_id == delivery.profile,
        table.campaign_id == delivery.campaign,
        table.occurrence == delivery.occurrence,
    )
