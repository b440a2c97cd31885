"""Permits: no mail is handed over without one where a limit is set, and never more are given than the limit allows.

A permit is taken before the hand-over, in the transaction that marks the mails, under one lock over all senders. Until
it is known which of its mails were handed over, and when the last was, each counts as being handed over this very
moment; then it counts from that end on. So for any window, also one that nobody looked at: when the last mail of it got
its permit, every other one was counted. What a killed sender leaves counts until its claim has run out, and a window
longer. All of this is in the database of the ledger: while that is away nothing is sent, and the loss of another store
lifts no limit.

Ends are kept in buckets of a hundredth of the window (a fiftieth of a second), as late as the bucket ends: a limit may
be used that much less than fully, never more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from base.clock import EPOCH, Clock
from campaigns import gateways, sendlimits
from campaigns.admin_log import Actor
from campaigns.deliveries import is_our_fault
from campaigns.models.delivery import TEST_ADDRESS
from campaigns.models.sending import Permit, PermitUse
from campaigns.sendlimits import DAY, GATEWAYS, HOUR, SECOND, WINDOWS, Limit, Limits, Terms
from signals.profiles import IDENTIFIER_VALUE
from signals.sealingkeys import legible

WIDTHS: Final = {SECOND: 20_000, HOUR: 36_000_000, DAY: 864_000_000}
"""Microseconds of a bucket, by window."""
MAX_KEYS: Final = 1_000
"""Limits that are looked at in one round for rows that wait."""
MAX_LET_IN: Final = 20_000
SETTLED: Final = timedelta(minutes=5)
"""What was settled longer ago is committed, or will never be: a sender tries that for half a minute."""
_LOCK: Final = 6_024_002
_MICROSECOND: Final = timedelta(microseconds=1)


LEFT_AT_ONCE: Final = 2_000
"""Mails that left which are read together."""


@dataclass(frozen=True, slots=True)
class Mail:
    """What a mail counts for: the domains it goes to and comes from, or the gateway that gets it."""

    id: int
    recipient: str
    sender: str
    gateway: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a mail may not leave yet: the limit it waits for, and when there should be room."""

    limit: Limit
    until: datetime


