"""Intents that may stay silent and the profit guard, on people whose truth is planted: fixed seeds, no stores.

Intents: people with a baby, a puppy, or grandchildren who visit, and things in the basket that speak for more than one
of these. Whoever acts on the likeliest intent is held against whoever acts on what stands out, at the same number of
people addressed. Guard: customers of five kinds with a year behind them and a quarter to come; offers go to customers
in a random order, with and without the guard, until the same number was sold.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import mean, quantiles
from typing import Final

from benchmarks.report import Report
from campaigns.worth import Worth, WorthTerms
from signals.fold import fold_all
from signals.foldevent import FoldEvent, Line
from signals.intent import DEFAULTS, assess, read_intents
from signals.moments import unix_ms
from signals.state import ProfileState

SEEDS: Final = 40
PEOPLE: Final = 2_000
CUSTOMER_COUNT: Final = 6_000
NOW: Final = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_SLUGS: Final = (
    "baby-gates", "diapers", "baby-food", "strollers", "dog-food", "puppy-food", "dog-beds", "dog-toys", "shoes",
)  # fmt: skip
CATEGORIES: Final = {slug: number for number, slug in enumerate(_SLUGS, 1)}
BOUGHT: Final[Mapping[str, Mapping[str, float]]] = {
    "baby": {"baby-gates": 0.5, "diapers": 0.4, "baby-food": 0.3, "strollers": 0.2, "dog-food": 0.05},
    "puppy": {"baby-gates": 0.4, "dog-food": 0.5, "puppy-food": 0.3, "dog-beds": 0.3, "dog-toys": 0.3},
    "visits": {"baby-gates": 0.5, "baby-food": 0.1, "dog-food": 0.05, "dog-toys": 0.05},
    "none": {"baby-gates": 0.01, "dog-food": 0.03, "dog-toys": 0.05, "shoes": 0.5},
}
"""How likely somebody of a kind bought of a category in the last months."""
SHARES: Final = {"baby": 0.05, "puppy": 0.05, "visits": 0.08, "none": 0.82}
TERMS: Final = WorthTerms()
CUSTOMERS: Final = {"good": 0.7, "service": 0.08, "returns": 0.08, "discount": 0.08, "spending": 0.06}
PRICE: Final = 5_000


def main() -> None:
    """Run both simulations and print the report."""
    report = Report("people")
    _intents(report)
    _guard(report)
    report.show()


def _intents(report: Report) -> None:
    ours, theirs, addressed = [], [], []
    for seed in range(SEEDS):
        dice = random.Random(seed)
        people = [_person(dice) for _ in range(PEOPLE)]
        acted = [(truth, state.intent_top) for truth, state in people if state.intent_top is not None]
        likeliest = [
            (truth, max(state.intents, key=lambda name: (state.intents[name], name)))
            for truth, state in people
            if state.intents
        ]
        same = dice.sample(likeliest, len(acted))
        ours.append(mean(truth != shown for truth, shown in acted))
        theirs.append(mean(truth != shown for truth, shown in same))
        addressed.append(len(acted) / PEOPLE)
    fewer = [theirs[at] - ours[at] for at in range(SEEDS)]
    low, high = quantiles(fewer, n=40)[0], quantiles(fewer, n=40)[-1]
    report.add(
        f"wrong intents, {mean(addressed):.1%} of people addressed, {SEEDS} seeds", f"{mean(ours):.1%}",
        f"{mean(theirs):.1%} (the likeliest)", aim="fewer in 95 % of seeds", met=low > 0,
    )  # fmt: skip
    report.add("  fewer by", f"{mean(fewer):.1%} ({low:.1%} to {high:.1%})")


def _person(dice: random.Random) -> tuple[str, ProfileState]:
    """A person's planted truth, and what is known of them."""
    truth = dice.choices(list(SHARES), list(SHARES.values()))[0]
    events = [
        FoldEvent(
            time_ms=unix_ms(NOW - timedelta(days=dice.uniform(1, 200))), message_id=category, kind="order",
            lines=(Line(category, CATEGORIES[category], 1, 1_000),),
        )
        for category, chance in BOUGHT[truth].items()
        if dice.random() < chance
    ]  # fmt: skip
    if dice.random() < (0.8 if truth == "visits" else 0.1):
        early = unix_ms(NOW - timedelta(days=300))
        events.append(FoldEvent(time_ms=early, message_id="age", kind="traits", traits={"age": 70}))
    return truth, assess(fold_all(events), read_intents(DEFAULTS, CATEGORIES))


