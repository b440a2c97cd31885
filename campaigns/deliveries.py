"""The delivery ledger: what became of each mail, and the moves between its states.

queued → claimed → accepted | deferred | failed | unknown; deferred → queued when its time has come. Every move is one
conditional UPDATE. A claim carries a fence: a number that grows with each claim, so that a sender who was believed dead
cannot settle a row that another has claimed since. `handing` is set and committed before the first byte of a mail is
handed over: a claim that ran out without it was surely not sent and goes back, one with it is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from base.ids import Delivery as Key
from campaigns.channels import EMAIL, IDENTIFIER_SQL
from campaigns.models.delivery import TEST_ADDRESS
from campaigns.windows import IS_OPEN
from signals.profiles import IDENTIFIER_VALUE, opened
from signals.sealingkeys import legible

LEASE: Final = timedelta(seconds=90)
"""How long a claim lasts that its sender does not renew, as one that works does every 15 s."""
SILENT: Final = timedelta(seconds=45)
"""A sender that has not renewed its claims for so long has stopped, as far as anybody can tell."""
HOLD: Final = timedelta(minutes=15)
"""How long a claim is renewed without any progress; what a group has not begun by then goes back."""
AGAIN_AFTER: Final = timedelta(minutes=1)
"""Until what a failed job left is tried again."""
RELAY_AWAY: Final = "relay unreachable"
RELAY_REFUSES: Final = "relay refuses us"
"""Reasons of rows that wait for no fault of their own: no try is counted."""
NO_ANSWER: Final = "no answer after the mail was sent"
SENDER_LOST: Final = "sender lost while handing over"
SETTLED: Final = "settled by a person"
ADDRESS_DAMAGED: Final = "the address is damaged"
"""Reason of a failed row: where the address is kept, its bytes do not open. Put back, it is sent again on demand."""
NOT_BUILT: Final = "could not be built"
"""How the reason of a mail begins whose making failed, or that can be made for nobody at this address."""
MAIL_GONE: Final = "the published mail is gone"
UNSIGNABLE: Final = "the mail cannot be signed"
GATEWAY_SHUT: Final = "the gateway takes nothing now"
"""Reasons for which a campaign's rows are put off; a test has failed then."""
NO_SMTPUTF8: Final = "the relay offers no SMTPUTF8, which an address that is not ASCII before its @ needs"
_OURS: Final = (ADDRESS_DAMAGED, MAIL_GONE, UNSIGNABLE, GATEWAY_SHUT, NO_SMTPUTF8)
IN_DOUBT: Final = (NO_ANSWER, SENDER_LOST, SETTLED)
"""Reasons of a row of which it is not known whether the other side took it; a person's word for it is no proof."""


def is_our_fault(reason: str | None) -> bool:
    """Whether a row that failed for this reason did so here, before any server or gateway was asked to take it."""
    return reason is not None and (reason in _OURS or reason.startswith(NOT_BUILT))


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row this process may send. `state` are the profile state's bytes now, None when there is none
    or it is damaged.

    `created_at` is when its run was frozen, or the test asked for. `in_doubt` says of a text or push message that a
    person had it sent again although an earlier attempt may have been taken.
    """

    id: int
    key: Key
    fence: int
    address: str
    address_hash: bytes | None
    traits: dict[str, Any]
    state: bytes | None
    plan_hash: str
    holdout: str
    attempts: int
    created_at: datetime
    channel: str = EMAIL
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a claimed row.

    `not_before` belongs to a deferred one, `sent_at` to one that a server took; `counted` says that the try counts.
    """

    id: int
    fence: int
    state: str
    reason: str | None = None
    reply: str | None = None
    message_id: str | None = None
    facts_hash: bytes | None = None
    not_before: datetime | None = None
    sent_at: datetime | None = None
    counted: bool = True


def claim(session: Session, ids: Sequence[int], claimer: str, now: datetime) -> list[Claimed]:
    """Claim those of the rows that are queued and may be sent, in the order of their ids; the caller commits first.

    Consent, suppression, erasure and the address are looked at in the same statement: who may not be mailed any more is
    skipped with the reason, and the others are returned. Where the address itself is damaged the row has failed, so
    that no other waits for it. Rows that another process is claiming are left to it.
    """
    rows = session.execute(
        _CLAIM,
        {
            "ids": list(ids), "claimer": claimer, "now": now, "until": now + LEASE, "test": TEST_BIT,
            "doubts": list(IN_DOUBT),
        },
    )  # fmt: skip
    claimed: list[Claimed] = []
    damaged: list[Settled] = []
    for row in sorted(rows.all(), key=attrgetter("id")):
        if row.state != "claimed":
            continue
        if (address := _address(session, row)) is None:
            damaged.append(Settled(row.id, row.fence, "failed", ADDRESS_DAMAGED, counted=False))
        else:
            claimed.append(_claimed(session, row, address))
    settle(session, damaged, now)
    return claimed