@dataclass
class Granted:
    """Which mails may be handed over, under which permit (None: no limit is set), and what the others wait for."""

    permit: int | None
    mails: dict[int, Mail]
    waits: dict[int, Wait] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit is used just now, mails under way included."""

    limit: Limit
    used: int


def take(session: Session, clock: Clock, claimer: str, mails: Sequence[Mail], lease: timedelta) -> Granted:
    """Take permits for as many of the mails as the limits allow, in their order. The caller commits before it sends."""
    if not _limits(session):
        return Granted(None, {mail.id: mail for mail in mails})
    _lock(session)
    now, limits = clock.now(), _limits(session)
    _end_lost(session, now)
    keys = {mail.id: limits.keys(mail.recipient, mail.sender, mail.gateway) for mail in mails}
    asked = {key: limits.of(key, now) for key in sorted({key for some in keys.values() for key in some})}
    used = _used(session, [limit for some in asked.values() for limit in some], now)
    granted = Granted(None, {})
    full: dict[int, list[Limit]] = {}
    uses: Counter[str] = Counter()
    for mail in mails:
        against = [limit for key in keys[mail.id] for limit in asked[key] if used[limit] + uses[key] >= limit.most]
        if against:
            full[mail.id] = against
        else:
            granted.mails[mail.id] = mail
            uses.update(keys[mail.id])
    if granted.mails:
        permit = Permit(claimer=claimer, until=now + lease, uses=dict(uses))
        session.add(permit)
        session.flush()
        granted.permit = permit.id
    free = {limit: _free_at(session, limit, now) for limit in {limit for some in full.values() for limit in some}}
    for number, against in full.items():
        last = max(against, key=free.__getitem__)
        granted.waits[number] = Wait(last, free[last])
    return granted


def end(session: Session, granted: Granted, handed: Iterable[int], clock: Clock) -> None:
    """Note that of the granted mails these were handed over, by now; the others count for nothing. The caller commits.

    Doing it again changes nothing; neither does it when the claim has run out, for then all of them count.
    """
    if granted.permit is None:
        return
    _lock(session)
    gone = session.execute(delete(Permit).where(Permit.id == granted.permit).returning(Permit.uses)).first()
    if gone is None:
        return
    limits = _limits(session)
    uses: Counter[str] = Counter()
    for number in handed:
        if number in granted.mails:
            mail = granted.mails[number]
            uses.update(limits.keys(mail.recipient, mail.sender, mail.gateway))
    _add(session, uses, clock.now())


def uses(session: Session, keys: Iterable[str], now: datetime) -> list[Use]:
    """How much is used of the limits of these keys."""
    limits = _limits(session)
    asked = [limit for key in keys for limit in limits.of(key, now)]
    used = _used(session, asked, now)
    return [Use(limit, used[limit]) for limit in asked]


def room(session: Session, now: datetime) -> int | None:
    """How many mails of any kind may leave now; None without a limit. Of a second's limit, ten seconds' worth."""
    return min((_room(use) for use in uses(session, [sendlimits.ALL], now)), default=None)


def let_in(session: Session, now: datetime, after: str = "") -> str:
    """Bring back rows that wait for a limit, as many as there is room for, the oldest first. The caller commits.

    Looks at the limits whose names come after `after`, MAX_KEYS of them, and returns the last, after which the next
    round goes on; "" once there are no more. Whether the rows may leave is asked again when they are handed over; a
    limit that is gone holds nobody.
    """
    names = [str(name) for name in session.scalars(_WAITED_FOR, {"after": after, "most": MAX_KEYS})]
    if not names:
        return ""
    limits = _limits(session)
    standing = {name: _named(limits, name, now) for name in names}
    used = _used(session, [limit for some in standing.values() for limit in some], now)
    rooms = {
        name: min((_room(Use(limit, used[limit])) for limit in some), default=MAX_LET_IN)
        for name, some in standing.items()
    }
    free = {name: min(most, MAX_LET_IN) for name, most in rooms.items() if most > 0}
    if free:
        session.execute(_LET_IN, {"names": list(free), "mosts": list(free.values())})
    return names[-1] if len(names) == MAX_KEYS else ""


def _named(limits: Limits, name: str, now: datetime) -> list[Limit]:
    """The limits that a waiting row names; none where they are gone."""
    key, _, window = name.rpartition(" ")
    return [limit for limit in limits.of(key, now) if limit.window_s == int(window)]


def prune(session: Session, now: datetime) -> None:
    """Forget what no window reaches any more. The caller commits."""
    for window in WINDOWS:
        old = PermitUse.window_s == window, PermitUse.bucket < _floor(window, now)
        session.execute(delete(PermitUse).where(*old))


def set_terms(session: Session, wanted: Terms, now: datetime, by: Actor) -> Terms:
    """Set the limits of what is handed over from now on; returns them as they are kept. The caller commits.

    What left in the day before counts, by the ledger; for a warm-up only what leaves from now on. Raises InvalidInput.
    """
    # The day is counted before senders are kept waiting, and under the lock only what was settled since.
    settled = now - SETTLED
    left = _left(session, now, until=settled) if Limits(wanted) else []
    _lock(session)
    # Without the paces of gateways: while they alone are set, what counts for everything is counted only from then on.
    before, after = Limits(sendlimits.terms(session)), Limits(sendlimits.keep(session, wanted, now, by))
    if not before:
        session.execute(delete(PermitUse).where(~PermitUse.key.startswith(GATEWAYS, autoescape=True)))
    if after:
        _count_before(session, before, after, left + _left(session, now, since=settled))
    return after.terms


def _limits(session: Session) -> Limits:
    return Limits(sendlimits.terms(session), gateways.paces(session))


def _lock(session: Session) -> None:
    """Be the only one who gives or ends permits until the commit."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _end_lost(session: Session, now: datetime) -> None:
    """Permits of senders that were lost: each of their mails may have been handed over until the claim ran out."""
    for permit in session.execute(delete(Permit).where(Permit.until <= now).returning(Permit.until, Permit.uses)):
        _add(session, permit.uses, permit.until)


@dataclass(frozen=True, slots=True)
class _Left:
    """How many mails to a domain were settled within a bucket of a window, by the ledger."""

    window: int
    bucket: int
    domain: str
    number: int


def _left(
    session: Session, now: datetime, *, since: datetime | None = None, until: datetime | None = None
) -> list[_Left]:
    """What was settled within each window before `now`, after `since` and not after `until`."""
    found = []
    for window in WINDOWS:
        begins = now - timedelta(seconds=window)
        told = {"since": max(begins, since or begins), "until": until, "width": WIDTHS[window]}
        # Addresses are sealed: their domains are counted here.
        rows = session.execute(_LEFT, told, execution_options={"yield_per": LEFT_AT_ONCE})
        counts = Counter((row.bucket, _domain(session, row)) for row in rows if not is_our_fault(row.reason))
        found += [_Left(window, bucket, domain, number) for (bucket, domain), number in counts.items()]
    return found


def _domain(session: Session, row: Any) -> str:
    """The domain that a row of the ledger went to; of an address that is gone or damaged none is known."""
    address = legible(session, row.test_address, TEST_ADDRESS, delivery=row.id)
    address = address or legible(session, row.value, IDENTIFIER_VALUE, delivery=row.id)
    return (address or "").partition("@")[2].lower()


def _count_before(session: Session, before: Limits, after: Limits, left: Sequence[_Left]) -> None:
    """Count what left in the day before for the keys that nothing was counted for until now."""
    rows: Counter[tuple[str, int, int]] = Counter()
    for one in left:
        known = before.keys(one.domain, "") if before else []
        rows.update(
            {(key, one.window, one.bucket): one.number for key in after.keys(one.domain, "") if key not in known}
        )
    _write(session, rows)


