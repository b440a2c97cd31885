"""The fifth act, first half: the claims, checked on the raw rows of ledger, events, decisions, fetches and clicks.

Nothing here uses what the product computed for its reports, except to compare with it.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Any, Final

import msgspec
from sqlalchemy import text

from base import db
from render.draw import static_picture
from render.starting import HERO, TILE
from workers.demo.claims import Claims
from workers.demo.regulars import CAP, CAPPED, SOLD_OUT
from workers.demo.restock import Restock
from workers.demo.stage import Stage
from workers.demo.week import Tally

_PICTURES: Final = """
    SELECT encode(sha256, 'hex') AS sha256, count(*) AS fetches
    FROM "fetch" WHERE campaign_id = :campaign AND kind IN ('picture', 'dark') GROUP BY sha256
"""
_CLASSES: Final = """
    SELECT fetch_class, count(DISTINCT decision_id) AS opens, count(*) AS fetches
    FROM "fetch" WHERE campaign_id = :campaign GROUP BY fetch_class ORDER BY fetch_class
"""
_TORN: Final = """
    WITH shown AS (
        -- A default under an earlier open: nothing could be decided in time, nor drawn of what that one shows.
        SELECT f.profile_id, f.at, f.lane, f.decision_id,
               d.open_number = 0 OR (f.rung = 'default' AND d.at < f.at) AS late
        FROM "fetch" f JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
        WHERE f.campaign_id = :campaign AND f.kind IN ('picture', 'dark') AND f.rung <> 'last'
    )
    SELECT (SELECT count(*) FROM shown WHERE late) AS late, (
        SELECT count(*) FROM (
            SELECT 1 FROM shown WHERE NOT late
            GROUP BY profile_id, at, lane HAVING count(DISTINCT decision_id) > 1
        ) AS torn
    ) AS torn
"""
_STALE: Final = """
    SELECT count(*) AS fetches,
           count(*) FILTER (WHERE d.state_version < (
               SELECT max(e.id) FROM event e WHERE e.profile_id = f.profile_id AND e.folds AND e.received_at <= f.at
                   AND (e.name IS NULL OR e.name NOT IN ('Email Opened', 'Email Link Clicked'))
           ) AND f.rung <> 'last') AS stale,
           count(*) FILTER (WHERE f.rung = 'last') AS again
    FROM "fetch" f JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
    WHERE f.campaign_id = :campaign AND f.lane = 'live'
"""
# Opens of mails with decided content, each with what its household had bought since the send as far as we were told.
_OPENS: Final = """
    WITH opens AS (
        SELECT d.id, d.at, d.profile_id, (d.slots ->> '0')::int AS hero, d.slots, d.rung = 'default' AS undecided,
               to_timestamp((convert_from(d.public, 'UTF8')::json ->> 'sent_ms')::bigint / 1000.0) AS sent
        FROM decision d JOIN delivery l ON l.campaign_id = d.campaign_id AND l.occurrence = d.occurrence
             AND l.profile_id = d.profile_id
        WHERE d.campaign_id = :campaign AND d.lane = 'live' AND l.holdout = 'none'
    )
"""
_BOUGHT: Final = """
    , bought AS (
        SELECT o.id, o.hero, o.undecided, array_agg(DISTINCT c.slug) AS slugs
        FROM opens o JOIN event e ON e.profile_id = o.profile_id AND e.name = 'Order Completed' AND e.folds
             AND e.event_time > o.sent AND e.received_at <= o.at
        CROSS JOIN LATERAL unnest(e.category_ids) AS bought JOIN category c ON c.id = bought
        WHERE c.slug = ANY(:regulars) AND (
            SELECT count(DISTINCT date(h.event_time)) FROM event h
            WHERE h.profile_id = o.profile_id AND h.category_ids @> ARRAY[c.id] AND h.folds AND h.received_at <= o.at
        ) >= 3
        GROUP BY o.id, o.hero, o.undecided
    )
    SELECT (SELECT count(*) FROM opens) AS opens, count(*) FILTER (WHERE NOT undecided) AS after_buying,
           count(*) FILTER (WHERE undecided) AS undecided,
           count(*) FILTER (WHERE hero = ANY(:thanks)) AS thanked,
           count(*) FILTER (WHERE (CAST(:restock AS jsonb) ->> hero::text) = ANY(slugs)) AS still_asked
    FROM bought
