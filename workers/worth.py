"""What a model on trial is worth beside what decides now: the evidence that the gate weighs.

Worth is the sum of credited orders, net of returns, within the outcome window, in cents of the installation's currency
(signals/exchange.py). It counts once that has closed.

- Of a canary: by mail, from its first open, since the beginning of the canary with its present share. Which model a
  mail belongs to is drawn again here and not read from the records, so that a process that could not load the model in
  time changes the size of an effect and never its sign.
- Of logs: by open, each weighted by how much likelier the model shows the same (`workers.policyvalue`,
  self-normalised). Opens without exploration tell nothing of what was not shown, and the estimator refuses.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT, Delivery
from campaigns.gate import Evidence
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelMove
from render.plan import Canary
from render.trial import takes_part
from workers.exposures import closed_before
from workers.policyvalue import Log, PoorOverlap, snips
from workers.recording import SEEN
from workers.timetable import OUTCOME
from workers.trials import BACK

Z_95: Final = 1.959964
MOST_MAILS: Final = 500_000

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Whole = np.ndarray[Any, np.dtype[np.int64]]

_MAILS = text("""
    WITH opened AS (
        SELECT d.profile_id, d.occurrence, min(d.at) AS first_at
        FROM decision d
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.lane = 'live' AND d.contact IS NULL
          AND d.rung IN ('model', 'rules') AND d.profile_id IS NOT NULL
          AND EXISTS (SELECT FROM "fetch" f WHERE f.decision_id = d.id AND f.fetch_class = ANY(:seen))
        GROUP BY d.profile_id, d.occurrence
        HAVING min(d.at) >= :since AND min(d.at) < :closed
        ORDER BY min(d.at) DESC LIMIT :most
    )
    SELECT opened.profile_id, person.root_id, opened.occurrence, count(o.id) AS orders,
           coalesce(sum(round(o.cents * exchange_rate_at(o.currency, o.at))), 0)::bigint AS cents
    FROM opened
    JOIN profile person ON person.id = opened.profile_id
    LEFT JOIN decision d ON d.profile_id = opened.profile_id AND d.campaign_id = :campaign
         AND d.occurrence = opened.occurrence AND d.at >= opened.first_at
    LEFT JOIN outcome o ON o.decision_id = d.id AND o.at <= opened.first_at + :window
    GROUP BY opened.profile_id, person.root_id, opened.occurrence
""")


_LOGGED = text("""
    SELECT person.root_id, s.logged, s.chance, s.unsupported, earned.cents, earned.orders
    FROM model_shadow s
    JOIN decision d ON d.id = s.decision_id AND d.at = s.at
    JOIN profile person ON person.id = d.profile_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(round(o.cents * exchange_rate_at(o.currency, o.at))), 0)::bigint AS cents,
               count(*) AS orders
        FROM outcome o
        WHERE o.decision_id = d.id AND o.at <= d.at + :window
    ) earned
    WHERE s.campaign_id = :campaign AND s.model_hash = :model AND s.at < :closed AND s.at >= :since
      AND EXISTS (SELECT FROM "fetch" f WHERE f.decision_id = d.id AND f.fetch_class = ANY(:seen))
    ORDER BY s.at DESC, s.decision_id LIMIT :most
""")


def of_logs(session: Session, row: Campaign, model: str, now: datetime) -> Evidence:
    """What the opens of the last four weeks say of a model on trial, which decided none of them."""
    given = {
        "campaign": row.id, "model": model, "since": now - BACK, "closed": closed_before(now), "seen": list(SEEN),
        "most": MOST_MAILS, "window": OUTCOME,
    }  # fmt: skip
    opens = session.execute(_LOGGED, given).all()
    orders = sum(one.orders for one in opens)
    if not opens:
        return Evidence(method="logs", refused="no open of people has its outcome yet")
    log = Log(
        persons=np.array([one.root_id for one in opens], dtype=np.int64),
        rewards=np.array([one.cents for one in opens], dtype=np.float64),
        propensities=np.array([one.logged for one in opens], dtype=np.float64),
        target=np.clip(np.array([one.chance for one in opens], dtype=np.float64), 0.0, 1.0),
        unsupported=np.clip(np.array([one.unsupported for one in opens], dtype=np.float64), 0.0, 1.0),
    )
    try:
        found = snips(log)
    except PoorOverlap as error:
        return Evidence(method="logs", opened=len(opens), orders=orders, refused=str(error).rstrip("."))
    return Evidence(
        method="logs",
        new=found.value.value,
        present=found.logged,
        difference=found.gain.value,
        low=found.gain.low,
        high=found.gain.high,
        opened=len(opens),
        orders=orders,
        effective=found.overlap.effective,
    )


def of_canary(session: Session, row: Campaign, now: datetime) -> Evidence | None:
    """What a campaign's canary shows; None where it has none."""
    if row.canary_hash is None or row.canary_share is None:
        return None
    since = session.scalar(
        select(ModelMove.at)
        .where(ModelMove.campaign_id == row.id, ModelMove.action == "canary", ModelMove.model_hash == row.canary_hash)
        .order_by(ModelMove.id.desc())
        .limit(1)
    )
    given = {
        "campaign": row.id, "test": TEST_BIT, "seen": list(SEEN), "since": since or now, "closed": closed_before(now),
        "most": MOST_MAILS, "window": OUTCOME,
    }  # fmt: skip
    mails = session.execute(_MAILS, given).all()
    canary = Canary(row.canary_hash, row.canary_share)
    drawn = [takes_part(canary, Delivery(mail.profile_id, row.id, mail.occurrence)) for mail in mails]
    return compared(
        np.array([mail.cents for mail in mails], dtype=np.float64),
        np.array(drawn, dtype=np.bool_),
        np.array([mail.root_id for mail in mails], dtype=np.int64),
        orders=sum(mail.orders for mail in mails),
    )


def compared(cents: Floats, drawn: Flags, people: Whole, *, orders: int) -> Evidence:
    """The mails that were drawn beside the others: a difference of means with its 95 % interval.

    The interval is that of the normal distribution; mails of one person are taken together, since they are alike.
    """
    new, present = int(drawn.sum()), int((~drawn).sum())
    if not new or not present:
        return Evidence(method="canary", opened=new + present, orders=orders, refused="no mail of each kind was opened")
    means = float(cents[drawn].mean()), float(cents[~drawn].mean())
    pull = np.where(drawn, (cents - means[0]) / new, -(cents - means[1]) / present)
    _, owner = np.unique(people, return_inverse=True)
    spread = float(np.sqrt((np.bincount(owner, weights=pull) ** 2).sum()))
    difference = means[0] - means[1]
    return Evidence(
        method="canary",
        new=means[0],
        present=means[1],
        difference=difference,
        low=difference - Z_95 * spread,
        high=difference + Z_95 * spread,
        opened=new + present,
        orders=orders,
        effective=float(min(new, present)),
    )