def _address(session: Session, row: Any) -> str | None:
    if row.test_address is not None:
        return legible(session, row.test_address, TEST_ADDRESS, delivery=row.id)
    return legible(session, row.value, IDENTIFIER_VALUE, profile=row.root_id)


def _claimed(session: Session, row: Any, address: str) -> Claimed:
    held = opened(session, row.root_id, row.encoded)
    return Claimed(
        row.id, Key(row.profile_id, row.campaign_id, row.occurrence), row.fence, address,
        row.address_hash, held.state.traits if held is not None else {}, held.encoded if held is not None else None,
        row.plan_hash, row.holdout, row.attempts, row.created_at, row.channel, row.in_doubt,
    )  # fmt: skip


def hand_over(session: Session, rows: Sequence[Claimed], claimer: str, now: datetime) -> set[int]:
    """Note that these rows are about to be handed over; returns those that still may be. The caller commits.

    A row whose campaign was paused or whose hours are over, whose claim was taken away, or whose person may not be
    mailed any more is not among them; given back, it waits, or is skipped with the reason when it is claimed again.
    """
    marked = session.execute(
        _HAND_OVER,
        {
            "ids": [row.id for row in rows], "fences": [row.fence for row in rows], "claimer": claimer, "now": now,
            "until": now + LEASE, "test": TEST_BIT,
        },
    )  # fmt: skip
    return {row.id for row in marked}


def settle(session: Session, outcomes: Sequence[Settled], now: datetime) -> int:
    """Write what became of claimed rows; returns how many it concerned. The caller commits.

    A row that was found unknown because its claim ran out is settled too, if nobody claimed it since. Of a person who
    was erased meanwhile neither the server's words nor the name of the mail are written.
    """
    if not outcomes:
        return 0
    rows = session.execute(
        _SETTLE,
        {
            "ids": [outcome.id for outcome in outcomes],
            "fences": [outcome.fence for outcome in outcomes],
            "states": [outcome.state for outcome in outcomes],
            "reasons": [outcome.reason for outcome in outcomes],
            "replies": [outcome.reply for outcome in outcomes],
            "message_ids": [outcome.message_id for outcome in outcomes],
            "facts": [outcome.facts_hash for outcome in outcomes],
            "not_before": [outcome.not_before for outcome in outcomes],
            "sent_at": [outcome.sent_at for outcome in outcomes],
            "tries": [int(outcome.counted) for outcome in outcomes],
            "now": now,
        },
    )
    return len(rows.all())


def release(session: Session, rows: Sequence[Claimed]) -> int:
    """Give back rows that were claimed and surely not handed over. The caller commits."""
    if not rows:
        return 0
    given = session.execute(_RELEASE, {"ids": [row.id for row in rows], "fences": [row.fence for row in rows]})
    return len(given.all())


def renew(session: Session, ids: Sequence[int], claimer: str, now: datetime) -> None:
    """Have the claims of a sender that works at these rows last. The caller commits.

    Rows that it is writing at this moment are left out: that renews or ends their claim itself.
    """
    session.execute(_RENEW, {"ids": list(ids), "claimer": claimer, "until": now + LEASE})


def give_back(session: Session, ids: Sequence[int], claimer: str, now: datetime) -> int:
    """Give back what a job that failed has not handed over, to be tried again in a minute. The caller commits."""
    given = session.execute(_GIVE_BACK, {"ids": list(ids), "claimer": claimer, "again": now + AGAIN_AFTER})
    return len(given.all())


@dataclass(frozen=True, slots=True)
class Held:
    """A claimed row that may not leave yet: the limit it waits for, by its name, and when there should be room."""

    id: int
    fence: int
    reason: str
    waits_for: str
    not_before: datetime


def hold(session: Session, rows: Sequence[Held]) -> int:
    """Give back rows that were claimed and may not leave yet. The caller commits."""
    if not rows:
        return 0
    held = session.execute(
        _HOLD,
        {
            "ids": [row.id for row in rows], "fences": [row.fence for row in rows],
            "reasons": [row.reason for row in rows], "names": [row.waits_for for row in rows],
            "not_before": [row.not_before for row in rows],
        },
    )  # fmt: skip
    return len(held.all())


def take_waiting(session: Session, now: datetime, limit: int, enqueued_before: datetime) -> list[int]:
    """Queued rows, those first whose time came first, that no job carries; notes that one does now.

    No job carries what was never enqueued, or before `enqueued_before`.
    """
    rows = session.execute(_WAITING, {"now": now, "limit": limit, "before": enqueued_before, "test": TEST_BIT})
    return sorted(row.id for row in rows)


