"""Which offers each place can ever show, and why the others cannot: what a manager checks before a send.

For each candidate of each place a situation is looked for in which the decision gives it that place, with a model or
without, in any arm. Where there is one, it is told in words. *Never* is told where none can be, whatever was shown
before and whatever is drawn; with the reason: withdrawn, over, contradictory, or always behind another. All else is not
told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from campaigns.conditions import DECIDED, HUMAN, LANE, MACHINE, TIME, TROUBLED, Conditions, Key, Variable
from campaigns.outlook import Outlook
from campaigns.situations import KEYS_A_STEP, Situation, Situations, Steps, Truths
from campaigns.turns import Pair, TooMany, Turns, kept, ways
from render.plan import Live, Offer, Plan
from signals.rulewords import phrase

MAX_STEPS: Final = 5_000
"""Situations looked at for one candidate at a time; one that needs more is told as not decided."""
PAGE_STEPS: Final = 100_000
"""Situations looked at for all candidates, who have equal parts of them."""
CONTRADICTORY: Final = "its conditions contradict each other"
IN_NO_ARM: Final = "no version of the campaign has it here"


@dataclass(frozen=True)
class Variant:
    """A candidate of a place. `reachable` None: not decided within bounds. `when` is a situation that shows it, plain
    values left out; `why` says what keeps it from ever being shown."""

    slot: int
    offer: int
    reachable: bool | None
    when: tuple[tuple[Variable, Any], ...] = ()
    why: str = ""


def variants(plan: Plan, live: Live, now_ms: int) -> list[Variant]:
    """Every candidate and default of every place, in the plan's order. Pure; `now_ms` is Unix ms."""
    situations = Situations(Conditions(plan, live, now_ms))
    arms = {arm.slots: arm for arm in plan.by_arm or (plan,)}
    steps = Steps(PAGE_STEPS)
    told: list[dict[Pair, Variant]] = []
    for done, arm in enumerate(arms.values()):
        with steps.share(len(arms) - done, PAGE_STEPS) as part:
            told.append(_Search(arm, situations, part).variants(live, now_ms))
    found = []
    for slot in plan.slots:
        for number in dict.fromkeys((*slot.offers, slot.default)):
            each = [arm[slot.index, number] for arm in told if (slot.index, number) in arm]
            found.append(_of_arms(each) or Variant(slot.index, number, False, why=IN_NO_ARM))
    return found


def _of_arms(each: list[Variant]) -> Variant | None:
    """What is to be said of a candidate of several arms: that one shows it, else that one might, else why none does."""
    order = (True, None, False)
    return min(each, key=lambda one: order.index(one.reachable), default=None)


@dataclass(frozen=True)
class Shown:
    """A situation and a whole decision in it: place -> offer."""

    known: Situation
    given: dict[int, int]


