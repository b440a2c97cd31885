"""Audience exports: a segment that a receiver outside is kept told of, by hashed names, additions and removals.

Only who agreed to *advertising* is named. Who withdraws, leaves the segment or is erased is removed at the receiver, by
the very names it was given. Who refuses it for a mailbox is heard for everybody who has that address. Rows say what is
wanted and what the receiver knows; telling is making the two agree, so whatever ends a process in between is made good
by the next. Asking twice for the same does no harm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns import matchkeys
from campaigns.models.exports import AudienceExport, ExportMember
from campaigns.population import matching
from signals.profiles import IDENTIFIER_VALUE, ProfileStateRow
from signals.sealingkeys import legible

PURPOSE: Final = "advertising"
PAGE: Final = 5_000
BATCH: Final = 500
"""Additions, and removals, of one call at most."""
MAX_FILE: Final = 100_000
SYNC_EVERY: Final = timedelta(minutes=10)
LEASE: Final = timedelta(minutes=10)
FORGET_AFTER: Final = timedelta(days=30)
"""For so long names of erased people are kept for their removal: an erasure is due within a month (GDPR, Art. 12)."""
KNOWN: Final = ("maybe", "yes")
LOST: Final = "lost"
FIRST_DELAY: Final = timedelta(minutes=1)
MAX_DELAY: Final = timedelta(hours=4)


@dataclass(frozen=True)
class Changes:
    """What a receiver is to be told next: removals before additions. `name` is the same for the same content."""

    name: str
    removals: list[ExportMember]
    additions: list[ExportMember]

    def __bool__(self) -> bool:
        return bool(self.removals or self.additions)


@dataclass(frozen=True)
class Standing:
    """How many people the receiver should know, and how many additions and removals it is still to be told.

    `lost`: erased people whom it may know still; see `forget`.
    """

    members: int
    additions: int
    removals: int
    lost: int


def sync(session: Session, export: AudienceExport, now: datetime) -> None:
    """Make the rows say who is wanted now: of the segment, agreed to advertising, with a name that can be hashed.

    The caller commits. Raises InvalidInput when the segment's rule is not sound any more.
    """
    if export.state in ("ending", "ended"):
        session.execute(update(ExportMember).where(ExportMember.export_id == export.id).values(wanted=False))
    else:
        allowed = ProfileStateRow.document["consent"][PURPOSE].as_boolean().is_(True)
        people = matching(session, {"segment": export.segment_id}, now, "segment").where(allowed)
        session.execute(
            update(ExportMember)
            .where(
                ExportMember.export_id == export.id, ExportMember.wanted, ExportMember.profile_id.not_in(people)
            )
            .values(wanted=False)
            .execution_options(synchronize_session=False)
        )  # fmt: skip
        if export.state == "active":
            after = 0
            while page := list(
                session.scalars(
                    people.where(ProfileStateRow.profile_id > after).order_by(ProfileStateRow.profile_id).limit(PAGE)
                )
            ):
                _want(session, export, page)
                after = page[-1]
    # Who was never offered needs no removal; nor does a name that another row goes on standing for.
    session.execute(_DROP, {"export": export.id})
    export.synced_at = now


def _want(session: Session, export: AudienceExport, people: Sequence[int]) -> None:
    """Want these people by the names they have now, and by no former ones."""
    names = {
        row.root_id: matchkeys.match_keys(
            export.format, *(legible(session, one, IDENTIFIER_VALUE, profile=row.root_id) for one in row[1:])
        )
        for row in session.execute(_NAMES, {"people": list(people), "purpose": PURPOSE})
    }
    rows = [
        {"export_id": export.id, "profile_id": person, "digest": matchkeys.digest(keys), "names": keys, "wanted": True}
        for person, keys in names.items()
        if keys
    ]
    session.execute(
        _UNWANT,
        {
            "export": export.id,
            "people": list(people),
            "named": [row["profile_id"] for row in rows],
            "digests": [row["digest"] for row in rows],
        },
    )
    if rows:
        made = insert(ExportMember).values(rows)
        session.execute(made.on_conflict_do_update(constraint="pk_export_member", set_={"wanted": True}))


def changes(session: Session, export: AudienceExport, most: int = BATCH, *, recheck: bool = True) -> Changes:
    """What is to be told next; with `recheck`, consent is looked at once more for who is added."""
    removals = select(ExportMember).where(
        ExportMember.export_id == export.id, ~ExportMember.wanted, ExportMember.told.in_(KNOWN)
    )
    allowed = (
        select(ProfileStateRow.profile_id)
        .where(
            ProfileStateRow.profile_id == ExportMember.profile_id,
            ProfileStateRow.document["consent"][PURPOSE].as_boolean().is_(True),
        )
        .exists()
    )
    additions = select(ExportMember).where(
        ExportMember.export_id == export.id, ExportMember.wanted, ExportMember.told != "yes"
    )
    if recheck:
        additions = additions.where(allowed)
    gone = list(session.scalars(removals.order_by(ExportMember.profile_id, ExportMember.digest).limit(most)))
    new: list[ExportMember] = []
    if export.state == "active":
        new = list(session.scalars(additions.order_by(ExportMember.profile_id, ExportMember.digest).limit(most)))
    mark = hashlib.sha256(f"export {export.id}".encode())
    for sign, rows in (("-", gone), ("+", new)):
        for row in rows:
            mark.update(f"{sign}{row.profile_id}.{row.digest.hex()}".encode())
    return Changes(f"msg_{mark.hexdigest()[:32]}", gone, new)


def file_name(session: Session, export_id: int) -> str:
    """What names the file of all that is to be told: the same as long as that is the same."""
    row = session.execute(_FILE, {"export": export_id}).one()
    return f"file_{export_id}_{row.number}_{(row.mark or 0) & (2**64 - 1):016x}"


def offer(told: Changes) -> None:
    """Note that the receiver may know of these additions from now on. The caller commits before it asks."""
    for row in told.additions:
        row.told = "maybe"


def confirm(session: Session, export_id: int, told: Changes) -> None:
    """Note that the receiver was told. Whoever changed meanwhile is told anew. The caller commits."""
    values = {"export": export_id}
    for statement, rows in ((_ADDED, told.additions), (_REMOVED, told.removals)):
        if rows:
            keys: dict[str, Any] = {"people": [r.profile_id for r in rows], "digests": [r.digest for r in rows]}
            session.execute(statement, values | keys)


def standing(session: Session, export_id: int) -> Standing:
    """How far the receiver is told."""
    rows = session.execute(
        select(ExportMember.wanted, ExportMember.told, func.count())
        .where(ExportMember.export_id == export_id)
        .group_by(ExportMember.wanted, ExportMember.told)
    ).all()
    return Standing(
        members=sum(number for wanted, told, number in rows if wanted),
        additions=sum(number for wanted, told, number in rows if wanted and told != "yes"),
        removals=sum(number for wanted, told, number in rows if not wanted and told in KNOWN),
        lost=sum(number for _, told, number in rows if told == LOST),
    )


def forget(session: Session, now: datetime) -> int:
    """Drop the names of who was erased FORGET_AFTER ago, though no receiver confirmed their removal; how many it may
    know still.

    A row without a name stays for each, so that a person can be told to have them deleted there. The caller commits.
    """
    given = {"before": now - FORGET_AFTER}
    session.execute(_UNTOLD, given)
    return len(session.execute(_FORGET, given).all())


def claim(session: Session, now: datetime) -> AudienceExport | None:
    """An export with a receiver whose turn it is, for this process alone until its lease ends. The caller commits."""
    due = (
        select(AudienceExport)
        .where(*_due(now))
        .order_by(AudienceExport.synced_at.nulls_first(), AudienceExport.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    export = session.scalar(due)
    if export is not None:
        export.lease_until = now + LEASE
    return export


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether a receiver is to be looked after."""
    return session.scalar(select(AudienceExport.id).where(*_due(now)).limit(1)) is not None