# Whether another row of the run has turned out to be the same person's since the freeze, and is the one that counts:
# what was handed over before all, else what comes first. Who was refused for good may get the mail by the other row.
_IS_MERGED: Final = """
    d.occurrence < :test AND EXISTS (
        SELECT 1 FROM profile m JOIN delivery o ON o.profile_id = m.id
        WHERE m.root_id = p.root_id AND m.id <> d.profile_id
          AND o.campaign_id = d.campaign_id AND o.occurrence = d.occurrence AND o.channel = d.channel
          AND o.state NOT IN ('skipped', 'failed')
          AND (o.id < d.id OR o.handing OR o.state IN ('accepted', 'unknown'))
    )
"""

# A mail may go where it was not refused; what goes to a person's own device waits for a yes to that channel.
_AGREED: Final = f"(d.channel = '{EMAIL}' OR (s.document -> 'consent' ->> d.channel) = 'true')"

# Rows are locked in the order of their ids, so that two claimers of one batch do not wait for each other in a circle.
_CLAIM: Final = text(f"""
    WITH due AS MATERIALIZED (
        SELECT d.id FROM delivery d JOIN campaign c ON c.id = d.campaign_id
        WHERE d.id = ANY(:ids) AND d.state = 'queued' AND (d.not_before IS NULL OR d.not_before <= :now)
          AND (d.occurrence >= :test OR c.state = 'sending' AND {IS_OPEN})
        ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
    ), checked AS (
        SELECT d.id, d.test_address, i.value, p.root_id, s.encoded,
            CASE
                WHEN p.erased_at IS NOT NULL THEN 'erased'
                WHEN d.test_address IS NOT NULL THEN NULL
                WHEN i.value IS NULL THEN 'address_gone'
                WHEN (s.document -> 'consent' ->> d.channel) = 'false' THEN 'unsubscribed_since'
                WHEN EXISTS (SELECT 1 FROM suppression x WHERE x.address_hash = d.address_hash) THEN 'suppressed_since'
                WHEN EXISTS (
                    SELECT 1 FROM unnest(c.needs_consent) AS n(purpose)
                    WHERE coalesce(s.document -> 'consent' ->> n.purpose, 'false') <> 'true'
                ) THEN 'no_consent_since'
                WHEN {_AGREED} IS NOT TRUE THEN 'no_consent_since'
                WHEN {_IS_MERGED} THEN 'merged_since'
            END AS reason
        FROM due JOIN delivery d ON d.id = due.id
        JOIN campaign c ON c.id = d.campaign_id
        JOIN profile p ON p.id = d.profile_id
        LEFT JOIN profile_state s ON s.profile_id = p.root_id
        LEFT JOIN LATERAL (
            SELECT n.value FROM identifier n JOIN profile m ON m.id = n.profile_id
            WHERE n.value_hash = d.address_hash AND n.type = {IDENTIFIER_SQL} AND m.root_id = p.root_id
            LIMIT 1
        ) i ON true
    )
    UPDATE delivery d SET
        state = CASE WHEN k.reason IS NULL THEN 'claimed' ELSE 'skipped' END,
        reason = k.reason, claimed_by = :claimer, fence = d.fence + 1, lease_until = :until, handing = false,
        waits_for = NULL, not_before = NULL,
        settled_at = CASE WHEN k.reason IS NULL THEN NULL ELSE :now ::timestamptz END
    FROM checked k WHERE d.id = k.id
    RETURNING d.id, d.state, d.profile_id, d.campaign_id, d.occurrence, d.fence, d.address_hash, d.plan_hash, d.holdout,
        d.attempts, d.created_at, d.channel, k.test_address, k.value, k.root_id, k.encoded,
        d.channel <> '{EMAIL}' AND EXISTS (
            SELECT 1 FROM delivery_retry r WHERE r.delivery_id = d.id AND r.reason = ANY(:doubts)
        ) AS in_doubt
""")  # noqa: S608

