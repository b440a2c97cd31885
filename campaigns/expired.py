"""What was counted of records that have expired or were erased: the numbers stay when what they counted goes.

The retention loop adds to these counts in the transaction that deletes the records, so every record is counted once:
as a row, or here. People are counted when the last of their records goes (`workers/retention.py`), so what is here and
the people in the rows that are left add up. An erasure adds what the person's orders and calls were to results
(`campaigns/remainder.py`) in the transaction that deletes those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import BigInteger, Text, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model

Counts = Counter[tuple[int, str, str]]
"""Campaign, what is counted (a key of `WHAT`), name within it -> number."""

WHAT: Mapping[str, str] = {
    "people": "people by how surely they opened: surely, possibly, machine",
    "fetch": "answered fetches by class",
    "fallback": "fetches answered from a lower rung of the ladder",
    "swap": "opens compared with the choice at send time, and those that differed",
    "click": "clicks: people, machine, and those of people that were flagged",
    "seen": "people an offer was possibly seen by, by offer",
    "clicked": "clicks of people on an offer, by offer",
    "anonymous_fetch": "answered fetches that name nobody, by class",
    "anonymous_seen": "fetches that name nobody and may have been seen, by offer",
    "anonymous_click": "clicks that name nobody, by class",
    "anonymous_clicked": "clicks of persons that name nobody, by offer",
    "reserved": "opens that took an offer's total cap, by offer",
    "goal": "what erased people did by a definition of success: version/group/figure",
    "goal_arm": "the same by version of the campaign: version/arm/figure",
    "profit": "what erased people came to by terms of profit: version/group/figure",
    "exit": "mails by which erased people left a campaign with a purchase, by exit",
    "guard": "what the profit guard kept erased people from: flag/withheld and flag/lost",
}


class ExpiredCount(Model):
    """One number of one campaign."""

    __tablename__ = "expired_count"

    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


_ADD = text("""
    INSERT INTO expired_count (campaign_id, what, name, number)
    SELECT * FROM unnest(
        CAST(:campaigns AS int[]), CAST(:what AS text[]), CAST(:names AS text[]), CAST(:numbers AS bigint[])
    )
    ON CONFLICT (campaign_id, what, name) DO UPDATE SET number = expired_count.number + excluded.number
""")


def add(session: Session, counts: Counts) -> None:
    """Add to the counts, in the caller's transaction."""
    rows = sorted(item for item in counts.items() if item[1])
    if rows:
        session.execute(
            _ADD,
            {
                "campaigns": [campaign for (campaign, _, _), _ in rows],
                "what": [what for (_, what, _), _ in rows],
                "names": [name for (_, _, name), _ in rows],
                "numbers": [number for _, number in rows],
            },
        )


def expired(session: Session, campaign: int) -> Counter[tuple[str, str]]:
    """What has expired of a campaign: (what, name) -> number; what is not in it is 0."""
    rows = session.execute(
        select(ExpiredCount.what, ExpiredCount.name, ExpiredCount.number).where(ExpiredCount.campaign_id == campaign)
    )
    return Counter({(row.what, row.name): row.number for row in rows})


def figures(kept: Mapping[tuple[str, str], int], what: str, *names: object) -> dict[str, int]:
    """The figures kept under "name/name/figure", by the last part."""
    start = "".join(f"{name}/" for name in names)
    return {
        name.removeprefix(start): number
        for (counted, name), number in kept.items()
        if counted == what and name.startswith(start)
    }


def expired_reservations(session: Session, offer: int) -> int:
    """How many expired opens, of all campaigns, had taken this offer's total cap."""
    taken = select(func.coalesce(func.sum(ExpiredCount.number), 0)).where(
        ExpiredCount.what == "reserved", ExpiredCount.name == str(offer)
    )
    return int(session.scalar(taken) or 0)
