"""What a decision is made from, and what is kept between opens: `used` and `shown`.

`Used` lives at `{profile}:used` over all deliveries, `Shown` at `{profile}:shown:<delivery>`; both are MessagePack.
They are values: the open computes new ones with the functions here, and one script writes them if nobody wrote before.
All times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from render.plan import MAX_PERIOD_SHOWS, Live
from render.relations import Relations
from signals.productfacts import ProductFacts
from signals.state import ProfileState

if TYPE_CHECKING:
    # At run time this module stays free of LightGBM: whoever only looks at decisions need not load it.
    from render.model import Model

LaneName = Literal["live", "test", "machine"]
"""live: person, proxy, undecided. machine: prefetch, scanner. test: test and staff: the live decision, using no cap."""
Answer = Literal["taken", "refused"]
ANSWERS: Final[tuple[Answer, ...]] = ("taken", "refused")
FetchClass = Literal["person", "proxy", "undecided", "prefetch", "scanner", "test", "staff"]
LANE_OF: Final[Mapping[str, LaneName]] = {
    "person": "live",
    "proxy": "live",
    "undecided": "live",
    "test": "test",
    "staff": "test",
    "prefetch": "machine",
    "scanner": "machine",
}
DAY_MS: Final = 86_400_000
MAX_SHOWN: Final = 8
"""Sights kept per slot: enough to see that two decisions, or an undecided fetch, came before a click."""


class OfferUse(Struct, frozen=True, array_like=True):
    """How often one offer (or group, or stage) was shown to this person. recent: latest show times, oldest first."""

    count: int = 0
    last_ms: int = 0
    recent: tuple[int, ...] = ()

    def within(self, from_ms: int) -> int:
        """Showings at or after an instant, as far as the kept times reach."""
        return sum(1 for at in self.recent if at >= from_ms)

    def after_show(self, at_ms: int) -> OfferUse:
        """This use with one more showing."""
        return OfferUse(self.count + 1, max(self.last_ms, at_ms), _latest(*self.recent, at_ms))

    def after_release(self, at_ms: int) -> OfferUse:
        """This use without the showing at `at_ms`; unchanged if there was none."""
        if at_ms not in self.recent:
            return self
        kept = list(self.recent)
        kept.remove(at_ms)
        return OfferUse(max(0, self.count - 1), kept[-1] if kept else 0, tuple(kept))

    def with_others(self, other: OfferUse) -> OfferUse:
        """This use and another added up."""
        return OfferUse(
            self.count + other.count, max(self.last_ms, other.last_ms), _latest(*self.recent, *other.recent)
        )


NO_USE: Final = OfferUse()


class Answers(Struct, frozen=True, array_like=True):
    """When a person took an offer (clicked, or said yes in a call) and when they said no, oldest first."""

    taken: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    def after(self, answer: Answer, at_ms: int) -> Answers:
        """These with one more; the latest MAX_PERIOD_SHOWS of each kind are kept."""
        if answer == "taken":
            return Answers(_latest(*self.taken, at_ms), self.refused)
        return Answers(self.taken, _latest(*self.refused, at_ms))

    def with_others(self, other: Answers) -> Answers:
        """These and others."""
        return Answers(_latest(*self.taken, *other.taken), _latest(*self.refused, *other.refused))


NO_ANSWERS: Final = Answers()


class Used(Struct, frozen=True, array_like=True):
    """Per offer, group and stage: counts and last shown, over all deliveries of one profile.

    answers, group_answers: what the person did about offers, and about those of a group. others: all that counts of the
    other profiles that are the same person by a merge, added up; an open leaves it as it is, a recorder writes it
    (workers/counts.py). What is asked of a person is `offer`, `group`, `answers_to` and `group_answers_to`, which are
    over all their profiles.
    """

    offers: dict[int, OfferUse] = {}
    groups: dict[str, OfferUse] = {}
    stages: dict[str, OfferUse] = {}
    answers: dict[int, Answers] = {}
    group_answers: dict[str, Answers] = {}
    others: Used | None = None

    def offer(self, offer: int) -> OfferUse:
        """The use of an offer; all zero if it was never shown."""
        own = self.offers.get(offer, NO_USE)
        return own if self.others is None else own.with_others(self.others.offer(offer))

    def group(self, group: str) -> OfferUse:
        """The use of a group of offers."""
        own = self.groups.get(group, NO_USE)
        return own if self.others is None else own.with_others(self.others.group(group))

    def answers_to(self, offer: int) -> Answers:
        """What the person did about an offer."""
        own = self.answers.get(offer, NO_ANSWERS)
        return own if self.others is None else own.with_others(self.others.answers_to(offer))

    def group_answers_to(self, group: str) -> Answers:
        """What the person did about the offers of a group."""
        own = self.group_answers.get(group, NO_ANSWERS)
        return own if self.others is None else own.with_others(self.others.group_answers_to(group))

    def beside(self, others: Iterable[Used]) -> Used:
        """The profile's own use, beside that of the other profiles of the same person; of these, too, only their own.

        Equal however the others are ordered.
        """
        total = Used()
        for other in others:
            total = Used(
                _added(total.offers, other.offers), _added(total.groups, other.groups),
                _added(total.stages, other.stages), _added(total.answers, other.answers),
                _added(total.group_answers, other.group_answers),
            )  # fmt: skip
        return msgspec.structs.replace(self, others=None if total == Used() else total)

    def reserved(self, offers: Iterable[tuple[int, str | None]], at_ms: int) -> Used:
        """This after each (offer, group) was shown once at `at_ms`. The caller reserves an open once."""
        by_offer, by_group = dict(self.offers), dict(self.groups)
        for offer, group in offers:
            by_offer[offer] = by_offer.get(offer, NO_USE).after_show(at_ms)
            if group is not None:
                by_group[group] = by_group.get(group, NO_USE).after_show(at_ms)
        return self._with_shows(by_offer, by_group)

    def answered(self, offer: int, group: str | None, answer: Answer, at_ms: int) -> Used:
        """This after the person took the offer or said no to it at `at_ms`."""
        answers = self.answers | {offer: self.answers.get(offer, NO_ANSWERS).after(answer, at_ms)}
        groups = self.group_answers
        if group is not None:
            groups = groups | {group: groups.get(group, NO_ANSWERS).after(answer, at_ms)}
        return msgspec.structs.replace(
            self, answers=dict(sorted(answers.items())), group_answers=dict(sorted(groups.items()))
        )

    def released(self, offers: Iterable[tuple[int, str | None]], at_ms: int) -> Used:
        """This without the showings of each (offer, group) at `at_ms`."""
        by_offer, by_group = dict(self.offers), dict(self.groups)
        for offer, group in offers:
            if offer in by_offer:
                by_offer[offer] = by_offer[offer].after_release(at_ms)
            if group in by_group:
                by_group[group] = by_group[group].after_release(at_ms)
        return self._with_shows(by_offer, by_group)

    def _with_shows(self, offers: dict[int, OfferUse], groups: dict[str, OfferUse]) -> Used:
        return msgspec.structs.replace(self, offers=dict(sorted(offers.items())), groups=dict(sorted(groups.items())))


def _latest(*moments: int) -> tuple[int, ...]:
    return tuple(sorted(moments))[-MAX_PERIOD_SHOWS:]


_Name = TypeVar("_Name", int, str)
_Count = TypeVar("_Count", OfferUse, Answers)


def _added(one: Mapping[_Name, _Count], other: Mapping[_Name, _Count]) -> dict[_Name, _Count]:
    """Both added up, in the order of their names."""
    total = dict(one)
    for name, count in other.items():
        total[name] = total[name].with_others(count) if name in total else count
    return dict(sorted(total.items()))


class LastDecision(Struct, frozen=True, array_like=True):
    """What the delivery's lane was given last: slot index -> offer id, and the product of those that have one."""

    decision: str
    open_number: int
    at_ms: int
    offers: dict[int, int] = {}
    products: dict[int, str] = {}

    def product_of(self, offer: int) -> str | None:
        """The product that an offer showed; None where it showed none, or was not shown."""
        return next((self.products.get(slot) for slot, shown in self.offers.items() if shown == offer), None)