"""
_WRONG: Final = """
    SELECT count(*) FILTER (WHERE o.at > :sold_out_at AND shown.offer = :sold_out) AS sold_out_after,
           count(*) FILTER (WHERE o.at <= :sold_out_at AND shown.offer = :sold_out) AS sold_out_before,
           count(*) FILTER (WHERE shown.offer = :capped) AS capped
    FROM opens o CROSS JOIN LATERAL (SELECT value::int AS offer FROM jsonb_each_text(o.slots)) AS shown
"""
_HELD: Final = """
    SELECT count(*) AS opens, count(*) FILTER (WHERE EXISTS (
        SELECT 1 FROM jsonb_each_text(d.slots) WHERE value::int <> ALL(:defaults)
    )) AS decided
    FROM decision d JOIN delivery l ON l.campaign_id = d.campaign_id AND l.occurrence = d.occurrence
         AND l.profile_id = d.profile_id
    WHERE d.campaign_id = :campaign AND l.holdout = 'content'
"""
_CLICKS: Final = """
    SELECT count(*) AS clicks,
           count(*) FILTER (WHERE c.decision_id IS NOT NULL) AS resolved,
           count(*) FILTER (WHERE c.unseen) AS unseen,
           count(*) FILTER (WHERE c.unresolved) AS unresolved,
           count(*) FILTER (WHERE c.decision_id = seen.decision_id AND CASE
               WHEN seen.rung = 'default' THEN c.offer_id = ANY(:defaults)
               ELSE c.offer_id = (seen.slots ->> c.slot::text)::int END
           ) AS on_sight
    FROM click c LEFT JOIN LATERAL (
        SELECT f.decision_id, f.rung, d.slots FROM "fetch" f
        JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
        WHERE f.campaign_id = c.campaign_id AND f.occurrence = c.occurrence AND f.profile_id = c.profile_id
          AND f.slot = c.slot AND f.lane = 'live' AND f.at <= c.at
        ORDER BY f.at DESC LIMIT 1
    ) AS seen ON true
    WHERE c.campaign_id = :campaign AND c.fetch_class = 'person'
"""
_LANDINGS: Final = "SELECT landing FROM click WHERE campaign_id = :campaign AND fetch_class = 'person'"
_MACHINE_CLICKS: Final = """
    SELECT count(*) FILTER (WHERE fetch_class IN ('scanner', 'prefetch')) AS machine,
           (SELECT count(*) FROM consent k JOIN event e ON e.id = k.event_id JOIN source s ON s.id = e.source_id
            WHERE s.name = 'latebind' AND NOT k.granted AND e.received_at >= :story) AS withdrawn
    FROM click WHERE campaign_id = :campaign
