"""Joining a household and leaving it by a person's hand: stronger than what any signal says, and taken back by hand.

Who joins is of the household that the other one lives in; where that is known by an address alone, or not at all, one
is begun with both. Who leaves ends every claim by which they are of it, so that the next signal that repeats one does
not bring them back; joining revives them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.orm import Session

from base.db import Binaries
from base.errors import InvalidInput, NotFound
from signals import belonging, claiming, grouping
from signals.dwellings import CLAIM_ENDED_WHY, CLAIM_WHY
from signals.grouping import Home
from signals.household import ROLES, Role
from signals.intake import Intake, regroup

WHY_LENGTH: Final = 500
Along = Callable[[Session, int], None]
"""What is done in the same transaction, with the root of whom it is about."""


def join(
    intake: Intake,
    profile: int,
    other: int,
    role: str,
    why: str,
    now: datetime,
    *,
    by: str,
    along: Along = lambda session, root: None,
) -> None:
    """Have a customer live with another one from now on, or be their grown-up child elsewhere; `role` may be empty.

    In effect for the next open of everybody there when it returns. Raises NotFound, InvalidInput naming `other`, `role`
    or `why`, Unavailable.
    """
    if role and role not in ROLES:
        raise InvalidInput("role", f"must be one of {', '.join(ROLES)}")
    intake.settle(partial(_join, profile, other, role or None, reason(why), now, by, along))
    regroup(intake, {profile, other}, now)


def leave(
    intake: Intake,
    profile: int,
    why: str,
    now: datetime,
    *,
    by: str,
    elsewhere: bool = False,
    along: Along = lambda session, root: None,
) -> None:
    """Have a customer be of their household no longer; with `elsewhere`, no longer be anybody's grown-up child.

    In effect for the next open of everybody there when it returns. Raises NotFound, InvalidInput naming `household`
    when they are of none, or `why`; Unavailable.
    """
    intake.settle(partial(_leave, profile, reason(why), now, by, elsewhere, along))
    regroup(intake, {profile}, now)


def reason(why: str) -> str:
    """Why a person does it, in one line. Raises InvalidInput."""
    line = " ".join(why.split())
    if not line or len(line) > WHY_LENGTH or "\x00" in line:
        raise InvalidInput("why", f"say in 1 to {WHY_LENGTH} characters how you know")
    return line


_HAND: Final = text("""
    INSERT INTO household_claim (profile_id, kind, key, role, since, said_at, message_id, by, why)
    VALUES (:profile, 'hand', :key, :role, :now, :now, '', :by, CAST(:why AS bytea))
    ON CONFLICT (profile_id, kind, key) DO UPDATE SET role = excluded.role, said_at = excluded.said_at,
        by = excluded.by, why = excluded.why, ended_at = NULL, ended_by = NULL, ended_why = NULL
""").bindparams(bindparam("why", type_=CLAIM_WHY))
_REVIVE: Final = text("""
    UPDATE household_claim c SET ended_at = NULL, ended_by = NULL, ended_why = NULL
    FROM profile p WHERE p.id = c.profile_id AND p.root_id = :root AND c.key = ANY(:keys)
""")
_END: Final = text("""
    UPDATE household_claim c SET ended_at = :now, ended_by = :by, ended_why = CAST(:why AS bytea)
    FROM profile p WHERE p.id = c.profile_id AND p.root_id = :root AND c.ended_at IS NULL
      AND (c.key = ANY(:keys) OR (:home AND c.kind IN ('hand', 'group') AND c.role IS DISTINCT FROM 'grown_child'))
""").bindparams(bindparam("why", type_=CLAIM_ENDED_WHY))


def _join(
    profile: int, other: int, role: Role | None, why: str, now: datetime, by: str, along: Along, session: Session
) -> None:
    roots = belonging.living(session, [profile, other])
    for number in (profile, other):
        if number not in roots:
            raise NotFound("customer", number)
    root, theirs = roots[profile], roots[other]
    if root == theirs:
        raise InvalidInput("other", "is the same customer")
    # Their rows first: whoever finds households waits for nobody.
    belonging.lock(session, [root, theirs])
    grouping.lock(session)
    home = grouping.stored(session, [theirs]).get(theirs, Home(theirs))
    key = home.household if home.household is not None and home.household != home.address else None
    if key is None:
        key = secrets.token_bytes(32)
        # Why tells of the one who joins: it is kept with them alone, and so erased and handed out with them alone.
        session.execute(_HAND, {"profile": theirs, "key": key, "role": None, "now": now, "by": by, "why": None})
    session.execute(_HAND, {"profile": root, "key": key, "role": role, "now": now, "by": by, "why": why})
    if role != "grown_child":
        _mark(session, _REVIVE, root, {key, home.address})
    claiming.queue(session, [root, theirs])
    along(session, root)


def _leave(profile: int, why: str, now: datetime, by: str, elsewhere: bool, along: Along, session: Session) -> None:
    root = belonging.living(session, [profile]).get(profile)
    if root is None:
        raise NotFound("customer", profile)
    belonging.lock(session, [root])
    grouping.lock(session)
    home = grouping.stored(session, [root]).get(root, Home(root))
    keys = set(home.elsewhere) if elsewhere else {home.household, home.address} if home.household else set()
    if not keys:
        raise InvalidInput("household", "this customer is of none")
    _mark(session, _END, root, keys, now=now, by=by, why=why, home=not elsewhere)
    claiming.queue(session, [root])
    along(session, root)


def _mark(session: Session, statement: TextClause, root: int, keys: Collection[bytes | None], **values: object) -> None:
    given = {"root": root, "keys": Binaries(key for key in keys if key is not None)}
    session.execute(statement, given | values)
