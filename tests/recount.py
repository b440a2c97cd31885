"""The plain recount: a campaign's report from raw rows, by other SQL than what counts them as they come.

What `campaigns.reports` adds up must be this after whatever happened to the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns.expired import expired
from campaigns.reports import Anonymous, AnonymousLine, OfferLine, Opens, Report, Swap


def recount(session: Session, campaign_id: int) -> Report:
    """The results of all runs of a campaign that are no tests, from the rows themselves."""
    given = {"campaign": campaign_id, "test": TEST_BIT}

    def one(query: str) -> Any:
        return session.execute(text(query), given).one()

    gone = expired(session, campaign_id)
    opens = _with(gone, "people", one(OPENS))
    swap = _with(gone, "swap", one(SWAP))
    clicks = _with(gone, "click", one(CLICKS))
    classes = {row.fetch_class: row.number for row in session.execute(text(CLASSES), given)}
    classes |= {name: number + classes.get(name, 0) for (what, name), number in gone.items() if what == "fetch"}
    totals = one(TOTALS)
    speed = one(SPEED)
    return Report(
        mailed=one(MAILED).number,
        opens=Opens(opens["surely"], opens["possibly"], opens["machine"], classes),
        swap=Swap(swap["compared"], swap["differing"]),
        clicks=clicks["people"],
        machine_clicks=clicks["machine"],
        flagged={name: clicks[name] for name in ("ambiguous", "unseen", "unresolved")},
        offers=tuple(OfferLine(**row._mapping) for row in session.execute(text(OFFERS), given)),
        orders=totals.orders,
        cents=totals.cents,
        elsewhere=totals.elsewhere,
        fallback=speed.fallback + gone["fallback", ""],
        p50_ms=speed.p50,
        p99_ms=speed.p99,
        anonymous=_anonymous(session, given, gone),
    )


def _anonymous(session: Session, given: Mapping[str, int], gone: Mapping[tuple[str, str], int]) -> Anonymous:
    fetches, clicks = (
        Counter({name: number for (counted, name), number in gone.items() if counted == what})
        for what in ("anonymous_fetch", "anonymous_click")
    )
    for row in session.execute(text(ANONYMOUS), given):
        (clicks if row.clicked else fetches)[row.fetch_class] += row.number
    lines = session.execute(text(ANONYMOUS_OFFERS), given)
    return Anonymous(fetches, clicks, tuple(AnonymousLine(**row._mapping) for row in lines))


def _with(gone: Mapping[tuple[str, str], int], what: str, row: Any) -> dict[str, int]:
    """A row of counts, each with what has expired of it."""
    return {name: number + gone[what, name] for name, number in row._mapping.items()}


MAILED = """
    SELECT count(*) AS number FROM delivery
    WHERE campaign_id = :campaign AND occurrence < :test AND state = 'accepted'
"""
# People are counted by the name their records are kept under, which outlives their erasure.
OPENS = """
    SELECT count(DISTINCT (subject_id, occurrence)) FILTER (WHERE fetch_class IN ('person', 'proxy')) AS surely,
           count(DISTINCT (subject_id, occurrence))
               FILTER (WHERE fetch_class IN ('person', 'proxy', 'undecided')) AS possibly,
           count(DISTINCT (subject_id, occurrence)) FILTER (WHERE fetch_class IN ('prefetch', 'scanner')) AS machine
    FROM "fetch" WHERE campaign_id = :campaign AND occurrence < :test
"""
CLASSES = """
    SELECT fetch_class, count(*) AS number FROM "fetch"
    WHERE campaign_id = :campaign AND occurrence < :test GROUP BY fetch_class ORDER BY fetch_class
"""
SWAP = """
    SELECT count(*) AS compared, count(*) FILTER (WHERE slots <> shadow) AS differing
    FROM decision WHERE campaign_id = :campaign AND occurrence < :test AND lane = 'live' AND shadow IS NOT NULL
"""
CLICKS = """
    SELECT count(*) FILTER (WHERE fetch_class = 'person') AS people,
           count(*) FILTER (WHERE fetch_class IN ('prefetch', 'scanner')) AS machine,
           count(*) FILTER (WHERE fetch_class = 'person' AND ambiguous) AS ambiguous,
           count(*) FILTER (WHERE fetch_class = 'person' AND unseen) AS unseen,
           count(*) FILTER (WHERE fetch_class = 'person' AND unresolved) AS unresolved
    FROM click WHERE campaign_id = :campaign AND occurrence < :test AND outcome NOT IN ('taken', 'refused')
