"""Mail reports: what became of a mail after the mail server took it, and what follows for the address.

A hard bounce and a complaint stop all further mail at once, a soft bounce once there were too many within some days. A
report is taken once, however often it comes. Whoever calls has made sure that it is about a mail of ours: by the sealed
envelope sender, by a provider's signature. Reports that could not be believed are only counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final, Literal

from sqlalchemy import BigInteger, Identity, Index, PrimaryKeyConstraint, Text, cast, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from base import logs
from base.db import Model
from base.ids import Delivery
from base.sealed import SealedText
from base.settings import Settings
from signals.consenthistory import UNSUBSCRIBED
from signals.profiles import Profile
from signals.suppression import BOUNCED, COMPLAINED, lifted_at, suppress_hash

Kind = Literal["hard", "soft", "delayed", "complaint"]
Outcome = Literal["taken", "repeated", "no report", "forged", "unknown mail", "unreadable"]
KINDS: Final[tuple[Kind, ...]] = ("hard", "soft", "delayed", "complaint")
WORDS_LENGTH: Final = 500
WORDS: Final = SealedText("mail_report.words")
MESSAGE_ID: Final = re.compile(r"<?(c(\d{1,10})\.o(\d{1,10})\.[0-9a-f]{24}@[^\s<>@\x00-\x1f]{1,253})>?")
"""The Message-ID of a mail of ours: campaign, occurrence, and a keyed hash that nobody else can make."""


class MailReport(Model):
    """One report about one mail. The mail is known once `profile_id` is; before, its campaign is the Message-ID's word.

    `status` is the enhanced code, `words` the other server's text without addresses. `address_hash` is whose mail stops
    for it. `proof` is what a provider lets be used once only.
    """

    __tablename__ = "mail_report"
    __table_args__ = (
        Index("ix_mail_report_address_hash_at", "address_hash", "at"),
        Index("ix_mail_report_profile_id_at", "profile_id", "at"),
        Index("ix_mail_report_campaign_id_occurrence", "campaign_id", "occurrence"),
        Index("ix_mail_report_unlinked", "id", postgresql_where=text("profile_id IS NULL AND campaign_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[bytes] = mapped_column(unique=True)
    proof: Mapped[bytes | None] = mapped_column(unique=True)
    kind: Mapped[str]
    via: Mapped[str]
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    address_hash: Mapped[bytes | None]
    profile_id: Mapped[int | None] = mapped_column(BigInteger)
    campaign_id: Mapped[int | None]
    occurrence: Mapped[int | None] = mapped_column(BigInteger)
    message_id: Mapped[str | None]
    status: Mapped[str | None]
    words: Mapped[str | None] = mapped_column(WORDS)


class MailReportTally(Model):
    """How many reports came in a day (UTC) by a way, and what became of them; those refused are only here."""

    __tablename__ = "mail_report_tally"
    __table_args__ = (PrimaryKeyConstraint("day", "via", "outcome"),)

    day: Mapped[date]
    via: Mapped[str]
    outcome: Mapped[str]
    number: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was told. `name` tells it from every other of the same way; `mail` is the delivery where that is sure.

    `address_hash` is None where nobody's mail may stop for it: a test's address is not the customer's. Not `is_sealed`:
    told by what whoever got the mail from its reader knows too, so that a complaint is no more than an unsubscription.
    """

    kind: Kind
    via: str
    name: str
    at: datetime
    mail: Delivery | None = None
    address_hash: bytes | None = None
    message_id: str | None = None
    status: str | None = None
    words: str | None = None
    proof: str | None = None
    is_sealed: bool = True


@dataclass(frozen=True)
class Patience:
    """How many soft bounces within how many days an address is given."""

    bounces: int
    days: int

    @classmethod
    def of(cls, settings: Settings) -> Patience:
        return cls(settings.soft_bounces, settings.soft_bounce_days)


