"""The code of each reason that removes an offer, in words: what follows "was not shown:"."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from render.arbitration import MAX_SCORED
from render.decision import GAINS_TOO_LITTLE
from render.eligibility import MACHINE_DAYS
from render.plan import Offer, Plan
from render.relations import LEAST_PEOPLE

WHY: Final[dict[str, Callable[[Offer, Plan], str]]] = {
    "withdrawn": lambda offer, plan: "it was withdrawn",
    "not yet valid": lambda offer, plan: f"it is only valid from {_instant(offer.starts_ms)}",
    "ended": lambda offer, plan: f"it ended on {_instant(offer.ends_ms)}",
    "sensitive category": lambda offer, plan: "it would be chosen by purchases of a sensitive category",
    "sensitive signals": lambda offer, plan: (
        "only signals of a sensitive category speak for it, and those may not choose"
    ),
    "machine fetch: capped": lambda offer, plan: "a machine fetched the mail, and machines get no limited offers",
    "machine fetch: bound to the clock": lambda offer, plan: (
        "a machine fetched the mail, and a clock would be stale when seen"
    ),
    "machine fetch: ends soon": lambda offer, plan: (
        f"a machine fetched the mail, and the offer ends within {MACHINE_DAYS} days"
    ),
    "machine fetch: stock or price may change": lambda offer, plan: (
        "a machine fetched the mail, and stock or price may change before a person sees it"
    ),
    "undecided fetch: bound to the clock": lambda offer, plan: (
        "a person or a machine may have fetched the mail, and a clock could be stale when seen"
    ),
    "undecided fetch: capped": lambda offer, plan: (
        "a person or a machine may have fetched the mail, and the campaign keeps limited offers from such fetches"
    ),
    "purpose met": lambda offer, plan: f"{_category(offer.purpose_category, plan)} was bought since the mail was sent",
    "nothing bought yet": lambda offer, plan: (
        f"it follows a purchase of {_category(offer.after_category, plan)}, and there was none since the mail was sent"
    ),
    "already bought": lambda offer, plan: (
        f"the person already has {_whole(offer, 'this product', f'each of its products that was {_left(offer)}')}"
    ),
    "product unknown": lambda offer, plan: "nothing was known about its product",
    "feed stale": lambda offer, plan: "price and stock of its product were too old to be trusted",
    "stock unknown": lambda offer, plan: "it was not known whether its product was in stock",
    "no longer sold": lambda offer, plan: "its product was no longer in the shop's catalogue",
    "out of stock": lambda offer, plan: "its product was out of stock",
    "no product in stock": lambda offer, plan: (
        f"{'none of its products was' if offer.kind != 'bundle' else 'a part of its bundle was not'} {_left(offer)}, by"
        " facts recent enough to be trusted"
    ),
    "relations unknown": lambda offer, plan: "it was not known what goes with what, so no product could be picked",
    "nothing to pick": lambda offer, plan: "none of the products to pick from was in stock and new to the person",
    "nothing goes with it": lambda offer, plan: "nothing it could show goes with what the person bought of late",
    "too few bought both": lambda offer, plan: (
        f"fewer than {LEAST_PEOPLE} people had bought one of its products together with what this person bought"
    ),
    "too few bought it": lambda offer, plan: f"fewer than {LEAST_PEOPLE} people had bought any of its products",
    "owns no version": lambda offer, plan: "the person is not known to own a version that could be bettered",
    "owns the best version": lambda offer, plan: "the person already owns the best version",
    "version unknown": lambda offer, plan: "it could not be told which version the person owns",
    "no better version": lambda offer, plan: "no better and dearer version than the person's own was in stock",
    "not on promotion": lambda offer, plan: (
        "none of its products is flagged for a lower price"
        if offer.products and offer.kind != "bundle"
        else f"{_whole(offer, 'its product', '')} is not flagged for a lower price"
    ),
    "need unknown": lambda offer, plan: "no model could tell whether the person needs its incentive",
    "needs no incentive": lambda offer, plan: (
        f"the person is likely enough to buy without its incentive: {_percent(offer)} or more"
    ),
    "nothing to replace": lambda offer, plan: "the person never bought what it replaces",
    "interval unknown": lambda offer, plan: "it was not known after how long such things are bought again",
    "bought too recently": lambda offer, plan: (
        "the person bought such a thing too recently to need another: people wait longer"
    ),
    "no purchase to add to": lambda offer, plan: "the person bought nothing that it could add to",
    "upsell window over": lambda offer, plan: (
        f"the purchase that it adds to was more than {_hours(offer.window_hours)} ago"
    ),
    "quantity unknown": lambda offer, plan: "it was not known how many of such a thing people take at once",
    "too many at once": lambda offer, plan: f"people hardly ever take {offer.units} of such a thing at once",
    "complaint open": lambda offer, plan: "a complaint of this person was open, so nothing is sold to them",
    "not for me": lambda offer, plan: (
        f"the person said that {_whole(offer, 'this', 'it, or each of its products that was left,')} is not for them"
    ),
    "cap refused": lambda offer, plan: "its last showing was taken by another open at the same moment",
    "cap unknown": lambda offer, plan: "it could not be read how many showings were left",
    "total cap": lambda offer, plan: f"all {offer.cap_total} showings were used",
    "anonymous: limited": lambda offer, plan: (
        "opens of this campaign name nobody, so how often it was shown cannot be counted"
    ),
    "personal cap": lambda offer, plan: (
        f"the person had already been shown it {_times(offer.cap_person)}{_period(offer)}"
    ),
    "no repeat": lambda offer, plan: f"the person was shown it in another mail within {_days(offer.no_repeat_days)}",
    "shown in another slot": lambda offer, plan: "it was shown in another place of the same mail",
    "costs more than it earns": lambda offer, plan: "showing it would cost more than it is expected to earn",
    GAINS_TOO_LITTLE: lambda offer, plan: "showing it was not expected to change enough to be worth it",
    "another went first": lambda offer, plan: "another offer went first",
    "another was drawn": lambda offer, plan: "another offer was drawn, so that it is learnt how each of them does",
    "not among the first": lambda offer, plan: (
        f"only {MAX_SCORED} offers are scored at once, and a plain estimate put it behind those"
    ),
    "resting: shown": lambda offer, plan: f"it rests: {_rest(offer, 'shown')}",
    "resting: ignored": lambda offer, plan: f"it rests: {_rest(offer, 'ignored')}",
    "resting: taken": lambda offer, plan: f"it rests: {_rest(offer, 'taken')}",
    "resting: refused": lambda offer, plan: f"it rests: {_rest(offer, 'refused')}",
}
"""Code -> the words, of an offer of a plan."""


def _whole(offer: Offer, one: str, several: str) -> str:
    """What a reason is about: the offer's product, or its several, or a part of a bundle."""
    return one if not offer.products else "a part of its bundle" if offer.kind == "bundle" else several


