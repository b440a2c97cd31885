"""Does the drift alarm see what moved? Complete Journey with a model frozen at day 200, looked at every week after.

Each week a thousand households open a mail of twenty offers, those of the categories whose coupons were used most. The
model knows what it knew on day 200, its tables too, as an artefact does. It is measured as a live model is: features
and scores of a week beside those of its first week, what it showed in four weeks beside what came of that, and what was
bought of each category in the last closed week beside the four before.

Planted are doublings from one day on: of every order, told once more the day after; of how often what is shown comes
true; of the purchases of one category. The holidays are the year's own. The weeks before them are placebos, and an
alarm in those is false; later ones are compared with weeks that hold a holiday.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import structs

from base.errors import InvalidInput
from campaigns import drift
from campaigns.drift import Drift, Told, Turn
from signals.candidates import DEFINITIONS, MODEL_FEATURES, candidate_matrix
from signals.foldevent import FoldEvent
from workers import calibration, fitting
from workers.drifting import MOST, watched
from workers.evaluation_sets.findings import Finding, least, most, reported
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.retail import DAY_MS, Retail, day_of, moment

WEEK: Final = 7
OFFERS: Final = 20
FREEZE: Final = 200
TRAIN, CALIBRATE = range(95, 172, WEEK), range(172, 193, WEEK)
"""First days of the weeks that the model learns from; their windows close by the day it is frozen."""
LIVE: Final = range(FREEZE, 355, WEEK)
PLANTED: Final = 249
"""The day from which on doublings are planted: the eighth week of the model."""
TOLD_DAYS, BACK_DAYS = 9, 28
"""What was shown is judged when its window has closed and late orders have come, over four weeks."""
HOLIDAYS: Final = {"Thanksgiving": 326, "Christmas": 358}
BEFORE: Final = 6
"""People shop for a holiday in the days before it."""

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Opens:
    """Opens in order of time with all offers: features (opens, offers, columns), and whether each comes true."""

    days: Whole
    features: Matrix
    outcomes: Array

    def within(self, begin: int, end: int) -> Opens:
        """Those of days from `begin` to below `end`."""
        chosen = (self.days >= begin) & (self.days < end)
        return Opens(self.days[chosen], self.features[chosen], self.outcomes[chosen])

    @property
    def rows(self) -> Matrix:
        """A row for each candidate."""
        return self.features.reshape(-1, len(MODEL_FEATURES))


@dataclass(frozen=True)
class Frozen:
    """A model as it was when it went live: its trees, its table, and the features that are watched."""

    booster: Any
    table: tuple[tuple[float, ...], tuple[float, ...]]
    watched: tuple[str, ...]

    def says(self, opens: Opens) -> Array:
        """Probabilities, a row an open."""
        said = calibration.apply(*self.table, fitting.scores(self.booster, opens.rows))
        return said.reshape(len(opens.days), -1)


def judged(data: Path) -> list[Finding]:
    """The alarm in placebo weeks, in holiday weeks, and after doublings were planted."""
    retail = Retail.read(data)
    past = Past(retail)
    offers = _offers(past)
    before, after = _opens(past, offers, (*TRAIN, *CALIBRATE)), _opens(past, offers, LIVE)
    if not len(before.days) or not len(after.days):
        raise InvalidInput("data", "holds no orders before the day the model is frozen, or none after it")
    model = frozen(before)
    plain = weeks(model, after)
    touched = {name: [start for start in plain if _judges(start, day)] for name, day in HOLIDAYS.items()}
    first = min(min(starts) for starts in touched.values() if starts)
    placebo = [found for start, found in plain.items() if start < first]
    question = f"drift of a model frozen at day {FREEZE}"
    findings = [
        most(question, f"alarms in {len(placebo)} placebo weeks", float(_alarms(placebo)), 0.0),
        reported(question, f"largest PSI in them (alarm above {drift.LIMIT:g})", max(one.largest for one in placebo)),
        reported(question, f"largest gap in them (alarm above {drift.GAP:g})", max(one.gap for one in placebo)),
    ]
    for name, starts in touched.items():
        seen = [plain[start] for start in starts]
        findings.append(least(question, f"alarms in {len(seen)} weeks that judge {name}", float(_alarms(seen)), 1.0))
        findings.append(reported(question, f"largest gap at {name}", max(one.gap for one in seen)))
    planted = doubled(retail)
    twice = _opens(Past(planted), offers, [start for start in LIVE if start >= PLANTED], frozen_with=past)
    both = _spliced(after, twice)
    findings += _planted("every order told twice", weeks(model, both))
    findings += _planted("twice as much of what is shown comes true", weeks(model, after, shown_twice=True))
    return [*findings, _single(model, after)]


def frozen(before: Opens) -> Frozen:
    """A model learnt from the opens before the day it goes live."""
    train, calibrate = before.within(TRAIN[0], CALIBRATE[0]), before.within(CALIBRATE[0], FREEZE)
    booster = fitting.fitted(train.rows, train.outcomes.ravel())
    table = calibration.fit(fitting.scores(booster, calibrate.rows), calibrate.outcomes.ravel())
    return Frozen(booster, table, tuple(watched(fitting.importance(booster))))


def weeks(model: Frozen, opens: Opens, *, shown_twice: bool = False) -> dict[int, Drift]:
    """What is found at the end of each week after the first two, by its first day, as of a live model.

    `shown_twice`: from the planted day on, what is shown comes true twice as often.
    """
    said = model.says(opens)
    rows = np.arange(len(opens.days))
    shown = said.argmax(axis=1)
    promised, taken = said[rows, shown], opens.outcomes[rows, shown].copy()
    if shown_twice:
        _double(taken, opens.days >= PLANTED)
    first = opens.within(FREEZE, FREEZE + WEEK)
    score = drift.spread(said[opens.days < FREEZE + WEEK].ravel().tolist())
    spreads = {name: drift.spread(_column(first, name)) for name in model.watched}
    found = {}
    for start in LIVE[2:]:
        now, week = start + WEEK, opens.within(start, start + WEEK)
        if not len(week.days):
            continue
        moved = [(name, drift.psi(spreads[name], _column(week, name))) for name in model.watched]
        told = (opens.days + TOLD_DAYS <= now) & (opens.days + TOLD_DAYS + BACK_DAYS > now)
        kept = drift.promise(promised[told].tolist(), taken[told].tolist())
        scores = said[(opens.days >= start) & (opens.days < now)].ravel().tolist()
        turned = _turned(opens, said, now)
        found[start] = drift.found(drift.psi(score, scores), moved, kept, DEFINITIONS, turned)
    return found


def _turned(opens: Opens, said: Array, now: int) -> tuple[Turn, ...]:
    closed = now - TOLD_DAYS
    return drift.turns(
        _told(opens, said, closed - WEEK - BACK_DAYS, closed - WEEK), _told(opens, said, closed - WEEK, closed)
    )


def _told(opens: Opens, said: Array, begin: int, end: int) -> dict[str, Told]:
    """What was said of each offer within some days, and how often it was bought; nothing if the model was not live."""
    if begin < FREEZE:
        return {}
    chosen = (opens.days >= begin) & (opens.days < end)
    sums = zip(said[chosen].sum(axis=0).tolist(), opens.outcomes[chosen].sum(axis=0).tolist(), strict=True)
    return {f"offer {number}": Told(*pair) for number, pair in enumerate(sums)}


def _judges(start: int, holiday: int) -> bool:
    """Whether the closed week that is judged at the end of a week holds days on which people shop for a holiday."""
    closed = start + WEEK - TOLD_DAYS
    return closed - WEEK <= holiday and closed + WEEK > holiday - BEFORE


def _alarms(found: Sequence[Drift]) -> int:
    return sum(one.is_alarm for one in found)


def _single(model: Frozen, after: Opens) -> Finding:
    """In how many offers a doubling of its purchases alone raises an alarm within the weeks before the holidays."""
    starts = [start for start in LIVE if start >= PLANTED and not any(_judges(start, day) for day in HOLIDAYS.values())]
    before = [start for start in starts if start < min(HOLIDAYS.values()) - BEFORE]
    said, seen = model.says(after), 0
    for offer in range(OFFERS):
        outcomes = after.outcomes.copy()
        _double(outcomes[:, offer], after.days >= PLANTED)
        planted = replace(after, outcomes=outcomes)
        turned = [turn for start in before for turn in _turned(planted, said, start + WEEK)]
        seen += any(turn.gap > drift.GAP for turn in turned)
    question = f"planted from day {PLANTED} on: the purchases of one category doubled, each of {OFFERS} in turn"
    return reported(question, "alarms", float(seen))


def doubled(retail: Retail) -> Retail:
    """The year with every order from the planted day on told once more, a day later."""
    orders = {
        household: tuple(sorted(_twice(told), key=lambda event: event.key)) for household, told in retail.orders.items()
    }
    return replace(retail, orders=orders)


def _twice(orders: Sequence[FoldEvent]) -> Iterator[FoldEvent]:
    for order in orders:
        yield order
        if day_of(order.time_ms) >= PLANTED:
            again = f"{order.order_id}-again"
            yield structs.replace(order, time_ms=order.time_ms + DAY_MS, message_id=again, order_id=again)


def _double(taken: Array, planted: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    """Turn so many of what did not come true that twice as much did."""
    rate = float(taken[planted].mean())
    flips = np.random.default_rng(0).random(len(taken)) < rate / max(1 - rate, 1e-9)
    taken[planted & flips] = 1.0


def _planted(what: str, found: dict[int, Drift]) -> list[Finding]:
    question = f"planted from day {PLANTED} on: {what}"
    after = {start: one for start, one in found.items() if start >= PLANTED}
    alarmed = [start for start, one in after.items() if one.is_alarm]
    waited = float(alarmed[0] - PLANTED + WEEK) if alarmed else float("inf")
    largest = max(after.values(), key=lambda one: one.largest)
    return [
        most(question, "days until the alarm", waited, 42.0),
        reported(question, f"alarms in {len(after)} weeks", float(len(alarmed))),
        reported(question, f"largest PSI, {largest.features[0][0] if largest.features else 'scores'}", largest.largest),
    ]


def _column(opens: Opens, name: str) -> list[float]:
    column: list[float] = opens.rows[:, MODEL_FEATURES.index(name)].tolist()
    return column


def _spliced(plain: Opens, planted: Opens) -> Opens:
    """The plain opens, with the planted ones from their day on."""
    early = plain.within(FREEZE, PLANTED)
    return Opens(
        np.concatenate([early.days, planted.days]),
        np.concatenate([early.features, planted.features]),
        np.concatenate([early.outcomes, planted.outcomes]),
    )


def _offers(past: Past) -> tuple[int, ...]:
    used = Counter(one.category for one in past.retail.redemptions if one.category in past.place)
    offers = tuple(category for category, _ in sorted(used.items(), key=lambda one: (-one[1], one[0]))[:OFFERS])
    if len(offers) < OFFERS:
        raise InvalidInput("data", f"holds used coupons of {len(offers)} categories; {OFFERS} are wanted")
    return offers


def _opens(past: Past, offers: Sequence[int], starts: Sequence[int], frozen_with: Past | None = None) -> Opens:
    """In each week about a thousand households, each at a day of its own; the same whatever they bought.

    `frozen_with`: whose tables of the frozen day the candidates are seen with.
    """
    tables = frozen_with or past
    share = min(1.0, MOST / max(1, len(past.retail.orders)))
    places = [past.place[category] for category in offers]
    told = []
    for household, orders in past.retail.orders.items():
        walk = Walk(orders)
        for start in starts:
            drawn, day = np.random.default_rng([household, start]).random(2)
            if drawn >= share:
                continue
            at = start + int(day * WEEK)
            state = walk.at(at)
            if not state.orders:
                continue
            seen = [tables.context(min(start, FREEZE), category) for category in offers]
            bought = past.orders(household, at, at + WEEK) > 0
            told.append((at, candidate_matrix(state, seen, moment(at)), bought[places]))
    told.sort(key=lambda one: one[0])
    width = len(MODEL_FEATURES)
    return Opens(
        np.array([one[0] for one in told], dtype=np.int64),
        np.stack([one[1] for one in told]) if told else np.zeros((0, len(offers), width), dtype=np.float32),
        np.stack([one[2] for one in told]).astype(np.float64) if told else np.zeros((0, len(offers))),
    )
