"""Mail reports and the ledger: which delivery a report is about, and what of a campaign bounced or was complained of.

A delivery that was accepted stays accepted: the mail server did take it. What came later is an event of the delivery,
told beside its state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.ids import TEST_BIT
from base.ids import Delivery as Key
from base.settings import Settings
from campaigns.models.delivery import Delivery
from signals.identity import address_hash
from signals.mailreports import KINDS, MESSAGE_ID, MailReport, tallies
from signals.providers import PROVIDERS
from signals.suppression import Suppression

Mail = tuple[int | None, int | None, int | None]
"""Profile, campaign and run: what a report is about."""
DAYS: Final = 30
WAYS: Final = {"dsn": "bounce_listen", "arf": "bounce_listen", **PROVIDERS}
"""By which ways reports come in, and the setting of each."""
MAX_LINKED: Final = 1_000
MAX_TOLD: Final = 1_000


def delivery(session: Session, key: Key) -> Delivery | None:
    """The ledger's row of a mail; None where there is none (any more)."""
    return session.scalar(
        select(Delivery).where(
            Delivery.campaign_id == key.campaign,
            Delivery.occurrence == key.occurrence,
            Delivery.profile_id == key.profile,
            Delivery.channel == "email",
        )
    )


def delivery_by_message(
    session: Session, hash_key: bytes, message_id: str, recipients: Iterable[str]
) -> Delivery | None:
    """The row whose Message-ID this is, found by the addresses that a report names; None where they do not agree."""
    named = MESSAGE_ID.fullmatch(message_id.strip())
    if named is None or int(named[2]) >= 2**31:
        return None
    for recipient in recipients:
        try:
            hashed = address_hash(hash_key, recipient)
        except InvalidInput:
            continue
        found = session.scalar(
            select(Delivery).where(
                Delivery.campaign_id == int(named[2]),
                Delivery.occurrence == int(named[3]),
                Delivery.channel == "email",
                Delivery.address_hash == hashed,
                Delivery.message_id == f"<{named[1]}>",
            )
        )
        if found is not None:
            return found
    return None


def link(session: Session) -> int:
    """Tell which delivery reports are about that named only a Message-ID and an address; how many. The caller commits.

    One that fits no delivery is not asked again, and keeps neither words nor Message-ID: its person may be erased.
    """
    return len(session.execute(_LINK, {"limit": MAX_LINKED}).all())


def counts(session: Session, campaign_id: int, occurrence: int | None = None) -> dict[str, int]:
    """How many deliveries of a campaign, tests apart, or of one run have had a report of each kind."""
    which = MailReport.occurrence < TEST_BIT if occurrence is None else MailReport.occurrence == occurrence
    mails = select(MailReport.kind, MailReport.occurrence, MailReport.profile_id).distinct()
    mails = mails.where(MailReport.campaign_id == campaign_id, MailReport.profile_id.is_not(None), which)
    told = mails.subquery()
    rows = session.execute(select(told.c.kind, func.count()).group_by(told.c.kind))
    found: dict[str, int] = {kind: number for kind, number in rows}  # noqa: C416 - rows are no pairs to mypy
    return {kind: found.get(kind, 0) for kind in KINDS}


def of_people(session: Session, members: Sequence[int]) -> dict[Mail, list[str]]:
    """The kinds of report about the mails of these profiles, by profile, campaign and run; of the newest 1,000."""
    columns = (MailReport.profile_id, MailReport.campaign_id, MailReport.occurrence, MailReport.kind)
    query = select(*columns).where(MailReport.profile_id.in_(members), MailReport.campaign_id.is_not(None))
    found: dict[Mail, list[str]] = {}
    for profile, campaign, occurrence, kind in session.execute(query.order_by(MailReport.id.desc()).limit(MAX_TOLD)):
        kinds = found.setdefault((profile, campaign, occurrence), [])
        if kind not in kinds:
            kinds.append(kind)
    return found


@dataclass(frozen=True)
class Taking:
    """What came in by each way (see `WAYS`), by outcome; suppressed addresses by reason; which ways are set up."""

    outcomes: dict[str, dict[str, int]]
    suppressed: dict[str, int]
    ways: dict[str, bool]


def intake(session: Session, settings: Settings, now: datetime) -> Taking:
    """How the taking in of reports stands, over the last thirty days."""
    outcomes: dict[str, dict[str, int]] = {}
    for row in tallies(session, (now - timedelta(days=DAYS)).date()):
        told = outcomes.setdefault(row.via, {})
        told[row.outcome] = told.get(row.outcome, 0) + row.number
    listed = session.execute(
        select(Suppression.reason, func.count()).group_by(Suppression.reason).order_by(func.count().desc()).limit(50)
    )
    suppressed: dict[str, int] = {reason: number for reason, number in listed}  # noqa: C416 - no pairs to mypy
    return Taking(outcomes, suppressed, {way: bool(getattr(settings, setting)) for way, setting in WAYS.items()})


_LINK: Final = text("""
    WITH waiting AS (
        SELECT id, campaign_id, occurrence, address_hash, message_id FROM mail_report
        WHERE profile_id IS NULL AND campaign_id IS NOT NULL ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), found AS (
        SELECT w.id, d.profile_id, d.campaign_id FROM waiting w
        LEFT JOIN delivery d ON d.campaign_id = w.campaign_id AND d.occurrence = w.occurrence
            AND d.channel = 'email' AND d.address_hash = w.address_hash AND d.message_id = w.message_id
    )
    UPDATE mail_report r SET profile_id = f.profile_id, campaign_id = f.campaign_id,
        words = CASE WHEN f.profile_id IS NOT NULL THEN r.words END,
        message_id = CASE WHEN f.profile_id IS NOT NULL THEN r.message_id END
    FROM found f WHERE r.id = f.id RETURNING r.profile_id
""")