def _add(session: Session, uses: Mapping[str, int], at: datetime) -> None:
    _write(session, {(key, window, _micros(at) // WIDTHS[window]): n for key, n in uses.items() for window in WINDOWS})


def _write(session: Session, uses: Mapping[tuple[str, int, int], int]) -> None:
    rows = [
        {"key": key, "window": window, "bucket": bucket, "number": number}
        for (key, window, bucket), number in uses.items()
    ]
    if rows:
        session.execute(_ADD, {"rows": msgspec.json.encode(rows).decode()})


def _used(session: Session, limits: Sequence[Limit], now: datetime) -> dict[Limit, int]:
    """How many mails count for each now."""
    if not limits:
        return {}
    rows = session.execute(
        _USED,
        {
            "keys": [limit.key for limit in limits],
            "windows": [limit.window_s for limit in limits],
            "floors": [_floor(limit.window_s, now) for limit in limits],
        },
    )
    found = {(row.key, row.window_s): int(row.used) for row in rows}
    return {limit: found[limit.key, limit.window_s] for limit in limits}


def _free_at(session: Session, limit: Limit, now: datetime) -> datetime:
    """When there is room again for one mail, if nothing else is handed over."""
    used = _used(session, [limit], now)[limit]
    width = WIDTHS[limit.window_s]
    told = {"key": limit.key, "window": limit.window_s, "floor": _floor(limit.window_s, now)}
    for row in session.execute(_BUCKETS, told):
        used -= row.number
        if used < limit.most:
            ended: int = (row.bucket + 1) * width
            return EPOCH + timedelta(microseconds=ended, seconds=limit.window_s)
    # What is under way fills it: that will count for a whole window from its end on, which may be now.
    return EPOCH + timedelta(microseconds=(_micros(now) // width + 1) * width, seconds=limit.window_s)


def _room(use: Use) -> int:
    worth = 10 if use.limit.window_s == SECOND else 1
    return use.limit.most * worth - use.used


def _floor(window: int, now: datetime) -> int:
    """The first bucket that still counts: its end is later than a window ago."""
    return (_micros(now) - window * 1_000_000) // WIDTHS[window]


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND


# Both kinds in one statement: a permit that is being ended is in exactly one of them.
_USED: Final = text("""
    SELECT w.key, w.window_s,
        coalesce((SELECT sum(u.number) FROM permit_use u
                  WHERE u.key = w.key AND u.window_s = w.window_s AND u.bucket >= w.floor), 0)
        + coalesce((SELECT sum((p.uses ->> w.key)::int) FROM permit p), 0) AS used
    FROM unnest(CAST(:keys AS text[]), CAST(:windows AS int[]), CAST(:floors AS bigint[])) AS w(key, window_s, floor)
""")

_BUCKETS: Final = text("""
    SELECT bucket, number FROM permit_use WHERE key = :key AND window_s = :window AND bucket >= :floor ORDER BY bucket
""")

_ADD: Final = text("""
    INSERT INTO permit_use (key, window_s, bucket, number)
    SELECT key, "window", bucket, number
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(key text, "window" int, bucket bigint, number int)
    ON CONFLICT (key, window_s, bucket) DO UPDATE SET number = permit_use.number + excluded.number
""")

_LEFT: Final = text("""
    SELECT floor(extract(epoch FROM d.settled_at) * 1000000 / :width)::bigint AS bucket,
        d.id, d.reason, d.test_address, i.value
    FROM delivery d LEFT JOIN LATERAL (
        SELECT n.value FROM identifier n WHERE n.value_hash = d.address_hash AND n.type = 'email' LIMIT 1
    ) i ON true
    WHERE d.settled_at > :since AND d.settled_at <= coalesce(CAST(:until AS timestamptz), 'infinity')
      AND d.state IN ('accepted', 'failed', 'unknown')
""")

# From one name to the next by the index, however many rows wait for each.
_WAITED_FOR: Final = text("""
    WITH RECURSIVE names AS (
        (SELECT waits_for AS name FROM delivery
         WHERE waits_for > :after AND state = 'queued' ORDER BY waits_for LIMIT 1)
        UNION ALL
        SELECT (SELECT d.waits_for FROM delivery d
                WHERE d.waits_for > n.name AND d.state = 'queued' ORDER BY d.waits_for LIMIT 1)
        FROM names n WHERE n.name IS NOT NULL
    )
    SELECT name FROM names WHERE name IS NOT NULL LIMIT :most
""")

_LET_IN: Final = text("""
    WITH piece AS MATERIALIZED (
        SELECT d.id FROM unnest(CAST(:names AS text[]), CAST(:mosts AS int[])) AS v(name, most)
        CROSS JOIN LATERAL (
            SELECT id FROM delivery WHERE waits_for = v.name AND state = 'queued'
            ORDER BY id LIMIT v.most FOR UPDATE SKIP LOCKED
        ) AS d
    )
    UPDATE delivery SET waits_for = NULL, not_before = NULL, reason = NULL, enqueued_at = NULL
    FROM piece WHERE delivery.id = piece.id
""")
