"""A/B/n in the ledger: each delivery's arm as it is frozen, and whether the arms have the sizes that chance gives them.

`render/arms.py` draws the same arm at every open. An arm is compared by everybody who was mailed in it, opened or not;
whoever is kept on neutral content is in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, LargeBinary, SmallInteger, Text, case, cast, func, literal, null, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import reckoning, sampleratio
from campaigns.models.campaign import Campaign, Occurrence, Plan, RatioCheck
from campaigns.reckoning import NotCounted
from campaigns.sampleratio import Ratio
from render.arms import PLACES, Arm, Split

WATCHED: Final = timedelta(days=30)
"""How long after a run its groups are looked at."""
MAX_WATCHED: Final = 200
MOST_EVIDENCE: Final = 1e6
"""What stands for infinite evidence, which JSON and pages do not know."""
STAGES: Final = {"mailed": "people mailed", "opened": "people who opened, possibly", "holdout": "neutral content"}


@dataclass(frozen=True)
class Check:
    """The sizes of groups at one stage: arms of those mailed, arms of those who opened, or the content holdout's."""

    stage: str
    ratio: Ratio

    @property
    def people(self) -> int:
        """How many were counted."""
        return sum(self.ratio.counts.values())

    @property
    def words(self) -> str:
        """What was counted."""
        return STAGES[self.stage]


def split(key: bytes | None, arms: Sequence[dict[str, Any]]) -> Split | None:
    """The arms as they are kept in the database, with their key; None where there are none."""
    if not arms or key is None:
        return None
    return Split(
        key=key,
        arms=tuple(
            Arm(
                name=arm["name"],
                share=arm["share"],
                without=tuple(arm["without"]),
                creatives=tuple((swap["offer"], swap["creative"]) for swap in arm["creatives"]),
            )
            for arm in arms
        ),
    )


def published(session: Session, row: Campaign) -> Split | None:
    """The arms that mails are sent and opened with; None where there are none, or nothing was published."""
    return split(row.arms_key, session.scalar(select(Plan.arms).where(Plan.hash == row.plan_hash)) or [])


def arm_of(drawn: Split | None, profile_id: ColumnElement[int]) -> ColumnElement[Any]:
    """The number of a person's arm as SQL, as `Split.arm_of` has it; NULL without arms."""
    if drawn is None:
        return cast(null(), SmallInteger)
    digest = func.sha256(cast(literal(drawn.key), LargeBinary).op("||")(cast(cast(profile_id, Text), LargeBinary)))
    place = func.get_byte(digest, 0) * 65536 + func.get_byte(digest, 1) * 256 + func.get_byte(digest, 2)
    assert drawn.ends[-1] == PLACES  # noqa: S101 - every place is some arm's
    return case(*((place < end, number) for number, end in enumerate(drawn.ends)))


@dataclass(frozen=True)
class _Size:
    """One group of a campaign: how many of it were mailed, and how many of those may have opened."""

    group: str
    mailed: int
    opened: int


def checks(session: Session, row: Campaign, anew: datetime | None = None) -> list[Check]:
    """The sizes of all groups that a campaign compares: mailed against what was meant, opened against mailed.

    What a group shows cannot change who opens: the first picture is asked for before it is seen. `anew`: counted in any
    case, and kept as of that moment. Raises NotCounted of a large campaign before its first count.
    """
    drawn = published(session, row)
    made = _arm_checks(drawn, _sizes(session, row.id, "arms", anew)) if drawn is not None else []
    groups = {found.group: found for found in _sizes(session, row.id, "holdout", anew)}
    if len(groups) == 2:
        mailed = {name: float(found.mailed) for name, found in groups.items()}
        made.append(Check("holdout", sampleratio.check({name: one.opened for name, one in groups.items()}, mailed)))
    return made