def _guard(report: Report) -> None:
    ours, theirs, flagged, missed, wrongly = [], [], [], [], []
    for seed in range(SEEDS):
        dice = random.Random(seed)
        customers = [dice.choices(list(CUSTOMERS), list(CUSTOMERS.values()))[0] for _ in range(CUSTOMER_COUNT)]
        flags = [bool(_year(kind, dice).flags(TERMS)) for kind in customers]
        sales = CUSTOMER_COUNT // 10
        order = dice.sample(range(CUSTOMER_COUNT), CUSTOMER_COUNT)
        theirs.append(_lost([customers[at] for at in order], sales, random.Random(seed)))
        ours.append(_lost([customers[at] for at in order if not flags[at]], sales, random.Random(seed)))
        flagged.append(mean(flags))
        wrongly.append(mean(flag for flag, kind in zip(flags, customers, strict=True) if kind == "good"))
        missed.append(mean(not flag for flag, kind in zip(flags, customers, strict=True) if kind != "good"))
    saved = [theirs[at] - ours[at] for at in range(SEEDS)]
    low = quantiles(saved, n=40)[0]
    report.add(
        f"lost on losing sales, {CUSTOMER_COUNT // 10} sold, {SEEDS} seeds", f"{mean(ours) / 100:,.0f}",
        f"{mean(theirs) / 100:,.0f} (no guard)", mean(ours) / mean(theirs), "less in 95 % of seeds", low > 0,
    )  # fmt: skip
    report.add("  people flagged", f"{mean(flagged):.1%}", f"{sum(CUSTOMERS.values()) - CUSTOMERS['good']:.0%} planted")
    report.add("  of those planted, missed", f"{mean(missed):.1%}")
    report.add("  of the good, flagged", f"{mean(wrongly):.1%}")


def _year(kind: str, dice: random.Random) -> Worth:
    """A customer's last 364 days, as the guard would count them."""
    orders = dice.randint(6, 12)
    sold = sum(round(PRICE * dice.uniform(0.6, 1.4)) for _ in range(orders))
    habit = 0.75 if kind == "returns" else 0.08
    returns = sum(dice.random() < habit for _ in range(orders))
    discounted = sum(dice.random() < (0.95 if kind == "discount" else 0.15) for _ in range(orders))
    contacts = dice.randint(20, 40) if kind == "service" else dice.randint(0, 2)
    early = round(sold * (dice.uniform(0.48, 0.55) if kind == "spending" else dice.uniform(0.3, 0.6)))
    kinds, discount = dice.randint(2, 4), discounted * PRICE // 2
    more = 2.0 if kind == "spending" else dice.uniform(0.7, 1.4)
    return Worth(
        root=1, orders=orders, sold=sold, discounted=discounted, discount=discount, orders_back=returns,
        returned=returns, back=returns * sold // orders, goods_back=returns * (sold + discount) // orders,
        contacts=contacts, quarters=4, early=early, late=sold - early, early_kinds=kinds,
        late_kinds=round(kinds * more),
    )  # fmt: skip


def _lost(customers: list[str], sales: int, dice: random.Random) -> int:
    """Cents lost on sales that cost more than they bring, until so many were made; one offer in four sells."""
    lost = sold = 0
    for kind in customers:
        if sold == sales:
            break
        if dice.random() < 0.25:
            sold += 1
            lost += max(0, -_brings(kind, dice))
    return lost


def _brings(kind: str, dice: random.Random) -> int:
    """Cents that one more sale brings: its margin, less what this kind of customer takes back. Who only shifts what
    they spend anyway buys nothing more, and costs what the offer cost."""
    is_returned = dice.random() < (0.75 if kind == "returns" else 0.08)
    discount = PRICE // 2 if dice.random() < (0.95 if kind == "discount" else 0.15) else 0
    contacts = dice.randint(2, 4) if kind == "service" else int(dice.random() < 0.05)
    margin = 0.0 if is_returned or kind == "spending" else TERMS.margin * PRICE
    cost = discount + contacts * TERMS.contact_cents + (TERMS.return_cents if is_returned else 0)
    return round(margin - cost - (300 if kind == "spending" else 0))
