"""The end of the story: its figures, and one household's picture before and after."""

from __future__ import annotations

import io
from typing import Any, Final

import msgspec
from PIL import Image

from base import db
from campaigns import audit
from workers.demo.proof import one, rows
from workers.demo.restock import Restock
from workers.demo.stage import Stage
from workers.demo.week import Tally

_OPENS: Final = """
    SELECT f.fetch_class, count(DISTINCT f.decision_id) AS opens, count(DISTINCT f.profile_id) AS households
    FROM "fetch" f WHERE f.campaign_id = :campaign GROUP BY f.fetch_class ORDER BY opens DESC, f.fetch_class
"""
_KINDS: Final = """
    SELECT o.kind, count(*) AS opens FROM decision d JOIN offer o ON o.id = (d.slots ->> '0')::int
    WHERE d.campaign_id = :campaign AND d.lane = 'live' GROUP BY o.kind ORDER BY opens DESC, o.kind
"""
_CHANGED: Final = """
    SELECT count(*) AS compared, count(*) FILTER (WHERE slots <> shadow) AS any_slot,
           count(*) FILTER (WHERE slots ->> '0' <> shadow ->> '0') AS hero
    FROM decision WHERE campaign_id = :campaign AND lane = 'live' AND shadow IS NOT NULL
"""
_ORDERS: Final = (
    "SELECT count(*) AS orders, coalesce(sum(cents), 0) AS cents FROM outcome WHERE campaign_id = :campaign"
)
_CREDITED: Final = """
    SELECT (SELECT coalesce(max(id), 0) FROM event) AS newest,
           (SELECT coalesce(max(position), 0) FROM loop_cursor WHERE name = 'outcomes') AS looked_at
"""
_SERVER: Final = """
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms) AS p50,
           percentile_disc(0.99) WITHIN GROUP (ORDER BY ms) AS p99
    FROM "fetch" WHERE campaign_id = :campaign AND kind IN ('picture', 'dark') AND lane = 'live'
"""
# A household that saw the discount, bought (the very thing, if there is one), and looked again.
_BEFORE_AFTER: Final = """
    WITH heroes AS (
        SELECT f.profile_id, f.at, f.sha256, f.decision_id AS decision, (d.slots ->> '0')::int AS offer
        FROM "fetch" f JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
        WHERE f.campaign_id = :campaign AND f.slot = 0 AND f.kind = 'picture' AND f.lane = 'live'
    )
    SELECT b.profile_id, b.sha256 AS before, a.sha256 AS after, b.at AS before_at, a.at AS after_at,
           b.decision AS before_open, a.decision AS after_open,
           (SELECT name FROM offer WHERE id = b.offer) AS asked, (SELECT name FROM offer WHERE id = a.offer) AS thanked
    FROM heroes b JOIN heroes a ON a.profile_id = b.profile_id AND a.at > b.at
    WHERE b.offer = ANY(:restock) AND a.offer = ANY(:thanks)
    ORDER BY (CAST(:words AS jsonb) ->> b.offer::text) = (CAST(:words AS jsonb) ->> a.offer::text) DESC, b.at,
             b.profile_id LIMIT 1
"""


def await_rows(stage: Stage, restock: Restock) -> None:
    """Wait until the recorder has done everything that follows from the week."""

    def credited() -> bool:
        row = one(stage, _CREDITED, {})
        return bool(row.looked_at >= row.newest)

    stage.await_("orders to be credited to what was seen", credited)


def tell_results(stage: Stage, restock: Restock, tally: Tally) -> bool:
    """Print the figures and write the two pictures; whether a household for them was found."""
    campaign, say = {"campaign": restock.campaign}, stage.say
    say(f"  mails delivered                  {tally.mails:,}")
    for row in rows(stage, _OPENS, campaign):
        say(f"  opens, {row.fetch_class:<25} {row.opens:,} of {row.households:,} households")
    told = ", ".join(f"{row.opens:,} {row.kind}" for row in rows(stage, _KINDS, campaign))
    say(f"  large picture at opens           {told}")
    changed = one(stage, _CHANGED, campaign)
    say(
        f"  differs from the send-time choice {_share(changed.any_slot, changed.compared)} of opens, "
        f"{_share(changed.hero, changed.compared)} in the large picture (same seed, same model)"
    )
    say(f"  clicks landing on the offer seen {len(tally.clicks):,}")
    orders = one(stage, _ORDERS, campaign)
    spent = f"{orders.orders:,}, {orders.cents / 100:,.2f} USD"
    say(f"  purchases attributed             {spent} (to the last sight within 7 days)")
    server = one(stage, _SERVER, campaign)
    say(
        f"  one picture, client's clock      p50 {_point(tally.picture_ms, 0.5):.1f} ms, "
        f"p99 {_point(tally.picture_ms, 0.99):.1f} ms; server's p50 {server.p50:.1f} ms, p99 {server.p99:.1f} ms"
    )
    say(
        f"  signal sent to next open shown   p50 {_point(tally.signal_ms, 0.5):.0f} ms, "
        f"p99 {_point(tally.signal_ms, 0.99):.0f} ms ({len(tally.signal_ms):,} opens right after a purchase)"
    )
    say("  No lift is claimed: these households bought what they bought, whatever is shown now.")
    return _before_after(stage, restock)


def _before_after(stage: Stage, restock: Restock) -> bool:
    words = {str(number): slug for number, slug in (restock.restock | restock.thanks).items()}
    given = {
        "campaign": restock.campaign,
        "restock": sorted(restock.restock),
        "thanks": sorted(restock.thanks),
        "words": msgspec.json.encode(words).decode(),
    }
    found = rows(stage, _BEFORE_AFTER, given)
    if not found:
        return False
    row = found[0]
    for name, decision, digest in (("before", row.before_open, row.before), ("after", row.after_open, row.after)):
        body = _bytes(stage, row.profile_id, decision, digest)
        with Image.open(io.BytesIO(body)) as picture:
            picture.save(stage.folder / f"{name}.png")
    stage.say(
        f"  one household: {row.asked!r} on {row.before_at:%a %H:%M}, {row.thanked!r} on {row.after_at:%a %H:%M}: "
        f"{stage.folder / 'before.png'}, {stage.folder / 'after.png'}"
    )
    return True


def _bytes(stage: Stage, profile: int, decision: str, digest: Any) -> bytes:
    """What was served, as support sees it."""
    with db.transaction(stage.sessions) as session:
        key, sha256 = stage.settings.subject_key, bytes(digest).hex()
        return audit.picture(session, stage.blobs, key, decision, sha256, [profile]).body


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _point(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")