class _Search:
    """What the places of one arm can show.

    First a situation is looked for in which nothing was shown before. Then it is asked of those without one whether
    what was shown before, and is held, or what is drawn might make way for them: at first, of what was found to be
    shown alone. Whoever it might make way for may itself have been shown before others, so they are asked again, until
    nothing changes; those that are left can be shown first by none of themselves, and so never.
    """

    def __init__(self, plan: Plan, situations: Situations, steps: Steps) -> None:
        self._plan = plan
        self._situations = situations
        self._steps = steps
        self._turns = [Turns(plan, way) for way in ways(plan)]
        self._kept = kept(plan)
        # An outlook looks at all places and offers before the first situation is.
        self._weight = 1 + sum(len(slot.offers) for slot in plan.slots) // KEYS_A_STEP
        self._has_service = any(offer.kind == "service" and not offer.mandatory for offer in plan.offers)

    def variants(self, live: Live, now_ms: int) -> dict[Pair, Variant]:
        """What is to be said of each candidate."""
        found: dict[Pair, Variant] = {}
        waiting: list[Pair] = []
        for slot in self._plan.slots:
            found[slot.index, slot.default] = Variant(slot.index, slot.default, True)
            for number in slot.offers:
                if number == slot.default:
                    continue
                if why := _plainly(self._plan, self._plan.offer_by_id[number], live, now_ms):
                    found[slot.index, number] = Variant(slot.index, number, False, why=why)
                else:
                    waiting.append((slot.index, number))
        closed = self._add_shown_alone(found, waiting)
        unsure = [pair for pair in waiting if pair not in found and pair not in closed]
        held = {pair for pair in self._kept if pair in unsure or (pair in found and found[pair].reachable)}
        never = self._never(closed, held)
        for pair in never:
            found[pair] = Variant(*pair, False, why=self._blocked(*pair))
        self._add_later(found, [pair for pair in (*closed, *unsure) if pair not in never])
        return {pair: found.get(pair, Variant(*pair, None)) for pair in (*found, *waiting)}

    def _add_shown_alone(self, found: dict[Pair, Variant], waiting: list[Pair]) -> list[Pair]:
        """Add what can be said without looking at what was shown before. Of those that are returned it is known that
        nothing shows them then."""
        closed: list[Pair] = []
        for _ in range(2):
            unsure: list[Pair] = []
            for done, pair in enumerate(waiting):
                with self._steps.share(2 * (len(waiting) - done), MAX_STEPS) as steps:
                    variant = self._variant(pair, steps)
                if variant is None and steps.is_spent:
                    unsure.append(pair)
                elif variant is None:
                    closed.append(pair)
                else:
                    found[pair] = variant
            waiting = unsure
        return closed

    def _variant(self, pair: Pair, steps: Steps) -> Variant | None:
        """What is to be said of a candidate without looking at what was shown before."""
        if not self._situations.can_be((pair[1], DECIDED), steps):
            return None if steps.is_spent else Variant(*pair, False, why=CONTRADICTORY)
        known = self._shown(pair, steps)
        return None if known is None else self._told(pair, known)

    def _told(self, pair: Pair, known: Situation, after: Pair | None = None) -> Variant:
        plain = self._situations.values
        told = [
            (name, value)
            for name, value in known.items()
            if value != plain[name][0] or (name[0] == "feature" and value is not None)
        ]
        if after is not None:
            told.append((("before", *after), True))
        return Variant(*pair, True, tuple(told))

    def _shown(self, pair: Pair, steps: Steps) -> Situation | None:
        """A situation in which the place shows the offer, and nothing was shown before: the plainest, but where that
        takes long, and a model decides, one in which some others may be shown that can take the places before it."""
        for turns in self._turns:
            steps.left -= self._weight
            if steps.is_spent:
                return None
            outlook = Outlook(turns, *pair)
            helpful = outlook.helpers() if pair[0] in turns.valued else []
            for among, helpers in ((3, []), (2, helpful), (1, [])) if helpful else ((1, helpful),):
                with steps.share(among, MAX_STEPS) as part:
                    known = self._shown_with(turns, outlook, pair, helpers, part)
                if known is not None:
                    return known
                if not helpers and not part.is_spent:
                    break
        return None

    def _shown_with(
        self, turns: Turns, outlook: Outlook, pair: Pair, helpers: list[int], steps: Steps
    ) -> Situation | None:
        wanted = [*self._wanted(turns, pair[1]), *helpers]
        is_whole = True
        for known, truths in self._situations.solutions(
            wanted, self._keys(turns.relevant(*pair)), steps, outlook.comes
        ):
            try:
                if turns.is_told and (outlook.comes(truths) or turns.given(*pair, truths, {}, steps) is not None):
                    return known
            except TooMany:
                is_whole = False
        if not is_whole:
            steps.left = 0
        return None

    def _given(
        self, turns: Turns, pair: Pair, truths: Truths, last: Mapping[int, int], steps: Steps
    ) -> dict[int, int] | None:
        try:
            return turns.given(*pair, truths, last, steps) if turns.is_told else None
        except TooMany:
            return None

    def _solutions(
        self, turns: Turns, pair: Pair, keys: list[Key], held: Collection[Pair], steps: Steps, *also: Key
    ) -> Iterator[tuple[Situation, Truths]]:
        """Situations in which the place may show the offer, with whatever of `held` was shown last."""
        steps.left -= self._weight
        if steps.is_spent:
            return iter(())
        outlook = Outlook(turns, *pair, held)
        wanted = [*self._wanted(turns, pair[1]), *also]
        return self._situations.solutions(wanted, keys, steps, lambda truths: outlook.may_show(truths) and None)

    def _wanted(self, turns: Turns, wanted: int) -> list[Key]:
        return [wanted, DECIDED, *([turns.way.needs] if turns.way.needs is not None else ())]

    def _keys(self, offers: Iterable[int]) -> list[Key]:
        return [*([TROUBLED] if self._has_service else ()), *offers]

    def _never(self, closed: list[Pair], held: set[Pair]) -> list[Pair]:
        """Those of `closed` that nothing that may be held, nor anything drawn, can make way for."""
        held = set(held)
        waiting = list(closed)
        proven: dict[Pair, bool] = {}
        while True:
            opened = []
            for done, pair in enumerate(waiting):
                if proven.get(pair):
                    continue
                with self._steps.share(len(waiting) - done, MAX_STEPS) as steps:
                    proven[pair] = self._is_never(pair, held, steps)
                if not proven[pair]:
                    opened.append(pair)
            if not opened:
                return waiting
            waiting = [pair for pair in waiting if pair not in opened]
            if fresh := {pair for pair in opened if pair in self._kept}:
                held |= fresh
                proven.clear()

    def _is_never(self, pair: Pair, held: Collection[Pair], steps: Steps) -> bool:
        """Whether nothing of `held`, nor anything drawn, makes way for a candidate that is not shown alone."""
        slot, wanted = pair
        for turns in self._turns:
            entangled = turns.entangled(slot, wanted)
            if turns.is_exact and not any(one != slot and number in entangled for one, number in held):
                continue
            keys = self._keys([*turns.relevant(slot, wanted), *entangled])
            for _, truths in self._solutions(turns, pair, keys, held, steps):
                try:
                    if not turns.is_told or turns.may_give(slot, wanted, truths, held, steps):
                        return False
                except TooMany:
                    return False
            if steps.is_spent:
                return False
        return True

    def _add_later(self, found: dict[Pair, Variant], waiting: list[Pair]) -> None:
        """Add what is shown at a next open, since something else is held that was shown before."""
        shown: dict[Pair, list[Shown]] = {}
        sources = [pair for pair in self._kept if pair in found and found[pair].reachable]
        while True:
            fresh = []
            for done, pair in enumerate(waiting):
                with self._steps.share(len(waiting) - done, MAX_STEPS) as steps:
                    for source in self._helpful(pair, sources):
                        if source not in shown:
                            shown[source] = list(self._decisions(source, steps))
                        later = next(
                            (one for before in shown[source] if (one := self._later(pair, before, steps))), None
                        )
                        if later is not None:
                            found[pair] = self._told(pair, later.known, source)
                            shown[pair] = [later] if self._may_precede(later) else []
                            fresh.append(pair)
                            break
            if not fresh:
                return
            waiting = [pair for pair in waiting if pair not in fresh]
            sources = [pair for pair in fresh if pair in self._kept]

    def _helpful(self, pair: Pair, sources: list[Pair]) -> Iterator[Pair]:
        """Those that, held, may make way for a candidate: they have a place before its own, or else went before it."""
        slot, wanted = pair
        ahead = {number for turns in self._turns for number in turns.ahead(slot, wanted)}
        before = self._turns[0].slots_of[wanted]
        for index, number in sources:
            if index != slot and number != wanted and (index in before or number in ahead):
                yield index, number

    def _decisions(self, pair: Pair, steps: Steps) -> Iterator[Shown]:
        """Whole decisions that show an offer in a place, one of each way."""
        slot, wanted = pair
        for turns in self._turns:
            keys = self._keys(turns.entangled(slot, wanted))
            found = self._solutions(turns, pair, keys, (), steps)
            for known, truths in found:
                given = self._given(turns, pair, truths, {}, steps)
                if given is not None and self._may_precede(shown := Shown(known, given)):
                    yield shown
                    break

    def _may_precede(self, shown: Shown) -> bool:
        """Whether a decision changes nothing of what may be shown after it: no offer of it is shown only so often."""
        return not any(self._plan.offer_by_id[number].is_limited for number in shown.given.values())

    def _later(self, pair: Pair, before: Shown, steps: Steps) -> Shown | None:
        """A decision that shows an offer in a place at an open that follows another, of the same kind of fetch."""
        slot, wanted = pair
        held = before.given.items()
        lane = MACHINE if before.known.get(LANE) == "machine" else HUMAN
        for turns in self._turns:
            keys = self._keys(turns.entangled(slot, wanted))
            for known, truths in self._solutions(turns, pair, keys, held, steps, lane):
                if TIME in known and known[TIME] < before.known.get(TIME, known[TIME]):
                    continue
                given = self._given(turns, pair, truths, before.given, steps)
                if given is not None:
                    return Shown(known, given)
        return None

    def _blocked(self, slot: int, wanted: int) -> str:
        """Who always goes first, if one offer alone does."""
        each = [turns.ahead(slot, wanted) for turns in self._turns]
        above = [number for number in each[0] if all(number in others for others in each)]
        if not above:
            return "another place always shows it first"
        for number in above:
            with self._steps.share(len(above), MAX_STEPS) as steps:
                if self._situations.always(number, steps):
                    return f"{self._plan.offer_by_id[number].name} may always be shown and goes first"
        return "others always go first here"