class LastShown(Struct, frozen=True, array_like=True):
    """One sight of a slot: which offer of which decision was fetched, when, by which class.

    `plan` is the hash of the plan it was decided by; empty for that of the lane's current open. `product` is the one
    that was picked for the offer, if one was.
    """

    offer: int
    decision: str
    at_ms: int
    fetch_class: FetchClass
    plan: str = ""
    product: str = ""


class Chosen(Struct, frozen=True, array_like=True):
    """What an open shows in one slot: enough to draw it again, to follow a click, and to check the hold.

    `product` is the product whose facts the fields were made from, `products` are those of a grid.
    """

    slot: int
    offer: int
    creative: int
    fields: dict[str, str | int] = {}
    product: str | None = None
    products: tuple[str, ...] = ()


class Lane(Struct, frozen=True, array_like=True):
    """One lane's current open, and what was seen of it. `open_number` 0: none began yet.

    served: pictures already served in this open, as `(slot, kind)`. shown: per slot, sights oldest first, at most
    MAX_SHOWN; the last is the last shown. plan and model are the hashes the decision was made with. refused: nothing
    but defaults might be shown, as of a campaign that was switched off. waits: the offers that a default stands for
    until their products can be had.
    """

    open_number: int = 0
    began_ms: int = 0
    state_version: int = 0
    decision: str = ""
    plan: str = ""
    model: str | None = None
    chosen: tuple[Chosen, ...] = ()
    served: tuple[tuple[int, str], ...] = ()
    shown: dict[int, tuple[LastShown, ...]] = {}
    refused: bool = False
    waits: tuple[int, ...] = ()

    @property
    def last(self) -> LastDecision | None:
        """The open as the next decision sees it; None before the first."""
        if not self.open_number:
            return None
        offers = {chosen.slot: chosen.offer for chosen in self.chosen}
        products = {chosen.slot: chosen.product for chosen in self.chosen if chosen.product is not None}
        return LastDecision(self.decision, self.open_number, self.began_ms, offers, products)

    def in_slot(self, slot: int) -> Chosen | None:
        """What the current open shows in a slot."""
        return next((chosen for chosen in self.chosen if chosen.slot == slot), None)

    def sights_under(self, plan: str) -> dict[int, tuple[LastShown, ...]]:
        """What was seen, as the next open keeps it, whose plan has this hash: sights of another plan name theirs."""
        if plan == self.plan:
            return self.shown
        return {
            slot: tuple(sight if sight.plan else msgspec.structs.replace(sight, plan=self.plan) for sight in sights)
            for slot, sights in self.shown.items()
        }

    def after_sight(self, slot: int, sight: LastShown) -> Lane:
        """This lane after a slot was fetched once more."""
        kept = (*self.shown.get(slot, ()), sight)[-MAX_SHOWN:]
        return msgspec.structs.replace(self, shown=dict(sorted({**self.shown, slot: kept}.items())))


