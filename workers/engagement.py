"""Engagement: that a person clicked in a mail of ours, or opened it, is told as a signal, so that states count it.

The chain lists every record that was stored, in one order that no later commit changes; a cursor follows it. A record
is taken once its class is settled: whether a machine was behind it is known within a minute (workers/hindsight.py), and
of a mail that is still being handed over once it is not, so the cursor waits for it.
Clicks count of persons, opens of persons and their proxies, an open once however many pictures it fetched; tests, staff
and contacts without a mail count nowhere, and at tracking level *anonymous* there is nobody to tell it of. The signals
do not move a state's version, so an open goes on showing what it showed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.clock import monotonic
from base.db import transaction
from base.ids import TEST_BIT
from base.logs import logger
from campaigns import chain
from campaigns.channels import EMAIL
from campaigns.cursors import LoopCursor
from campaigns.models import Campaign, Delivery
from campaigns.opens import Click, Fetch
from signals.engagement import CLICKED, OPENED
from signals.folding import Standing
from signals.intake import Intake, carry
from signals.reading import Reading
from signals.sources import INTERNAL, Sender, keyless_sender
from signals.telling import Fact, keep, read

CURSOR: Final = "engagement"
"""Its position: the number of the chain's entry that is looked at next times PLACES, and how many of its rows are
done."""
PLACES: Final = 1_000_000
"""More than an entry has rows."""
SETTLED: Final = timedelta(seconds=90)
"""So long after a record was tied to the chain, and its mail handed over, nothing is about to change its class: what
follows within a minute is recorded then, and looked back at."""
PIECE: Final = 200
"""Records that are looked at in one transaction."""
FAR: Final = 1_000
"""Entries of other kinds, from which on the cursor passes them: each look would go through them again."""
_KINDS: Final = ("fetch", "click")
_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(hashtext('latebind engagement'))")


@dataclass(frozen=True)
class _Piece:
    """So many records of one entry: what they tell, the cursor at which they begin, and where it goes on."""

    rows: int
    facts: list[Fact]
    position: int
    following: int


class Engagement:
    """One loop that follows the chain. Any number may run; one at a time gets on."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sender: Sender | None = None

    def tell(self, now: datetime, seconds: float) -> int:
        """Tell of what is settled, at least one piece and new ones for `seconds`; how many records were looked at.

        Raises Unavailable while a server is away; the next call goes on where this one ended.
        """
        until, looked = monotonic() + seconds, 0
        while piece := self._next(now):
            self._tell(piece, now)
            looked += piece.rows
            if monotonic() >= until:
                break
        return looked

    def _next(self, now: datetime) -> _Piece | None:
        with transaction(self._intake.sessions) as session:
            position = _position(session)
            number, done = divmod(position, PLACES)
            # Before the look: what is tied in between is not passed.
            newest = session.scalar(select(func.max(chain.ChainEntry.number))) or 0
            entry = session.execute(
                select(chain.ChainEntry.number, chain.ChainEntry.at, chain.ChainEntry.kind, chain.ChainEntry.leaves)
                .where(chain.ChainEntry.number >= number, chain.ChainEntry.kind.in_(_KINDS))
                .order_by(chain.ChainEntry.number)
                .limit(1)
            ).first()
            if entry is None:
                return _Piece(0, [], position, newest * PLACES) if newest - number > FAR else None
            if entry.at > now - SETTLED:
                return None
            done = done if entry.number == number else 0
            leaves = chain.decode_leaves(entry.leaves)
            ids, upto = [row_id for row_id, _ in leaves[done : done + PIECE]], done + PIECE
            following = entry.number * PLACES + upto if upto < len(leaves) else (entry.number + 1) * PLACES
            event, rows = (CLICKED, _clicks(session, ids)) if entry.kind == "click" else (OPENED, _opens(session, ids))
            if _is_waited_for(session, rows.values(), now):
                return None
            return _Piece(len(ids), [_fact(event, name, row) for name, row in rows.items()], position, following)

    def _tell(self, piece: _Piece, now: datetime) -> None:
        sender = self._sender
        if sender is None:
            sender = self._sender = self._intake.settle(lambda session: keyless_sender(session, INTERNAL, now))
        reading = read(self._intake, sender, piece.facts, now)
        for refusal in reading.refusals:
            logger(__name__).warning("a click or open is not told", field=refusal.field, message=refusal.message)
        carry(self._intake, partial(self._keep, sender, piece, reading), lambda standings: standings)

    def _keep(self, sender: Sender, piece: _Piece, reading: Reading, session: Session) -> list[Standing]:
        # Who is second finds the cursor moved, and looks again.
        if not session.scalar(_LOCK) or _position(session) != piece.position:
            return []
        standings = keep(session, self._intake, sender, piece.facts, reading) if piece.facts else []
        session.execute(
            insert(LoopCursor)
            .values(name=CURSOR, position=piece.following)
            .on_conflict_do_update(index_elements=[LoopCursor.name], set_={"position": piece.following})
        )
        return standings


def _position(session: Session) -> int:
    return session.scalar(select(LoopCursor.position).where(LoopCursor.name == CURSOR)) or 0


def _clicks(session: Session, ids: Sequence[str]) -> dict[str, Any]:
    rows = session.execute(
        select(Click.id, Click.at, Click.profile_id, Click.campaign_id, Click.occurrence, Click.fetch_class)
        .where(Click.id.in_(ids), Click.fetch_class == "person", Click.outcome != "trap", *_of_mail(Click))
        .order_by(Click.at, Click.id)
    )
    return {f"click-{row.id}": row for row in rows}


def _opens(session: Session, ids: Sequence[str]) -> dict[str, Any]:
    rows = session.execute(
        select(Fetch.decision_id, Fetch.at, Fetch.profile_id, Fetch.campaign_id, Fetch.occurrence, Fetch.fetch_class)
        .where(
            Fetch.id.in_(ids), Fetch.fetch_class.in_(("person", "proxy")), Fetch.decision_id.is_not(None),
            *_of_mail(Fetch),
        )
        .order_by(Fetch.at, Fetch.id)
    )  # fmt: skip
    found: dict[str, Any] = {}
    for row in rows:
        found.setdefault(f"open-{row.decision_id}", row)
    return found


def _is_waited_for(session: Session, rows: Iterable[Any], now: datetime) -> bool:
    """Whether the mail of any of these is still being handed over, or was until just now."""
    mails = {(row.campaign_id, row.occurrence, row.profile_id) for row in rows}
    key = tuple_(Delivery.campaign_id, Delivery.occurrence, Delivery.profile_id)
    is_under_way = (Delivery.state == "claimed") & Delivery.sent_at.is_(None)
    late = select(Delivery.id).where(key.in_(mails), is_under_way | (Delivery.settled_at > now - SETTLED)).limit(1)
    return bool(mails) and session.scalar(late) is not None


def _of_mail(table: type[Click] | type[Fetch]) -> tuple[Any, ...]:
    """That a record is of a mail that was sent to somebody: no test, no other channel, no contact."""
    mails = select(Campaign.id).where(Campaign.channel == EMAIL)
    return (
        table.profile_id.is_not(None), table.campaign_id.in_(mails), table.occurrence > 0, table.occurrence < TEST_BIT
    )  # fmt: skip


def _fact(event: str, message_id: str, row: Any) -> Fact:
    said = {"class": row.fetch_class, "campaign_id": str(row.campaign_id)}
    return Fact(row.profile_id, event, said, row.at, message_id)