"""
OFFERS = """
    WITH seen AS (
        SELECT DISTINCT f.subject_id, f.occurrence, (d.slots ->> f.slot::text)::int AS offer
        FROM "fetch" f JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
        WHERE f.campaign_id = :campaign AND f.occurrence < :test AND f.slot < 255
          AND f.fetch_class IN ('person', 'proxy', 'undecided')
          -- Where a fetch fell back to less than was decided, the decided offer was not seen.
          AND f.rung <> 'static' AND (f.rung <> 'default' OR d.rung = 'default')
    ), clicked AS (
        SELECT offer_id AS offer, count(*) AS number FROM click
        WHERE campaign_id = :campaign AND occurrence < :test AND fetch_class = 'person' AND offer_id IS NOT NULL
          AND outcome NOT IN ('taken', 'refused')
        GROUP BY offer_id
    ), gone AS (
        SELECT name::int AS offer, sum(number) FILTER (WHERE what = 'seen') AS seen,
               sum(number) FILTER (WHERE what = 'clicked') AS clicks
        FROM expired_count WHERE campaign_id = :campaign AND what IN ('seen', 'clicked') GROUP BY name
    ), earned AS (
        SELECT o.offer_id AS offer, count(*) AS number,
               sum(o.cents) FILTER (WHERE coalesce(upper(o.currency), c.currency) = c.currency) AS cents
        FROM outcome o JOIN campaign c ON c.id = o.campaign_id
        WHERE o.campaign_id = :campaign AND o.occurrence < :test GROUP BY o.offer_id
    )
    SELECT s.offer, coalesce(o.name, 'Offer ' || s.offer) AS name, s.number::bigint AS seen,
           (coalesce(c.number, 0) + coalesce(g.clicks, 0))::bigint AS clicks,
           coalesce(e.number, 0) AS orders, coalesce(e.cents, 0)::bigint AS cents
    FROM (
        SELECT offer, sum(number) AS number
        FROM (SELECT offer, count(*) AS number FROM seen GROUP BY offer UNION ALL SELECT offer, seen FROM gone
              WHERE seen > 0) known
        GROUP BY offer
    ) s
    LEFT JOIN offer o ON o.id = s.offer LEFT JOIN clicked c ON c.offer = s.offer LEFT JOIN gone g ON g.offer = s.offer
    LEFT JOIN earned e ON e.offer = s.offer
    ORDER BY s.number DESC, s.offer
"""
# Money of another currency than the campaign's cannot be added to it: such orders count, their worth does not.
TOTALS = """
    SELECT count(*) AS orders,
           coalesce(sum(o.cents) FILTER (WHERE coalesce(upper(o.currency), c.currency) = c.currency), 0)::bigint
               AS cents,
           count(*) FILTER (WHERE upper(o.currency) <> c.currency) AS elsewhere
    FROM outcome o JOIN campaign c ON c.id = o.campaign_id
    WHERE o.campaign_id = :campaign AND o.occurrence < :test
"""
ANONYMOUS = """
    SELECT fetch_class, kind = 'click' AS clicked, count(*) AS number FROM anonymous_fetch
    WHERE campaign_id = :campaign AND occurrence < :test GROUP BY 1, 2 ORDER BY 1, 2
"""
ANONYMOUS_OFFERS = """
    SELECT known.offer, coalesce(o.name, 'Offer ' || known.offer) AS name,
           sum(known.fetches)::bigint AS fetches, sum(known.clicks)::bigint AS clicks
    FROM (
        SELECT offer_id AS offer, (kind <> 'click')::int AS fetches, (kind = 'click')::int AS clicks
        FROM anonymous_fetch
        WHERE campaign_id = :campaign AND occurrence < :test AND offer_id IS NOT NULL
          AND (fetch_class = 'person' OR (kind <> 'click' AND fetch_class IN ('proxy', 'undecided')))
        UNION ALL
        SELECT name::int, CASE WHEN what = 'anonymous_seen' THEN number ELSE 0 END,
               CASE WHEN what = 'anonymous_clicked' THEN number ELSE 0 END
        FROM expired_count WHERE campaign_id = :campaign AND what IN ('anonymous_seen', 'anonymous_clicked')
    ) known
    LEFT JOIN offer o ON o.id = known.offer
    GROUP BY known.offer, o.name ORDER BY 3 DESC, known.offer
"""
SPEED = """
    SELECT round(percentile_disc(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1)::float8 AS p50,
           round(percentile_disc(0.99) WITHIN GROUP (ORDER BY ms)::numeric, 1)::float8 AS p99,
           count(*) FILTER (WHERE rung IN ('default', 'static')) AS fallback
    FROM "fetch" WHERE campaign_id = :campaign AND occurrence < :test
"""
