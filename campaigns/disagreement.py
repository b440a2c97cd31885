"""Clicks that went to another offer than the one that was shown: the records contradict each other, and one is wrong.

Shown is what the last picture before the click showed in its place, by a class that may be a person's, however the
click was resolved; where none is on record, what the click's own decision chose. Where the last picture was the default
for want of the decided one, nothing is raised: rows do not tell which offer that was. What was said in a call or a chat
is held against its own decision. Nothing is stored: the flag is read from the rows, and goes when they expire.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import reckoning
from render.agree import SHOWN_DAYS

MAX_LISTED: Final = 200
MAX_CLICKS: Final = 10_000
"""Clicks of a campaign that are looked at, the newest."""


@dataclass(frozen=True)
class Disagreement:
    """One such click: the offers by number, and whose it was (None: of somebody who was erased)."""

    click: str
    profile: int | None
    decision: str
    clicked: int
    shown: int


_FOUND: Final = """
    SELECT c.id AS click, c.profile_id AS profile, c.decision_id AS decision, c.offer_id AS clicked, s.shown
    FROM (
        SELECT * FROM click c
        WHERE c.fetch_class = 'person' AND c.offer_id IS NOT NULL AND c.occurrence < :test AND {which}
    ) c
    JOIN decision own ON own.id = c.decision_id AND own.at = c.decision_at
    LEFT JOIN LATERAL (
        SELECT CASE WHEN f.rung <> 'default' OR d.rung = 'default' THEN (d.slots ->> c.slot::text)::int END AS offer,
               true AS is_known
        FROM "fetch" f JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
        WHERE own.contact IS NULL AND f.subject_id = c.subject_id AND f.profile_id = c.profile_id
          AND f.campaign_id = c.campaign_id AND f.occurrence = c.occurrence
          AND f.slot IN (c.slot, 255) AND f.at <= c.at AND f.at > c.at - interval '{days} days'
          AND f.fetch_class IN ('person', 'proxy', 'undecided') AND f.rung <> 'static'
        ORDER BY f.at DESC, d.open_number DESC, f.id DESC LIMIT 1
    ) f ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN f.is_known THEN f.offer ELSE (own.slots ->> c.slot::text)::int END AS shown
    ) s
    WHERE s.shown <> c.offer_id
"""


def _among(which: str) -> str:
    return _FOUND.format(which=which, days=SHOWN_DAYS)


_OF_CLICKS: Final = text(_among("c.id IN :clicks")).bindparams(bindparam("clicks", expanding=True))
_OF_PEOPLE: Final = text(_among("c.profile_id IN :members")).bindparams(bindparam("members", expanding=True))
_OF_CAMPAIGN: Final = text(
    f"{_among(f'c.campaign_id = :campaign ORDER BY c.at DESC LIMIT {MAX_CLICKS}')}"
    f" ORDER BY c.at DESC, c.id LIMIT {MAX_LISTED + 1}"
)


def words(found: Disagreement, offers: Mapping[int, str]) -> str:
    """What is wrong, in a sentence; `offers` are names by number."""
    clicked, shown = (offers.get(one, f"Offer {one}") for one in (found.clicked, found.shown))
    return f"The records disagree: “{shown}” was shown in this place, and the click went to “{clicked}”."


def of_clicks(session: Session, clicks: Collection[str]) -> dict[str, Disagreement]:
    """Those among these clicks, by the click's id."""
    rows = session.execute(_OF_CLICKS, {"clicks": list(clicks), "test": TEST_BIT}) if clicks else ()
    return {row.click: _read(row) for row in rows}


def of_people(session: Session, members: Sequence[int]) -> dict[str, Disagreement]:
    """All of these profiles, by the click's id."""
    rows = session.execute(_OF_PEOPLE, {"members": list(members), "test": TEST_BIT}) if members else ()
    return {row.click: _read(row) for row in rows}


def of_campaign(session: Session, campaign: int) -> list[Disagreement]:
    """The newest of a campaign's last MAX_CLICKS clicks, at most MAX_LISTED and one more: that there are more."""
    rows = session.execute(_OF_CAMPAIGN, {"campaign": campaign, "test": TEST_BIT})
    return [_read(row) for row in rows]


def counted(session: Session, campaign: int, anew: datetime | None = None) -> int | None:
    """How many of them there are, at most MAX_LISTED and one; None of a large campaign before its first count.

    `anew`: counted in any case, and kept as of that moment.
    """
    try:
        return reckoning.reckoned(
            session, campaign, "disagreeing", int, lambda: len(of_campaign(session, campaign)), anew
        )
    except reckoning.NotCounted:
        return None


def _read(row: Any) -> Disagreement:
    return Disagreement(row.click, row.profile, row.decision, row.clicked, row.shown)