NO_LANE: Final = Lane()


class Shown(Struct, frozen=True, array_like=True):
    """The opens of one delivery, a lane each."""

    live: Lane = NO_LANE
    machine: Lane = NO_LANE
    test: Lane = NO_LANE
    written_ms: int = 0

    def lane(self, name: LaneName) -> Lane:
        """The lane of that name."""
        if name == "live":
            return self.live
        return self.machine if name == "machine" else self.test

    def with_lane(self, name: LaneName, lane: Lane, now_ms: int) -> Shown:
        """This with one lane replaced, written at `now_ms`."""
        return Shown(
            live=lane if name == "live" else self.live,
            machine=lane if name == "machine" else self.machine,
            test=lane if name == "test" else self.test,
            written_ms=now_ms,
        )


class Facts(Struct, frozen=True, kw_only=True):
    """Everything `decide` may look at, read before it runs. Never stored as such: a record keeps the bytes it came of.

    state: None when the key was absent, that is lost. products: by id, those that were there. caps: balance left per
    offer with a total cap, those that were there (the hint; the reserve decides). model: None when the plan's model
    slots cannot be scored. last: this delivery's previous open in this lane. undecided: the fetch may be a machine.
    neutral: the person is in the content holdout and gets the defaults. refused: offers whose reservation was refused
    in this very open, so the second decision leaves them out. relations: what stored orders say of products and
    categories; None where nobody knows.
    """

    state: ProfileState | None
    sent_at_ms: int
    used: Used = Used()
    products: Mapping[str, ProductFacts] = {}
    caps: Mapping[int, int] = {}
    model: Model | None = None
    last: LastDecision | None = None
    lane: LaneName = "live"
    undecided: bool = False
    locale: str | None = None
    live: Live = Live()
    neutral: bool = False
    refused: frozenset[int] = frozenset()
    relations: Relations | None = None


def locale_of(state: ProfileState | None) -> str | None:
    """The locale a person is written to in: the trait `locale`; None leaves it to the plan."""
    locale = state.traits.get("locale") if state is not None else None
    return locale if isinstance(locale, str) and locale else None


# Not `order="deterministic"`: that refuses integer keys. The functions above keep their keys sorted instead.
encode_used: Final = msgspec.msgpack.Encoder().encode
"""The bytes of `Used`; equal values have equal bytes."""
encode_shown: Final = msgspec.msgpack.Encoder().encode
"""The bytes of `Shown`."""
encode_last: Final = msgspec.msgpack.Encoder().encode
"""The bytes of `LastDecision`."""
decode_used: Final = msgspec.msgpack.Decoder(Used).decode
"""Read `Used`. Raises msgspec.DecodeError or ValidationError, as do the next two."""
decode_shown: Final = msgspec.msgpack.Decoder(Shown).decode
decode_last: Final = msgspec.msgpack.Decoder(LastDecision).decode