def take(session: Session, report: Report, patience: Patience, now: datetime) -> bool:
    """Keep a report and let follow what it means for the address; False when it was taken before. The caller commits.

    A time that is to come, or was before there were mails of ours, is not believed: `now` stands for it. Of a mail to
    somebody who was erased since it is kept that it came back; not to which address, by which name, nor in whose words.
    """
    at = report.at if now - timedelta(days=60) < report.at <= now else now
    named = MESSAGE_ID.fullmatch((report.message_id or "").strip())
    campaign, occurrence = (int(named[2]), int(named[3])) if named else (None, None)
    mail = report.mail
    if mail is not None:
        campaign, occurrence = mail.campaign, mail.occurrence
    elif campaign is not None and occurrence is not None and not (campaign < 2**31 and occurrence < 2**32):
        named = campaign = occurrence = None
    hashed = report.address_hash
    if mail is not None and session.scalar(select(Profile.erased_at).where(Profile.id == mail.profile)) is not None:
        report, named = replace(report, words=None, address_hash=None), None
    words = words_of(report.words) if campaign is not None else None
    taken = session.execute(
        insert(MailReport)
        .values(
            key=_digest(f"{report.via}\0{report.name}"),
            proof=_digest(f"{report.via}\0{report.proof}") if report.proof else None,
            kind=report.kind, via=report.via, at=at, received_at=now, address_hash=report.address_hash,
            profile_id=mail.profile if mail else None, campaign_id=campaign, occurrence=occurrence,
            message_id=f"<{named[1]}>" if named else None, status=report.status, words=words,
        )
        .on_conflict_do_nothing()
        .returning(MailReport.id)
    ).one_or_none()  # fmt: skip
    if taken is None:
        tally(session, report.via, "repeated", now)
        return False
    tally(session, report.via, "taken", now)
    if hashed is not None:
        _follow(session, report, hashed, patience, at, now)
    return True


def _follow(session: Session, report: Report, hashed: bytes, patience: Patience, at: datetime, now: datetime) -> None:
    told = ", ".join(part for part in (report.status, words_of(report.words)) if part) or None
    if report.kind == "complaint":
        reason = COMPLAINED if report.is_sealed else UNSUBSCRIBED
        suppress_hash(session, hashed, reason, now, via=report.via, evidence=told)
    elif report.kind == "hard":
        suppress_hash(session, hashed, BOUNCED, now, via=report.via, evidence=told)
    elif report.kind == "soft":
        number = soft_bounces(session, hashed, at, patience)
        if number >= patience.bounces:
            evidence = f"{number} soft bounces within {patience.days} days; the last: {told or 'no reason given'}"
            suppress_hash(session, hashed, BOUNCED, now, via=report.via, evidence=evidence)


def soft_bounces(session: Session, hashed: bytes, at: datetime, patience: Patience) -> int:
    """Mails to an address that bounced softly in the days up to `at`, since a person last lifted its suppression.

    Several reports about one mail count once; one whose mail is not known counts as a mail of its own.
    """
    since = at - timedelta(days=patience.days)
    lifted = lifted_at(session, hashed)
    if lifted is not None:
        since = max(since, lifted)
    mail = func.concat_ws(".", MailReport.campaign_id, MailReport.occurrence, MailReport.profile_id)
    counted = func.count(func.distinct(func.coalesce(func.nullif(mail, ""), cast(MailReport.id, Text))))
    query = select(counted).where(MailReport.address_hash == hashed, MailReport.kind == "soft", MailReport.at > since)
    return session.scalar(query) or 0


def forget(session: Session, members: Sequence[int]) -> None:
    """Keep of the reports about these profiles' mails that they came, and nothing that names anybody.

    Also of those about their addresses whose mail is not known, while it is known whose addresses they are. The caller
    commits; it may be done again.
    """
    for which in (_THEIRS, _WAITING):
        session.execute(which, {"members": list(members)})


def tally(session: Session, via: str, outcome: Outcome, now: datetime) -> None:
    """Count a report of today by what became of it. The caller commits."""
    made = insert(MailReportTally).values(day=now.date(), via=via, outcome=outcome, number=1)
    session.execute(
        made.on_conflict_do_update(
            index_elements=["day", "via", "outcome"], set_={"number": MailReportTally.number + made.excluded.number}
        )
    )


def tallies(session: Session, since: date) -> list[MailReportTally]:
    """The counts of every day from `since` on, by way and outcome."""
    query = select(MailReportTally).where(MailReportTally.day >= since)
    return list(session.scalars(query.order_by(MailReportTally.day, MailReportTally.via, MailReportTally.outcome)))


def words_of(text_: str | None) -> str | None:
    """Another server's words on one line, without addresses; None when it said nothing."""
    line = "".join(char if char.isprintable() else " " for char in (text_ or "")[:5_000])
    masked = logs.masked(None, "", {"words": " ".join(line.split())[:WORDS_LENGTH]})["words"]
    return str(masked) or None


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()


# That a mail bounced stays with the ledger; what a server said of it may name the person.
_THEIRS: Final = text("""
    UPDATE mail_report SET words = NULL, address_hash = NULL, message_id = NULL
    WHERE profile_id = ANY(:members) AND num_nonnulls(words, address_hash, message_id) > 0
""")

_WAITING: Final = text("""
    UPDATE mail_report r SET words = NULL, address_hash = NULL, message_id = NULL
    FROM identifier i
    WHERE i.profile_id = ANY(:members) AND r.address_hash = i.value_hash AND r.profile_id IS NULL
""")