def _due(now: datetime) -> tuple[Any, ...]:
    return (
        AudienceExport.url.is_not(None),
        AudienceExport.state != "ended",
        func.coalesce(AudienceExport.lease_until, now) <= now,
        func.coalesce(AudienceExport.not_before, now) <= now,
        func.coalesce(AudienceExport.synced_at, now - SYNC_EVERY) <= now - SYNC_EVERY,
    )


def settle(export: AudienceExport, fault: str | None, now: datetime) -> None:
    """Note how the telling ended, and when a fault is tried again: in 1, 4, 16, 64 minutes, then every 4 hours."""
    export.lease_until, export.fault = None, fault
    if fault is None:
        export.attempts, export.not_before = 0, None
        return
    export.not_before = now + min(FIRST_DELAY * 4 ** min(export.attempts, 10), MAX_DELAY)
    export.attempts += 1
    # It is due by its own time, not by that of the last look.
    export.synced_at = None


_FILE: Final = text("""
    SELECT count(*) AS number,
        bit_xor(hashtextextended(profile_id || ':' || encode(digest, 'hex') || wanted, 0)) AS mark
    FROM export_member
    WHERE export_id = :export AND (wanted AND told <> 'yes' OR NOT wanted AND told IN ('maybe', 'yes'))
""")

