"""What a campaign's results page says. Every number is a count of records; nothing is estimated.

Records are counted as they come, move and go (`campaigns/opentally.py`), so a page costs the same however many there
are. Rows expire (`campaigns/retention.py`); what they counted is added from `campaigns/expired.py`, so no count falls.
The times of answers, to a tenth of a millisecond, are those of the rows that are left.

Three counts of opens are kept apart: *surely* seen (a person's device or a mail provider fetching for a reader),
*possibly* (those and devices that may fetch on their own), *machine* (prefetch and scanners). Test sends and staff are
in none of them. Only clicks of persons count as clicks. At tracking level anonymous fetches and clicks are counted by
themselves, and people not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns import accounting, opentally
from campaigns.expired import expired
from campaigns.models import Campaign, Offer

Counts = Counter[tuple[str, str]]
"""What is counted, name within it -> number."""


@dataclass(frozen=True)
class Opens:
    """People who opened, by how sure we are, and answered fetches by class."""

    surely: int
    possibly: int
    machine: int
    fetches: Mapping[str, int]


@dataclass(frozen=True)
class Swap:
    """Opens of live mails whose content differs from what send time would have chosen, with the same seed and model.

    `compared` counts opens whose send-time choice is known; held-out content is not compared.
    """

    compared: int
    differing: int

    @property
    def share(self) -> float | None:
        """The share that differs; None when nothing was compared."""
        return self.differing / self.compared if self.compared else None


@dataclass(frozen=True)
class OfferLine:
    """One offer: people it was possibly seen by, clicks of persons on it, orders and cents credited to it."""

    offer: int
    name: str
    seen: int
    clicks: int
    orders: int
    cents: int


@dataclass(frozen=True)
class AnonymousLine:
    """One offer at tracking level anonymous: fetches in which it may have been seen, and clicks of persons."""

    offer: int
    name: str
    fetches: int
    clicks: int


@dataclass(frozen=True)
class Anonymous:
    """What is counted at tracking level anonymous: fetches and clicks by class, and by offer; never people."""

    fetches: Mapping[str, int]
    clicks: Mapping[str, int]
    offers: tuple[AnonymousLine, ...]


@dataclass(frozen=True)
class Report:
    """What came of a campaign. `cents` are its currency; `elsewhere` are orders in others."""

    mailed: int
    opens: Opens
    swap: Swap
    clicks: int
    machine_clicks: int
    flagged: Mapping[str, int]
    offers: tuple[OfferLine, ...]
    orders: int
    cents: int
    elsewhere: int
    fallback: int
    p50_ms: float | None
    p99_ms: float | None
    anonymous: Anonymous


def report(session: Session, campaign_id: int) -> Report:
    """The results of all runs of a campaign that are no tests."""
    counted = opentally.counts(session, campaign_id)
    whole = Counter(counted)
    whole.update(expired(session, campaign_id))
    currency = session.scalar(select(Campaign.currency).where(Campaign.id == campaign_id)) or ""
    earned = _earned(counted, currency)
    names = _offer_names(session, whole)
    times = sorted((float(ms), number) for ms, number in _named(counted, "ms").items())
    return Report(
        mailed=accounting.account(session, campaign_id)["accepted"],
        opens=Opens(
            whole["people", "surely"], whole["people", "possibly"], whole["people", "machine"], _named(whole, "fetch")
        ),
        swap=Swap(whole["swap", "compared"], whole["swap", "differing"]),
        clicks=whole["click", "people"],
        machine_clicks=whole["click", "machine"],
        flagged={name: whole["click", name] for name in ("ambiguous", "unseen", "unresolved")},
        offers=_offers(whole, earned, names),
        orders=sum(one.orders for one in earned.values()),
        cents=sum(one.cents for one in earned.values()),
        elsewhere=sum(one.elsewhere for one in earned.values()),
        fallback=whole["fallback", ""],
        p50_ms=_quantile(times, 0.5),
        p99_ms=_quantile(times, 0.99),
        anonymous=_anonymous(whole, names),
    )


@dataclass(frozen=True)
class _Earned:
    orders: int = 0
    cents: int = 0
    elsewhere: int = 0


def _earned(counted: Counts, currency: str) -> dict[str, _Earned]:
    """By offer ("": none) its credited orders, their cents in the campaign's currency, and those paid in another.

    Money of another currency cannot be added: such orders count, their worth does not.
    """
    found: dict[str, _Earned] = {}
    for name, number in _named(counted, "orders").items():
        offer, told, paid_in = name.partition("/")
        ours = not told or paid_in == currency
        one = found.get(offer, _Earned())
        found[offer] = _Earned(
            one.orders + number,
            one.cents + (counted["cents", name] if ours else 0),
            one.elsewhere + (0 if ours else number),
        )
    return found


def _offers(whole: Counts, earned: Mapping[str, _Earned], names: Mapping[str, str]) -> tuple[OfferLine, ...]:
    """The offers that somebody may have seen, those of most people first."""
    nothing = _Earned()
    lines = (
        OfferLine(
            int(offer), names[offer], seen, whole["clicked", offer], earned.get(offer, nothing).orders,
            earned.get(offer, nothing).cents,
        )
        for offer, seen in _named(whole, "seen").items()
    )  # fmt: skip
    return tuple(sorted(lines, key=lambda line: (-line.seen, line.offer)))


def _anonymous(whole: Counts, names: Mapping[str, str]) -> Anonymous:
    seen, clicked = _named(whole, "anonymous_seen"), _named(whole, "anonymous_clicked")
    lines = (
        AnonymousLine(int(offer), names[offer], seen.get(offer, 0), clicked.get(offer, 0)) for offer in seen | clicked
    )
    ordered = tuple(sorted(lines, key=lambda line: (-line.fetches, line.offer)))
    return Anonymous(_named(whole, "anonymous_fetch"), _named(whole, "anonymous_click"), ordered)


def _offer_names(session: Session, whole: Counts) -> dict[str, str]:
    """What every counted offer is called; one that there is no more by its number."""
    found = {name for what, name in whole if what in ("seen", "anonymous_seen", "anonymous_clicked")}
    rows = session.execute(select(Offer.id, Offer.name).where(Offer.id.in_([int(name) for name in found])))
    return {name: f"Offer {name}" for name in found} | {str(row.id): row.name for row in rows}


def _named(counts: Counts, what: str) -> dict[str, int]:
    """The counts of one kind that are not 0, by name."""
    return {name: number for (counted, name), number in sorted(counts.items()) if counted == what and number}


def _quantile(times: Sequence[tuple[float, int]], share: float) -> float | None:
    """The least of these times that so large a share of the fetches did not exceed; None without fetches."""
    wanted = share * sum(number for _, number in times)
    reached = 0
    for ms, number in times:
        reached += number
        if reached >= wanted:
            return ms
    return None