_HAND_OVER: Final = text(f"""
    UPDATE delivery d SET handing = true, lease_until = :until
    FROM campaign c, profile p, unnest(CAST(:ids AS bigint[]), CAST(:fences AS int[])) AS v(id, fence)
    WHERE d.id = v.id AND d.fence = v.fence AND d.state = 'claimed' AND d.claimed_by = :claimer
      AND c.id = d.campaign_id AND p.id = d.profile_id
      AND (d.occurrence >= :test OR (
          c.state = 'sending' AND p.erased_at IS NULL AND {IS_OPEN} AND NOT ({_IS_MERGED})
          AND NOT EXISTS (SELECT 1 FROM suppression x WHERE x.address_hash = d.address_hash)
          AND NOT EXISTS (
              SELECT 1 FROM profile_state s
              WHERE s.profile_id = p.root_id AND (s.document -> 'consent' ->> d.channel) = 'false'
          )
          AND (d.channel = '{EMAIL}' OR EXISTS (
              SELECT 1 FROM profile_state s WHERE s.profile_id = p.root_id AND {_AGREED}
          ))
          AND NOT EXISTS (
              SELECT 1 FROM unnest(c.needs_consent) AS n(purpose)
              LEFT JOIN profile_state s ON s.profile_id = p.root_id
              WHERE coalesce(s.document -> 'consent' ->> n.purpose, 'false') <> 'true'
          )
      ))
    RETURNING d.id
""")  # noqa: S608 - of constants alone

_SETTLE: Final = text("""
    UPDATE delivery d SET
        state = v.state, reason = v.reason,
        reply = CASE WHEN p.erased_at IS NULL THEN coalesce(v.reply, d.reply) END,
        message_id = CASE WHEN p.erased_at IS NULL THEN coalesce(v.message_id, d.message_id) END,
        facts_hash = coalesce(v.facts, d.facts_hash),
        not_before = v.not_before, attempts = d.attempts + v.tries, handing = false, lease_until = NULL,
        enqueued_at = NULL,
        sent_at = CASE WHEN v.state = 'accepted' THEN coalesce(v.sent_at, :now) ELSE d.sent_at END,
        settled_at = CASE WHEN v.state IN ('accepted', 'failed', 'unknown', 'skipped') THEN :now ::timestamptz END
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:fences AS int[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
        CAST(:replies AS text[]), CAST(:message_ids AS text[]), CAST(:facts AS bytea[]),
        CAST(:not_before AS timestamptz[]), CAST(:sent_at AS timestamptz[]), CAST(:tries AS int[])
    ) AS v(id, fence, state, reason, reply, message_id, facts, not_before, sent_at, tries), profile p
    WHERE d.id = v.id AND p.id = d.profile_id AND d.fence = v.fence AND d.state IN ('claimed', 'unknown')
    RETURNING d.id
""")

_RELEASE: Final = text("""
    UPDATE delivery d SET state = 'queued', handing = false, lease_until = NULL, enqueued_at = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS int[])) AS v(id, fence)
    WHERE d.id = v.id AND d.fence = v.fence AND d.state = 'claimed'
    RETURNING d.id
""")

_RENEW: Final = text("""
    UPDATE delivery d SET lease_until = :until
    FROM (
        SELECT id FROM delivery WHERE id = ANY(:ids) AND state = 'claimed' AND claimed_by = :claimer
        ORDER BY id FOR UPDATE SKIP LOCKED
    ) AS mine
    WHERE d.id = mine.id
""")

_GIVE_BACK: Final = text("""
    UPDATE delivery d SET state = 'queued', handing = false, lease_until = NULL, enqueued_at = NULL,
        not_before = greatest(d.not_before, :again)
    FROM (
        SELECT id FROM delivery
        WHERE id = ANY(:ids) AND waits_for IS NULL
          AND (state = 'queued' OR (state = 'claimed' AND claimed_by = :claimer AND NOT handing))
        ORDER BY id FOR UPDATE SKIP LOCKED
    ) AS left_over
    WHERE d.id = left_over.id
    RETURNING d.id
""")

_HOLD: Final = text("""
    UPDATE delivery d SET state = 'queued', reason = v.reason, waits_for = v.name, not_before = v.not_before,
        handing = false, lease_until = NULL, enqueued_at = NULL
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:fences AS int[]), CAST(:reasons AS text[]), CAST(:names AS text[]),
        CAST(:not_before AS timestamptz[])
    ) AS v(id, fence, reason, name, not_before)
    WHERE d.id = v.id AND d.fence = v.fence AND d.state = 'claimed'
    RETURNING d.id
""")

_WAITING: Final = text(f"""
    WITH piece AS MATERIALIZED (
        SELECT d.id FROM delivery d JOIN campaign c ON c.id = d.campaign_id
        WHERE d.state = 'queued' AND coalesce(d.not_before, '-infinity'::timestamptz) <= :now
          AND d.waits_for IS NULL AND (d.enqueued_at IS NULL OR d.enqueued_at < :before)
          AND (d.occurrence >= :test OR c.state = 'sending' AND {IS_OPEN})
        ORDER BY coalesce(d.not_before, '-infinity'::timestamptz), d.id LIMIT :limit FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE delivery SET enqueued_at = :now FROM piece WHERE delivery.id = piece.id RETURNING delivery.id
""")  # noqa: S608 - of constants alone