def _left(offer: Offer) -> str:
    """What those of several products are that may be shown to anybody."""
    is_flagged = offer.incentive is not None and offer.incentive.flagged
    return "in stock and flagged for a lower price" if is_flagged else "in stock"


def _category(category: int | None, plan: Plan) -> str:
    return plan.category_words.get(category or 0, f"category {category}")


def _instant(at_ms: int | None) -> str:
    return f"{datetime.fromtimestamp((at_ms or 0) / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _times(count: int | None) -> str:
    return "once" if count == 1 else f"{count} times"


def _days(days: int | None) -> str:
    return "a day" if days == 1 else f"{days} days"


def _hours(hours: int | None) -> str:
    return "an hour" if hours == 1 else f"{hours} hours"


def _period(offer: Offer) -> str:
    return f" within {_days(offer.period_days)}" if offer.period_days is not None else ""


def _percent(offer: Offer) -> str:
    limit = offer.incentive.limit if offer.incentive is not None else None
    return f"{100 * (limit or 0):.0f} %"


def _rest(offer: Offer, after: str) -> str:
    rest = next((one for one in offer.fatigue if one.after == after), None)
    if rest is None:
        return f"it was {after} too often of late"
    what = "it" if rest.of == "offer" else "an offer of its group"
    measure = f"{after} {_times(rest.times)} within {_days(rest.within_days)}"
    return f"{what} was {measure}, so it is left out for {_days(rest.off_days)}"