"""


def one(stage: Stage, query: str, given: dict[str, Any]) -> Any:
    """The one row of a query."""
    with db.transaction(stage.sessions) as session:
        return session.execute(text(query), given).one()


def rows(stage: Stage, query: str, given: dict[str, Any]) -> list[Any]:
    """All rows of a query."""
    with db.transaction(stage.sessions) as session:
        return list(session.execute(text(query), given))


def prove(stage: Stage, restock: Restock, tally: Tally, defaults: tuple[int, ...], claims: Claims) -> None:
    """Check everything that raw rows can say."""
    campaign = {"campaign": restock.campaign}
    _pictures(stage, campaign, tally, claims)
    _one_decision(stage, campaign, claims)
    _fresh(stage, campaign, claims)
    _swapped(stage, restock, claims)
    _never_wrong(stage, restock, tally, claims)
    held = one(stage, _HELD, campaign | {"defaults": list(defaults)})
    claims.check(
        "held-out households saw neutral content only",
        held.opens > 0 and held.decided == 0,
        f"{held.opens:,} opens, {held.decided} decided",
    )
    _clicks(stage, campaign, tally, defaults, claims)


def _pictures(stage: Stage, campaign: dict[str, Any], tally: Tally, claims: Claims) -> None:
    claims.check(
        "every picture came whole, in the promised size, without a redirect",
        tally.pictures > 0 and not tally.broken and not tally.redirected,
        f"{tally.pictures:,} pictures{'; ' + tally.broken[0] if tally.broken else ''}",
    )
    recorded = Counter({row.sha256: row.fetches for row in rows(stage, _PICTURES, campaign)})
    # The one stated exception: a record that could not be made safe in time lets the static picture out in its stead.
    static = {sha256(static_picture(*size, "jpg")).hexdigest() for size in (HERO, TILE)}
    unrecorded, unserved = tally.served - recorded, (recorded - tally.served).total()
    pressed = sum(count for digest, count in unrecorded.items() if digest in static)
    claims.check(
        "every picture that was answered is on record, byte for byte",
        unrecorded.total() == pressed >= unserved and pressed * 50 <= tally.pictures,
        f"{recorded.total() - unserved:,} of {tally.pictures:,} fetches, {len(recorded):,} different ones by SHA-256"
        + (f"; {pressed} times the static picture, because the record was not safe in time" if pressed else ""),
    )
    classes = {row.fetch_class: row.opens for row in rows(stage, _CLASSES, campaign)}
    claims.check(
        "machine fetches are labelled and kept apart",
        (classes.get("scanner", 0) > 0) == (tally.steps["scan"] > 0)
        and (classes.get("prefetch", 0) > 0) == (tally.steps["prefetch"] > 0)
        and {"person", "proxy", "undecided"} <= classes.keys(),
        ", ".join(f"{count:,} {name}" for name, count in classes.items()),
    )


def _one_decision(stage: Stage, campaign: dict[str, Any], claims: Claims) -> None:
    found = one(stage, _TORN, campaign)
    claims.check(
        "all pictures of one open show one decision",
        found.torn == 0,
        f"{found.torn} opens torn apart; {found.late} pictures came too late to join and were the neutral default",
    )


def _fresh(stage: Stage, campaign: dict[str, Any], claims: Claims) -> None:
    found = one(stage, _STALE, campaign)
    claims.check(
        "every open used every signal that had been answered before it",
        found.fetches > 0 and found.stale == 0,
        f"{found.fetches:,} fetches, {found.stale} on older knowledge; {found.again} showed an earlier open's choice"
        " again, as nothing could be decided in time",
    )


def _swapped(stage: Stage, restock: Restock, claims: Claims) -> None:
    found = one(
        stage,
        _OPENS + _BOUGHT,
        {
            "campaign": restock.campaign,
            "regulars": sorted(set(restock.restock.values())),
            "thanks": sorted(restock.thanks),
            "restock": msgspec.json.encode({str(one): slug for one, slug in restock.restock.items()}).decode(),
        },
    )
    claims.check(
        "households that bought a regular in between are thanked, not asked again",
        found.after_buying > 0 and found.thanked == found.after_buying and found.still_asked == 0,
        f"{found.thanked:,} of {found.after_buying:,} opens after buying (of {found.opens:,}); {found.undecided} more"
        " showed the neutral default, as nothing could be decided in time",
    )


def _never_wrong(stage: Stage, restock: Restock, tally: Tally, claims: Claims) -> None:
    sold_out = next(number for number, slug in restock.restock.items() if slug == SOLD_OUT)
    capped = next(number for number, slug in restock.upgrades.items() if slug == CAPPED)
    given = {"campaign": restock.campaign, "sold_out": sold_out, "sold_out_at": tally.sold_out_at, "capped": capped}
    found = one(stage, _OPENS + _WRONG, given)
    claims.check(
        "what sold out in the middle of the week was not shown after that",
        found.sold_out_before > 0 and found.sold_out_after == 0,
        f"shown {found.sold_out_before:,} times before, {found.sold_out_after} after",
    )
    claims.check("the capped offer kept its cap", found.capped <= CAP, f"{found.capped} of {CAP}")


def _clicks(stage: Stage, campaign: dict[str, Any], tally: Tally, defaults: tuple[int, ...], claims: Claims) -> None:
    found = one(stage, _CLICKS, campaign | {"defaults": list(defaults)})
    landings = Counter(row.landing for row in rows(stage, _LANDINGS, campaign))
    led = Counter(click.location for click in tally.clicks if click.status == 302)
    claims.check(
        "every click landed on the offer seen last in its place",
        found.clicks == len(tally.clicks)
        and led == landings
        and 0 < found.on_sight == found.clicks - found.unseen - found.unresolved,
        f"{found.on_sight:,} of {found.clicks - found.unresolved:,} clicks, {found.unseen} without a sight before;"
        f" {found.unresolved} more led to the default page, as what was shown could not be told in time",
    )
    machine = one(stage, _MACHINE_CLICKS, campaign | {"story": stage.calendar.story})
    claims.check(
        "scanners that followed every link unsubscribed nobody",
        machine.machine > 0 and machine.withdrawn == 0,
        f"{machine.machine:,} links followed by machines",
    )
