"""What stays of an erased person: sums in the results of the campaigns they were mailed by, and nothing that is theirs.

Results count orders and calls from stored signals; an erasure deletes those. So what the person added to each result is
added to the kept counts first, in the same transaction, and no total changes. A definition that is named later counts
what was done by people who are still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.blobs import Blobs
from campaigns import exits, expired, goals, guardreport, profit
from campaigns.cursors import LoopCursor
from campaigns.expired import Counts
from campaigns.models.consent import MailConsent
from campaigns.opens import Click, Decision, Fetch, Outcome
from signals import mailreports, suppression
from signals.moments import moment_of, unix_ms
from signals.profiles import Profile

LATE: Final = timedelta(hours=1)
"""Nothing that reckons of people in one transaction takes as long."""
CURSOR: Final = "erased"
"""Everybody who was erased before this moment (Unix milliseconds) was looked at when nothing was late any more."""
AT_ONCE: Final = 1_000
_CAMPAIGNS: Final = text("""
    SELECT DISTINCT d.campaign_id FROM delivery d JOIN profile p ON p.id = d.profile_id WHERE p.root_id = :root
""")
# The ledger keeps that a mail went out and how it fared; not to which address, by which name, nor in whose words.
_LEDGER: Final = tuple(
    text(statement)
    for statement in (
        "UPDATE delivery SET reply = NULL, test_address = NULL, address_hash = NULL, message_id = NULL"
        " WHERE profile_id = ANY(:members) AND num_nonnulls(reply, test_address, address_hash, message_id) > 0",
        # After the row itself: whoever has it sent again meanwhile holds that.
        "UPDATE delivery_retry r SET reply = NULL FROM delivery d"
        " WHERE d.profile_id = ANY(:members) AND r.delivery_id = d.id AND r.reply IS NOT NULL",
    )
)
_UNNAMED: Final = tuple(
    text(statement)
    for statement in (
        "UPDATE outcome SET order_id = NULL WHERE profile_id = ANY(:members)",
        # What somebody bought or did led them into these runs; nobody who was erased enters another.
        "DELETE FROM replenish_entry WHERE profile_id = ANY(:members)",
        "DELETE FROM trigger_entry WHERE profile_id = ANY(:members)",
        "DELETE FROM sent_facts WHERE profile_id = ANY(:members)",
    )
)


def keep_sums(session: Session, blobs: Blobs, root: int, now: datetime) -> None:
    """Add what a person's signals came to to the kept counts of every campaign that mailed them or left them out."""
    left = Counts()
    for campaign in session.scalars(_CAMPAIGNS, {"root": root}).all():
        # Not added as counters are: that would leave out a loss.
        left.update(goals.left_by(session, campaign, root, now))
        left.update(profit.left_by(session, campaign, root, now))
        left.update(guardreport.left_by(session, campaign, root))
        left.update(exits.left_by(session, blobs, campaign, root, now))
    expired.add(session, left)


def unname_late(session: Session, now: datetime) -> None:
    """Take those who were erased out of what was written or reckoned of them meanwhile, and committed later.

    That is a ledger that was being frozen or settled, mails that came back, orders that were being credited, words of
    consent, why mail to an address was stopped. Everybody is looked at until an hour after their erasure, or once if
    nobody looked for longer. The caller commits.
    """
    upto = unix_ms(now - LATE)
    noted = session.scalar(select(LoopCursor.position).where(LoopCursor.name == CURSOR))
    since = moment_of(min(upto, noted or 0))
    erased = list(session.scalars(select(Profile.id).where(Profile.erased_at >= since, ~Profile.erasing)))
    for start in range(0, len(erased), AT_ONCE):
        members = erased[start : start + AT_ONCE]
        for statement in _LEDGER:
            session.execute(statement, {"members": members})
        mailreports.forget(session, members)
        session.execute(update(Outcome).where(Outcome.profile_id.in_(members)).values(profile_id=None, order_id=None))
        session.execute(update(MailConsent).where(MailConsent.profile_id.in_(members)).values(profile_id=None))
    if erased:
        suppression.forget_late(session)
    session.execute(
        insert(LoopCursor)
        .values(name=CURSOR, position=upto)
        .on_conflict_do_update(
            index_elements=[LoopCursor.name], set_={"position": upto}, where=LoopCursor.position < upto
        )
    )


def unname(session: Session, members: Sequence[int]) -> None:
    """Take the person out of what is kept for its numbers. It may be done again."""
    for statement in (*_LEDGER, *_UNNAMED):
        session.execute(statement, {"members": list(members)})
    mailreports.forget(session, members)
    for table in (Decision, Fetch, Click, Outcome, MailConsent):
        # The rows stay under their random subject, so every total stays; they lead to nobody any more.
        session.execute(update(table).where(table.profile_id.in_(members)).values(profile_id=None))
