"""One customer's timeline: mails, fetches, what was shown, clicks, orders and other signals, newest first.

Words are honest: a fetch is not a reader. Reading a timeline writes nothing; the caller notes it in the access log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import corrections, customers, detailstold, disagreement, mailreports, signalwords
from campaigns.deliveries import is_our_fault
from campaigns.disagreement import Disagreement
from campaigns.models import Campaign, Delivery, Offer
from campaigns.opens import Click, Decision, Fetch
from campaigns.ordertold import told_of_orders
from campaigns.wording import (
    CHANNEL_WORDS,
    CLASS_WORDS,
    CLICK_FLAGS,
    CLICK_WORDS,
    CLICKED,
    KNOWN_ORDER,
    LATER_WORDS,
    LEVEL_WORDS,
    MESSAGE_WORDS,
    SAID_WORDS,
    TOLD_STATES,
    event_words,
    instead_words,
    reason_words,
    state_words,
)
from signals import sealingkeys
from signals.engagement import is_no_own_mail
from signals.events import Event
from signals.mailreports import MailReport
from signals.signal import ORDER_COMPLETED

KINDS = ("mail", "open", "click", "order", "signal", "disagreement")
PAGE = 100
"""Entries on one page."""

LATE = timedelta(minutes=1)
"""A signal that arrives so long after it happened is told with both times."""
END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One line: when, what kind (mail, open, click, order, signal), in words, with what belongs to it.

    `alarm` says that its records contradict others (`campaigns.disagreement`). `cents` were paid, or paid back.
    `is_repeat`: it says of an order, or of the person, what was said already.
    """

    at: datetime
    kind: str
    title: str
    detail: str = ""
    campaign: int | None = None
    decision: str | None = None
    offers: tuple[tuple[int, str], ...] = ()
    fetches: tuple[tuple[str, int], ...] = ()
    sha256: str | None = None
    cents: int | None = None
    currency: str | None = None
    late: datetime | None = None
    alarm: str | None = None
    is_repeat: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A part of a timeline, newest first. `older` is the moment before which the next part goes on; None at its end."""

    entries: list[Entry]
    older: datetime | None


@dataclass(frozen=True)
class _Span:
    """What is read: of these profiles, before a moment, at most so many rows of a kind."""

    session: Session
    members: Sequence[int]
    before: datetime
    limit: int
    campaigns: dict[int, str]
    levels: dict[int, str]
    offers: dict[int, str]
    kept_since: datetime | None

    def has_expired(self, at: datetime | None) -> bool:
        """Whether what was shown at this moment is kept no longer."""
        return at is not None and self.kept_since is not None and at < self.kept_since

    def title(self, campaign: int, occurrence: int) -> str:
        name = self.campaigns.get(campaign, f"Campaign {campaign}")
        return f"{name} (test)" if occurrence & TEST_BIT else name


def timeline(
    session: Session,
    members: Sequence[int],
    *,
    kind: str | None = None,
    before: datetime | None = None,
    limit: int = PAGE,
    kept_since: datetime | None = None,
) -> Page:
    """What happened to the profiles of one person before a moment, newest first: everything, or entries of one kind.

    Updates of an order that say what it already says, as shops tell of each step of packing, are left out, and so are
    details of the person that were given before.
    What was shown before `kept_since` has expired, and the entries that would lead to it say so.
    """
    span = _Span(
        session=session,
        members=members,
        before=before or END,
        limit=limit + 1,
        campaigns=dict(session.execute(select(Campaign.id, Campaign.name)).all()),
        levels=dict(session.execute(select(Campaign.id, Campaign.tracking)).all()),
        offers=dict(session.execute(select(Offer.id, Offer.name)).all()),
        kept_since=kept_since,
    )
    readers = {"mail": _mails, "open": _opens, "click": _clicks, "order": _orders, "signal": _signals}
    only = {**readers, "disagreement": _disagreements}
    wanted = [only[kind]] if kind in only else list(readers.values())
    # Each kind is read to the same depth, so the newest of all are whole.
    merged = sorted((entry for read in wanted for entry in read(span)), key=lambda entry: entry.at, reverse=True)
    if len(merged) <= limit:
        return Page(_new(merged), None)
    page, following = merged[:limit], merged[limit]
    # What happened at one moment stays together: it is told on the next page, unless this one holds nothing else.
    whole = [entry for entry in page if entry.at > following.at] or page
    return Page(_new(whole), whole[-1].at)


def _new(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if not entry.is_repeat]


def _mails(span: _Span) -> Iterable[Entry]:
    moment = func.coalesce(Delivery.sent_at, Delivery.settled_at, Delivery.created_at)
    rows = span.session.scalars(
        select(Delivery)
        .where(Delivery.profile_id.in_(span.members), moment < span.before)
        .order_by(moment.desc(), Delivery.id.desc())
        .limit(span.limit)
    )
    later = mailreports.of_people(span.session, span.members)
    for row in rows:
        reason = reason_words(row.channel).get(row.reason or "", row.reason or "")
        detail = (
            MESSAGE_WORDS.get(row.channel, "")
            + state_words(row.channel)["skipped" if row.state == "failed" and is_our_fault(row.reason) else row.state]
        )
        detail += f": {reason}" if reason else ""
        if row.reply and row.state in TOLD_STATES:
            detail += f" (“{row.reply}”)"
        if row.holdout == "content":
            detail += "; neutral content, to measure the campaign"
        at = row.sent_at or row.settled_at or row.created_at
        if row.state == "accepted" and (words := LEVEL_WORDS.get(span.levels.get(row.campaign_id, ""))):
            detail += f"; {words}"
        if row.state == "accepted" and span.has_expired(at):
            detail += "; what it showed then has expired"
        kinds = later.get((row.profile_id, row.campaign_id, row.occurrence), ())
        detail += "".join(f"; {LATER_WORDS[kind]}" for kind in kinds)
        yield Entry(at, "mail", span.title(row.campaign_id, row.occurrence), detail, row.campaign_id)
    yield from _reports(span)


def _reports(span: _Span) -> Iterable[Entry]:
    """What was told of mails after the mail server had taken them."""
    query = (
        select(MailReport)
        .where(MailReport.profile_id.in_(span.members), MailReport.at < span.before)
        .order_by(MailReport.at.desc(), MailReport.id.desc())
        .limit(span.limit)
    )
    for row in sealingkeys.rows(span.session, query, MailReport.words):
        said = f" (“{row.words}”)" if row.words else ""
        title = span.title(row.campaign_id or 0, row.occurrence or 0)
        late = row.received_at if row.received_at - row.at > LATE else None
        yield Entry(row.at, "mail", title, f"{LATER_WORDS[row.kind]}{said}", row.campaign_id, late=late)


def _opens(span: _Span) -> Iterable[Entry]:
    columns = (
        Decision.id, Decision.at, Decision.campaign_id, Decision.occurrence, Decision.lane, Decision.slots,
        Decision.rung, Decision.contact,
    )  # fmt: skip
    decisions = span.session.execute(
        select(*columns)
        .where(Decision.profile_id.in_(span.members), Decision.at < span.before)
        .order_by(Decision.at.desc(), Decision.id)
        .limit(span.limit)
    ).all()
    fetches = _fetches_of(span.session, [row.id for row in decisions], span.members)
    for row in decisions:
        classes, pictures = fetches.get(row.id, ({}, []))
        picture, instead, before = _seen(pictures, row.rung)
        shown = ((int(slot), span.offers.get(offer, f"Offer {offer}")) for slot, offer in sorted(row.slots.items()))
        words = "; ".join([*(CLASS_WORDS[name] for name in classes), *filter(None, (before, instead))])
        where = _contact_words(row.contact) if row.contact else ""
        yield Entry(
            at=row.at,
            kind="open",
            title=span.title(row.campaign_id, row.occurrence),
            detail=where or words or "decided, no picture was taken",
            campaign=row.campaign_id,
            decision=row.id,
            offers=tuple(shown),
            fetches=tuple(sorted(classes.items())),
            sha256=picture.sha256 if picture is not None else None,
            facts={"lane": row.lane, "rung": row.rung, "contact": bool(row.contact), "instead": instead},
        )
    yield from _undecided_fetches(span)


def _contact_words(contact: str) -> str:
    """Where an offer was made: the channel and the place of a contact, which its name begins with."""
    channel, place, *_ = [*contact.split("/", 2), ""]
    return f"{CHANNEL_WORDS.get(channel, f'asked for by {channel}')}, in the place {place}"


def _undecided_fetches(span: _Span) -> Iterable[Entry]:
    """Fetches that were answered when nothing could be decided: the plan was not there."""
    rows = span.session.execute(
        select(Fetch.at, Fetch.campaign_id, Fetch.occurrence, Fetch.fetch_class)
        .where(Fetch.profile_id.in_(span.members), Fetch.decision_id.is_(None), Fetch.at < span.before)
        .order_by(Fetch.at.desc(), Fetch.id)
        .limit(span.limit)
    )
    for row in rows:
        words = f"{CLASS_WORDS[row.fetch_class]}; answered with the neutral picture, nothing was decided"
        yield Entry(row.at, "open", span.title(row.campaign_id, row.occurrence), words, row.campaign_id)


class _Picture(NamedTuple):
    """A picture that was served: of which slot, its SHA-256 in hexadecimal, and the rung it came from."""

    slot: int
    sha256: str
    rung: str


def _seen(pictures: Sequence[_Picture], decided: str) -> tuple[_Picture | None, str, str]:
    """Of what an open served in a place: the picture that tells, what it was instead of, and what came before it.

    What was chosen tells; what was served in its place, as it was not ready, only if it never came.
    """
    if not pictures:
        return None, "", ""
    first = instead_words(pictures[0].rung, decided)
    chosen = next((one for one in pictures if not instead_words(one.rung, decided)), None)
    if chosen is None:
        return pictures[0], first, ""
    return chosen, "", f"first {first}; then what was chosen" if first else ""


def _fetches_of(
    session: Session, decisions: Sequence[str], members: Sequence[int]
) -> dict[str, tuple[dict[str, int], list[_Picture]]]:
    """Per decision: how often each class fetched, and the pictures of the place that was fetched first, in sequence."""
    found: dict[str, tuple[dict[str, int], list[_Picture]]] = {}
    rows = session.execute(
        select(Fetch.decision_id, Fetch.fetch_class, Fetch.slot, Fetch.sha256, Fetch.kind, Fetch.rung)
        .where(Fetch.decision_id.in_(decisions), Fetch.profile_id.in_(members))
        .order_by(Fetch.at, Fetch.slot)
    )
    for row in rows:
        if row.decision_id is None:
            continue
        classes, pictures = found.setdefault(row.decision_id, ({}, []))
        classes[row.fetch_class] = classes.get(row.fetch_class, 0) + 1
        if row.kind not in ("picture", "dark") or row.sha256 is None:
            continue
        if not pictures or pictures[0].slot == row.slot:
            pictures.append(_Picture(row.slot, row.sha256.hex(), row.rung))
    return found


def _clicks(span: _Span) -> Iterable[Entry]:
    rows = span.session.scalars(_clicks_before(span)).all()
    yield from _told_clicks(span, rows, disagreement.of_clicks(span.session, [row.id for row in rows]))


def _disagreements(span: _Span) -> Iterable[Entry]:
    """The clicks alone that went to another offer than was shown."""
    found = disagreement.of_people(span.session, span.members)
    yield from _told_clicks(span, span.session.scalars(_clicks_before(span).where(Click.id.in_(found))).all(), found)


def _clicks_before(span: _Span) -> Select[Click]:
    return (
        select(Click)
        .where(Click.profile_id.in_(span.members), Click.at < span.before)
        .order_by(Click.at.desc(), Click.id)
        .limit(span.limit)
    )


def _told_clicks(span: _Span, rows: Sequence[Click], alarming: Mapping[str, Disagreement]) -> Iterable[Entry]:
    for row in rows:
        name = span.offers.get(row.offer_id, f"Offer {row.offer_id}") if row.offer_id is not None else None
        flags = [words for flag, words in CLICK_FLAGS if getattr(row, flag)]
        has_expired = span.has_expired(row.decision_at)
        if has_expired:
            flags.append("what had been seen has expired")
        said = SAID_WORDS.get(row.outcome)
        who = CLICK_WORDS.get(row.fetch_class, "")
        if not (who or said or row.unseen or row.unresolved) and row.decision_id is not None:
            who = f"{CLICKED}: "
        did = f"{said} {name}" if said else f"{who}went to {name or 'the default page'}"
        alarm = alarming.get(row.id)
        yield Entry(
            at=row.at,
            kind="click",
            title=span.title(row.campaign_id, row.occurrence),
            detail=did + (f" ({'; '.join(flags)})" if flags else ""),
            campaign=row.campaign_id,
            decision=None if has_expired else row.decision_id,
            alarm=disagreement.words(alarm, span.offers) if alarm is not None else None,
            facts={"said": bool(said)},
        )


def _orders(span: _Span) -> Iterable[Entry]:
    return _events(span, Event.order_id.is_not(None), "order")


def _signals(span: _Span) -> Iterable[Entry]:
    """Without what repeats fetches and clicks, which are told themselves."""
    return _events(span, and_(Event.order_id.is_(None), is_no_own_mail()), "signal")


def _events(span: _Span, which: ColumnElement[bool], kind: str) -> Iterable[Entry]:
    query = (
        select(Event)
        .where(Event.profile_id.in_(span.members), which, Event.event_time < span.before)
        .order_by(Event.event_time.desc(), Event.id.desc())
        .limit(span.limit)
    )
    rows = sealingkeys.rows(span.session, query, Event.body)
    lines = corrections.corrected(span.session, span.members, rows)
    orders = told_of_orders(span.session, span.members, rows)
    repeats = detailstold.repeats(span.session, span.members, rows)
    for row in rows:
        properties = (row.body or {}).get("properties") or {}
        known = properties if isinstance(properties, dict) else {}
        order = orders.get(row.id)
        late = row.received_at if row.received_at - row.event_time > LATE else None
        is_known = row.name == ORDER_COMPLETED and not row.folds
        yield Entry(
            at=row.event_time,
            kind=kind,
            title=KNOWN_ORDER if is_known else (order and order.refund) or event_words(row.name, row.type),
            detail=": ".join(
                filter(
                    None,
                    (
                        order.words if order else "",
                        "" if row.folds else "told again, and it counts nowhere",
                        signalwords.detail(row.type, row.name, row.body) if row.body else customers.DAMAGED,
                    ),
                )
            ),
            cents=order.cents if order and not is_known else None,
            currency=order.currency if order else None,
            late=late,
            is_repeat=row.id in repeats or (order is not None and order.is_repeat),
            facts={"event": row.id, "lines": lines.get(row.id, ()), "case": signalwords.case(row.name, known)},
        )