def _plainly(plan: Plan, offer: Offer, live: Live, now_ms: int) -> str:
    """What keeps an offer off without any looking; "" if nothing does."""
    if plan.tracking == "none":
        return "nobody is followed at this tracking level, so the default is shown"
    if plan.tracking == "anonymous" and offer.is_limited:
        return "it may be shown only so often, and showings are not counted at this tracking level"
    if live.state != "live":
        return "the campaign is switched off" if live.state == "killed" else "the campaign has ended"
    if offer.id in live.withdrawn:
        return "it is withdrawn"
    if offer.ends_ms is not None and offer.ends_ms <= now_ms:
        return "its time is over"
    return ""


def words(plan: Plan, variable: Variable, value: Any) -> str:
    """One circumstance of a situation, for people. Instants are in UTC; pages know the reader's zone and tell it."""
    names: Mapping[int, str] = plan.category_words
    match variable:
        case ("time",):
            return f"from {datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        case ("complaint",):
            return "while a complaint is open"
        case ("flagged",):
            return "for people whom the profit guard flags"
        case ("lane",):
            return "when a machine fetches it" if value == "machine" else "when a machine may be fetching it"
        case ("bought", int(category)):
            return f"after a purchase of {names.get(category, category)}"
        case ("unwanted", "category", int(category)):
            return f"if {names.get(category, category)} is not for them"
        case ("unwanted", _, product) | ("owned", product, _):
            return f"if they own or do not want {product}"
        case ("fresh", product):
            return f"while the feed of {product} is old"
        case ("gone", product):
            return f"once {product} is no longer in the catalogue"
        case ("stock", product):
            return f"while {product} is out of stock"
        case ("shown", int(number)):
            return f"while {plan.offer_by_id[number].name} has no product to show"
        case ("suited", int(number)):
            return f"while it is not the occasion for {plan.offer_by_id[number].name}"
        case ("used up", int(number)):
            return f"once {plan.offer_by_id[number].name} was shown as often as it may be"
        case ("resting", int(number)):
            return f"while {plan.offer_by_id[number].name} rests"
        case ("group resting", group, *_):
            return f"while offers of the group {group} rest"
        case ("before", int(slot), int(number)):
            return f"after {plan.offer_by_id[number].name} was shown in {plan.slot_by_index[slot].name}"
        case ("consent", purpose):
            return f"without consent to {purpose}"
        case ("segment", number):
            return f"for people in segment {number}"
        case ("feature", str(name), category, days, of, _):
            said = {"category": category, "within_days": days, "name": of}
            asked = {"field": name} | {key: part for key, part in said.items() if part is not None}
            compared = {"op": "missing"} if value is None else {"op": "=", "value": value}
            return f"if {phrase(asked | compared, {str(number): word for number, word in names.items()})}"
        case _:
            return ""