def _sizes(session: Session, campaign_id: int, what: str, anew: datetime | None) -> tuple[_Size, ...]:
    query, given = text(_GROUPS[what]), {"campaign": campaign_id, "test": TEST_BIT}
    return reckoning.reckoned(
        session, campaign_id, f"sizes/{what}", tuple[_Size, ...],
        lambda: tuple(_Size(**row._mapping) for row in session.execute(query, given)), anew,
    )  # fmt: skip


def _arm_checks(drawn: Split, counted: Sequence[_Size]) -> list[Check]:
    by_arm = {int(found.group): found for found in counted}
    names = {number: arm.name for number, arm in enumerate(drawn.arms)}
    mailed = {name: by_arm[number].mailed if number in by_arm else 0 for number, name in names.items()}
    opened = {name: by_arm[number].opened if number in by_arm else 0 for number, name in names.items()}
    made = [Check("mailed", sampleratio.check(mailed, {arm.name: arm.share for arm in drawn.arms}))]
    if all(mailed.values()):
        made.append(
            Check("opened", sampleratio.check(opened, {name: float(number) for name, number in mailed.items()}))
        )
    return made


def _counted(session: Session, row: Campaign) -> list[Check]:
    """The checks; none of a large campaign that is still to be counted."""
    try:
        return checks(session, row)
    except NotCounted:
        return []


def keep_checks(session: Session, now: datetime) -> int:
    """Check the campaigns of the last days that compare groups, and keep each check's strongest evidence; how many.

    The test is sequential: what once was strong enough for the alarm stays so. The caller commits.
    """
    recent = select(Occurrence.campaign_id).where(Occurrence.frozen_at > now - WATCHED, Occurrence.number < TEST_BIT)
    rows = session.scalars(
        select(Campaign).where(Campaign.id.in_(recent)).order_by(Campaign.id.desc()).limit(MAX_WATCHED)
    ).all()
    found = [(row, check) for row in rows for check in _counted(session, row)]
    for row, check in found:
        kept = insert(RatioCheck).values(
            campaign_id=row.id, stage=check.stage, evidence=min(check.ratio.evidence, MOST_EVIDENCE),
            counts=dict(check.ratio.counts), checked_at=now,
        )  # fmt: skip
        stronger = {name: kept.excluded[name] for name in ("evidence", "counts", "checked_at")}
        session.execute(
            kept.on_conflict_do_update(
                index_elements=[RatioCheck.campaign_id, RatioCheck.stage],
                set_=stronger,
                where=RatioCheck.evidence < kept.excluded.evidence,
            )
        )
    return len(found)


def broken(session: Session, now: datetime) -> int:
    """The campaigns of the last days whose groups were found not to be whole."""
    alarming = select(func.count(RatioCheck.campaign_id.distinct())).where(
        RatioCheck.evidence >= sampleratio.ALARM, RatioCheck.checked_at > now - WATCHED
    )
    return session.scalar(alarming) or 0


# Added up and not joined: right after a big send the planner knows nothing of these tables, and would compare every
# mail with every open.
_COUNTED: Final = """
    SELECT "group", count(*) AS mailed, count(*) FILTER (WHERE opened) AS opened
    FROM (
        SELECT max("group") AS "group", bool_or(mailed) AS mailed, bool_or(opened) AS opened
        FROM (
            SELECT profile_id, occurrence, {group} AS "group", true AS mailed, false AS opened FROM delivery
            WHERE campaign_id = :campaign AND occurrence < :test AND state = 'accepted' AND {group} IS NOT NULL
            UNION ALL
            SELECT DISTINCT profile_id, occurrence, NULL, false, true FROM "fetch"
            WHERE campaign_id = :campaign AND occurrence < :test AND fetch_class IN ('person', 'proxy', 'undecided')
        ) told
        GROUP BY profile_id, occurrence
    ) people
    WHERE mailed GROUP BY "group"
"""
_GROUPS: Final = {
    "arms": _COUNTED.replace("{group}", "arm::text"),
    "holdout": _COUNTED.replace(
        "{group}", "CASE holdout WHEN 'content' THEN 'neutral content' WHEN 'none' THEN 'decided content' END"
    ),
}