# An address that somebody else has too names nobody after they refused, until one of them agrees anew.
_NAMES: Final = text("""
    SELECT p.root_id,
        (array_agg(n.value ORDER BY n.last_seen DESC, n.value_hash) FILTER (WHERE n.type = 'email'))[1] AS email,
        (array_agg(n.value ORDER BY n.last_seen DESC, n.value_hash) FILTER (WHERE n.type = 'phone'))[1] AS phone
    FROM profile p JOIN identifier n ON n.profile_id = p.id
    WHERE p.root_id = ANY(CAST(:people AS bigint[])) AND n.type IN ('email', 'phone') AND NOT EXISTS (
        SELECT 1 FROM identifier o JOIN profile f ON f.id = o.profile_id AND f.root_id <> p.root_id
        JOIN profile s ON s.root_id = f.root_id
        JOIN consent k ON k.profile_id = s.id AND k.purpose = :purpose AND NOT k.granted
        WHERE n.type = 'email' AND o.type = 'email' AND o.value_hash = n.value_hash AND NOT EXISTS (
            SELECT 1 FROM profile m JOIN consent y ON y.profile_id = m.id AND y.purpose = :purpose AND y.granted
            WHERE m.root_id IN (p.root_id, f.root_id) AND y.at > k.at
        )
    ) GROUP BY p.root_id
""")

_UNTOLD: Final = text("""
    DELETE FROM export_member m USING profile p
    WHERE p.id = m.profile_id AND p.erased_at < :before AND m.told = 'no'
""")

_FORGET: Final = text("""
    UPDATE export_member m SET told = 'lost', wanted = false, names = '{}', digest = uuid_send(gen_random_uuid())
    FROM profile p WHERE p.id = m.profile_id AND p.erased_at < :before AND m.told IN ('maybe', 'yes')
    RETURNING m.profile_id
""")

_UNWANT: Final = text("""
    UPDATE export_member m SET wanted = false
    WHERE m.export_id = :export AND m.profile_id = ANY(CAST(:people AS bigint[])) AND m.wanted AND NOT EXISTS (
        SELECT 1 FROM unnest(CAST(:named AS bigint[]), CAST(:digests AS bytea[])) AS v(person, digest)
        WHERE v.person = m.profile_id AND v.digest = m.digest
    )
""")

_DROP: Final = text("""
    DELETE FROM export_member m WHERE m.export_id = :export AND NOT m.wanted AND (m.told = 'no' OR EXISTS (
        SELECT 1 FROM export_member o WHERE o.export_id = m.export_id AND o.digest = m.digest AND o.wanted
    ))
""")

_ADDED: Final = text("""
    UPDATE export_member m SET told = 'yes'
    FROM unnest(CAST(:people AS bigint[]), CAST(:digests AS bytea[])) AS v(person, digest)
    WHERE m.export_id = :export AND m.profile_id = v.person AND m.digest = v.digest
""")

_REMOVED: Final = text("""
    UPDATE export_member m SET told = 'no'
    FROM unnest(CAST(:people AS bigint[]), CAST(:digests AS bytea[])) AS v(person, digest)
    WHERE m.export_id = :export AND m.profile_id = v.person AND m.digest = v.digest
""")
