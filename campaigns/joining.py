"""Late joiners: whom an audience holds that changes while its campaign is under way.

Three modes (`Timing.joins`): who fitted when it was scheduled, who fits when it begins, or also who comes to fit until
it ends. An evergreen campaign is the last one without needing an end. Somebody is taken in once: an entry says so for
good, over merges too, however often they leave the segment and come back. Who cannot be mailed when they join (no
consent yet) is listed in the ledger once with the reason, and is taken in when they can.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, exists, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from base.ids import TEST_BIT
from campaigns import timing
from campaigns.models.campaign import Campaign
from campaigns.models.delivery import Delivery
from campaigns.models.timing import JoinEntry, SnapshotMember
from campaigns.population import matching
from signals.profiles import Profile, ProfileStateRow

LOOK_EVERY: Final = timedelta(minutes=2)
"""How often it is looked for people who joined."""
HELD_OUT: Final = "held_out"


def takes_in(campaign: Campaign) -> bool:
    """Whether people who come to fit later are mailed too."""
    return campaign.kind == "evergreen" or timing.of(campaign.timing).joins == "until_end"


def remembers(session: Session, campaign: Campaign) -> bool:
    """Whether it counts who was taken in before: while people are taken in, and ever after somebody was."""
    entered = select(JoinEntry.profile_id).where(JoinEntry.campaign_id == campaign.id).limit(1)
    return takes_in(campaign) or session.scalar(entered) is not None


def take_snapshot(session: Session, campaign: Campaign, now: datetime) -> None:
    """Keep who fits the audience now, where that is what counts, in the place of an earlier snapshot."""
    forget_snapshot(session, campaign.id)
    if timing.of(campaign.timing).joins == "scheduling":
        rows = matching(session, campaign.audience, now).add_columns(literal(campaign.id))
        session.execute(insert(SnapshotMember).from_select(["profile_id", "campaign_id"], rows))


def forget_snapshot(session: Session, campaign_id: int) -> None:
    """Let go of a snapshot, when the ledger holds its people or nobody is to be mailed."""
    session.execute(delete(SnapshotMember).where(SnapshotMember.campaign_id == campaign_id))


def members(session: Session, campaign: Campaign, now: datetime) -> Select[int]:
    """The ids of who is in a campaign's audience: of its snapshot, or of who fits now and was not taken in before."""
    if timing.of(campaign.timing).joins == "scheduling" and campaign.state != "draft":
        kept = select(Profile.root_id).join(SnapshotMember, SnapshotMember.profile_id == Profile.id)
        taken = kept.where(SnapshotMember.campaign_id == campaign.id)
        return select(ProfileStateRow.profile_id).where(ProfileStateRow.profile_id.in_(taken))
    found = matching(session, campaign.audience, now)
    return (
        found.where(~_entered(campaign.id, ProfileStateRow.profile_id, JoinEntry.taken))
        if remembers(session, campaign)
        else found
    )


def is_news(campaign: Campaign, profile: ColumnElement[int], reason: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a row of the audience belongs into the next run's ledger: who can be mailed, or is met the first time."""
    return or_(reason.is_(None), reason == HELD_OUT, ~_entered(campaign.id, profile))


def is_mailed(campaign: Campaign, address: ColumnElement[bytes]) -> ColumnElement[bool]:
    """Whether somebody at this address had the campaign's mail in an earlier run."""
    return exists().where(
        Delivery.address_hash == address,
        Delivery.campaign_id == campaign.id,
        Delivery.occurrence < TEST_BIT,
        Delivery.state != "skipped",
    )


def enter(session: Session, campaign: Campaign, occurrence: int, now: datetime) -> None:
    """Enter everybody whom a run's ledger holds."""
    taken = or_(Delivery.state != "skipped", Delivery.reason == HELD_OUT)
    rows = select(Delivery.campaign_id, Delivery.profile_id, Delivery.occurrence, taken, literal(now)).where(
        Delivery.campaign_id == campaign.id, Delivery.occurrence == occurrence
    )
    _insert(session, rows)


def enter_everybody(session: Session, campaign: Campaign, occurrence: int, now: datetime) -> None:
    """Enter who is in the audience now as if they had been mailed: only who joins from now on is."""
    rows = matching(session, campaign.audience, now).add_columns(
        literal(campaign.id), literal(occurrence), literal(True), literal(now)
    )
    listed = rows.subquery("present")
    order = (1, 0, 2, 3, 4)
    _insert(session, select(*(list(listed.c)[number] for number in order)))


def _insert(session: Session, rows: Select[*tuple[Any, ...]]) -> None:
    columns = ["campaign_id", "profile_id", "occurrence", "taken", "entered_at"]
    statement = insert(JoinEntry).from_select(columns, rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["campaign_id", "profile_id"],
            set_={
                "taken": or_(JoinEntry.taken, statement.excluded.taken),
                "occurrence": statement.excluded.occurrence,
            },
        )
    )


def _entered(
    campaign_id: int, profile: ColumnElement[int] | InstrumentedAttribute[int], *more: InstrumentedAttribute[bool]
) -> ColumnElement[bool]:
    """Whether a person has entered, under any of the profiles that were merged into them."""
    member = aliased(Profile)
    return exists().where(
        JoinEntry.campaign_id == campaign_id, JoinEntry.profile_id == member.id, member.root_id == profile, *more
    )
