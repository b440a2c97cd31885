"""Holdouts: who gets no mail (send) and who gets the mail with neutral blocks (content), per campaign and over all.

A person's group is drawn once, by a keyed hash of a lasting name of theirs (user id, else address, else profile), and
kept. The hash alone gives the same group after a restart and when the same people are imported again; the kept row
outlives a change of the share and a merge: of several members the earliest assignment stays, and people whose members
disagree leave the analysis.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, LargeBinary, cast, false, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from base.errors import InvalidInput
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign, GlobalHoldout, HoldoutAssignment
from signals.profiles import Profile

EVERYWHERE: Final = 0
"""The campaign number of the holdouts over all campaigns."""
KINDS: Final = ("send", "content")
MAX_SHARE: Final = 0.5
_BUCKETS: Final = 2**24


def set_global(session: Session, kind: str, share: float, now: datetime, by: Actor) -> None:
    """Hold out a share of all people over all campaigns, from their next assignment on."""
    if kind not in KINDS:
        raise InvalidInput("kind", f"must be one of {', '.join(KINDS)}")
    if not 0 <= share <= MAX_SHARE:
        raise InvalidInput("share", f"must be 0 to {MAX_SHARE}")
    row = session.get(GlobalHoldout, kind)
    before = {"share": 0.0 if row is None else row.share}
    if row is None:
        row = GlobalHoldout(kind=kind, share=share, changed_at=now)
        session.add(row)
    row.share, row.changed_at = share, now
    admin_log.record(session, by, "change", "holdout", kind, now, before=before, after={"share": share})


def shares(session: Session, campaign: Campaign) -> dict[tuple[int, str], float]:
    """The share of each holdout that may touch a campaign: (campaign or 0, kind) -> share."""
    everywhere = {row.kind: row.share for row in session.scalars(select(GlobalHoldout))}
    return {
        (campaign.id, "send"): campaign.send_holdout,
        (campaign.id, "content"): campaign.content_holdout,
        (EVERYWHERE, "send"): everywhere.get("send", 0.0),
        (EVERYWHERE, "content"): everywhere.get("content", 0.0),
    }


def is_held(
    session: Session,
    scope: int,
    kind: str,
    share: float,
    hash_key: bytes,
    profile_id: ColumnElement[int],
    name: ColumnElement[bytes],
) -> ColumnElement[bool]:
    """Whether a person is held out, as SQL: as assigned before under any of their profiles, else as drawn now."""
    drawn: ColumnElement[bool] = _bucket(scope, kind, hash_key, name) < literal(round(share * _BUCKETS))
    assigned = select(HoldoutAssignment.held).where(
        HoldoutAssignment.campaign_id == scope, HoldoutAssignment.kind == kind
    )
    if session.scalar(assigned.limit(1)) is None:
        return drawn if share > 0 else false()
    member = aliased(Profile)
    before = (
        assigned.join(member, member.id == HoldoutAssignment.profile_id)
        .where(member.root_id == profile_id)
        .order_by(HoldoutAssignment.assigned_at, HoldoutAssignment.profile_id)
        .limit(1)
        .correlate_except(HoldoutAssignment, member)
        .scalar_subquery()
    )
    return func.coalesce(before, drawn if share > 0 else false())


def assign(session: Session, scope: int, kind: str, share: float, held: Any, now: datetime) -> None:
    """Keep the groups of `held`, a query of (profile_id, held); who has one keeps it."""
    rows = held.subquery()
    columns = ["campaign_id", "kind", "profile_id", "held", "share", "assigned_at"]
    session.execute(
        insert(HoldoutAssignment)
        .from_select(
            columns,
            select(literal(scope), literal(kind), rows.c.profile_id, rows.c.held, literal(share), literal(now)),
        )
        .on_conflict_do_nothing()
    )


def leave_merged(session: Session, now: datetime) -> int:
    """Take people whose merged profiles are in different groups out of the analysis; returns how many rows."""
    return len(session.execute(_LEAVE, {"now": now}).all())


_LEAVE: Final = text("""
    UPDATE holdout_assignment a SET left_at = :now, left_reason = 'merged'
    FROM profile p, (
        SELECT b.campaign_id, b.kind, m.root_id
        FROM holdout_assignment b JOIN profile m ON m.id = b.profile_id
        GROUP BY b.campaign_id, b.kind, m.root_id
        HAVING count(DISTINCT b.held) > 1
    ) torn
    WHERE p.id = a.profile_id AND torn.campaign_id = a.campaign_id AND torn.kind = a.kind AND torn.root_id = p.root_id
      AND a.left_at IS NULL
    RETURNING a.profile_id
""")


def _bucket(scope: int, kind: str, hash_key: bytes, name: ColumnElement[bytes]) -> ColumnElement[int]:
    """A person's place from 0 to 2^24 - 1, evenly spread, as SQL. The server sees a key of this holdout only."""
    key = hmac.new(hash_key, f"holdout:{scope}:{kind}".encode(), hashlib.sha256).digest()
    digest = func.sha256(cast(literal(key), LargeBinary).op("||")(name))
    return func.get_byte(digest, 0) * 65536 + func.get_byte(digest, 1) * 256 + func.get_byte(digest, 2)
