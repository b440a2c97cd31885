"""The matrix of what each place can show: every offer that some facts show is told, and no other."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from html import unescape
from math import prod
from typing import Any

import msgspec
import pytest

from campaigns.conditions import Conditions
from campaigns.reach import Variant, variants, words
from campaigns.views.matrix import when
from render.decide import decide
from render.facts import OfferUse, Used
from render.faults import validate
from render.plan import Live, Plan
from signals.stages import STAGES
from signals.state import Mark, ProfileState
from tests.campaigns.web import Web
from tests.render import shoe_shop as shop
from tests.render.shoe_shop import ATTIRE, NOON, NOON_MS, SENT_MS, SHOES

DAY = 86_400_000
TRAIT = {"field": "trait", "name": "tier", "op": "=", "value": "gold"}
COMPLAINT = {"field": "complaint.open", "op": "=", "value": True}
RULES: list[dict[str, Any]] = [
    TRAIT, COMPLAINT, {"not": TRAIT}, {"all": [TRAIT, {"not": TRAIT}]}, {"always": False},
    {"any": [COMPLAINT, TRAIT]}, {"field": "open.lane", "op": "=", "value": "machine"},
    {"all": [{"field": "notes.count", "op": ">", "value": 2}, {"field": "notes.count", "op": "<", "value": 3}]},
    {"field": "open.undecided", "op": "=", "value": True},
]  # fmt: skip
TWISTS: list[dict[str, Any]] = [
    {}, {"category": SHOES}, {"purpose_category": SHOES}, {"after_category": SHOES},
    {"purpose_category": SHOES, "after_category": SHOES}, {"after_category": ATTIRE},
    {"product": "tights-1", "needs_stock": True}, {"product": "tights-1", "shows_price": True},
    {"cap_person": 1}, {"cap_total": 0}, {"clock_bound": True}, {"mandatory": True},
    {"requires_consent": ("profiling",)}, {"ends_ms": NOON_MS}, {"ends_ms": NOON_MS + 10 * DAY},
    {"starts_ms": NOON_MS + 2 * DAY}, {"starts_ms": NOON_MS + 11 * DAY, "ends_ms": NOON_MS + 12 * DAY},
]  # fmt: skip
KINDS = ("replacement", "thank-you", "service", "neutral", "cross-sell")


def random_plan(seed: int) -> Plan:
    """Three to five candidates over one or two places, each with a twist and perhaps a rule."""
    chance = random.Random(seed)
    offers = []
    for number in range(1, chance.randint(3, 5) + 1):
        rule = {"rules": {chance.choice(("legal", "relevant", "beneficial")): chance.choice(RULES)}}
        content = chance.choice(TWISTS) | (rule if chance.random() < 0.4 else {})
        offers.append(shop.offer(number, chance.choice(KINDS), priority=chance.randint(0, 1), sticky=False, **content))
    base = shop.plan(slots=chance.randint(1, 2))
    numbers = [offer.id for offer in offers]
    slots = tuple(
        msgspec.structs.replace(slot, offers=tuple(chance.sample(numbers, chance.randint(1, len(numbers)))))
        for slot in base.slots
    )
    defaults = tuple(offer for offer in base.offers if offer.kind == "neutral")
    plan = Plan(
        **{name: getattr(base, name) for name in base.__struct_fields__}
        | {"slots": slots, "offers": (*offers, *defaults)}
    )
    assert validate(plan) == []
    return plan


def sides(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """What this plan can tell apart, and how each may be."""
    text = repr(plan.offers)
    capped = [offer.id for offer in plan.offers if offer.cap_person is not None]

    def asked(words: str, *values: Any) -> tuple[Any, ...]:
        return values if words in text else values[:1]

    instants = {NOON_MS}
    for offer in plan.offers:
        for at in (offer.starts_ms, offer.ends_ms):
            instants |= {at, (at or 0) - 7 * DAY, (at or 0) - 7 * DAY + 1} if at is not None else set()
    moments = sorted(at for at in instants if at is not None and at >= NOON_MS)
    return {
        "shoes": asked(f"_category={SHOES}", False, True),
        "attire": asked(f"_category={ATTIRE}", False, True),
        "complaint": (False, True),
        "lane": ("live", "undecided", "machine"),
        "tier": asked("'tier'", None, "gold", "silver"),
        "stock": asked("tights-1", 5, 0, "gone"),
        "fed": asked("tights-1", True, False),
        "profiling": asked("profiling", True, None),
        "unwanted": ((), *((f"category:{SHOES}",) for _ in asked(f"category={SHOES}", 1, 1)[1:])),
        "own": asked("tights-1", False, True),
        "dislike": asked("tights-1", False, True),
        "used": tuple(itertools.chain.from_iterable(itertools.combinations(capped, n) for n in range(len(capped) + 1))),
        "at": tuple(moments),
    }


@cache
def lived(*, shoes: bool, attire: bool, complaint: bool, profiling: bool) -> ProfileState:
    """The state of somebody to whom this happened."""
    after = NOON - timedelta(hours=2)
    events = [shop.bought(SHOES, after, order="a")] if shoes else []
    events += [shop.bought(ATTIRE, after, order="b")] if attire else []
    events += [shop.complained(after)] if complaint else []
    return shop.state(events, **({"profiling": True} if profiling else {}))


def everything(plan: Plan) -> Iterator[tuple[Any, datetime]]:
    """Facts of every kind that this plan can tell apart, each combination once, written out by hand."""
    told = sides(plan)
    for chosen in itertools.product(*told.values()):
        side = dict(zip(told, chosen, strict=True))
        now = datetime.fromtimestamp(side["at"] / 1000, UTC)
        state = lived(**{name: bool(side[name]) for name in ("shoes", "attire", "complaint", "profiling")})
        marks = [Mark(target, "not_for_me", 0) for target in side["unwanted"]]
        marks += [Mark("product:tights-1", "already_own", 0)] if side["own"] else []
        marks += [Mark("product:tights-1", "not_for_me", 0)] if side["dislike"] else []
        traits = {"tier": side["tier"]} if side["tier"] else {}
        fed = now if side["fed"] else now - timedelta(days=30)
        is_gone = side["stock"] == "gone"
        tights = msgspec.structs.replace(shop.product(0 if is_gone else side["stock"], fed=fed), gone=is_gone)
        yield (
            shop.facts(
                msgspec.structs.replace(state, marks=tuple(marks), traits=traits),
                products={"tights-1": tights},
                used=Used({number: OfferUse(1, SENT_MS, (SENT_MS,)) for number in side["used"]}),
                lane="machine" if side["lane"] == "machine" else "live",
                undecided=side["lane"] == "undecided",
                live=Live(plan="p"),
            ),
            now,
        )


def shown_by_force(plan: Plan) -> set[tuple[int, int]]:
    """Place and offer of everything that any of these facts shows."""
    found = {(slot.slot, slot.offer) for slot in decide(plan, shop.facts(None), NOON, 1).slots}
    for facts, now in everything(plan):
        found |= {(slot.slot, slot.offer) for slot in decide(plan, facts, now, 1).slots}
    return found


@pytest.mark.feature("CM-24")
@pytest.mark.parametrize("part", range(4))
def test_it_tells_exactly_what_some_facts_show(part: int) -> None:
    tried = unreachable = 0
    for seed in range(part, 400, 4):
        plan = random_plan(seed)
        if prod(map(len, sides(plan).values())) > 600:
            continue
        told = variants(plan, Live(plan="p"), NOON_MS)
        assert None not in {variant.reachable for variant in told}, seed
        assert {(one.slot, one.offer) for one in told if one.reachable} == shown_by_force(plan), seed
        assert all(one.why for one in told if not one.reachable)
        unreachable += sum(not one.reachable for one in told)
        tried += 1
    assert tried >= 10
    assert unreachable >= 5


def told(plan: Plan, live: Live | None = None) -> dict[int, Variant]:
    """What is said of each offer in the first place."""
    return {one.offer: one for one in variants(plan, live or Live(plan="p"), NOON_MS) if one.slot == 0}


def of_offers(*made: Any, mode: str = "rules") -> Plan:
    """A plan with one place whose candidates are these, in this order."""
    base = shop.plan(mode)
    slot = msgspec.structs.replace(base.slots[0], offers=tuple(offer.id for offer in made))
    return msgspec.structs.replace(base, slots=(slot,), offers=(*made, *base.offers[-2:]))


@pytest.mark.feature("CM-24")
def test_it_flags_what_can_never_be_shown_with_the_reason() -> None:
    always = shop.offer(1, "thank-you", name="Always there", priority=1)
    plan = of_offers(
        shop.offer(2, "thank-you", priority=2, rules={"legal": {"all": [TRAIT, {"not": TRAIT}]}}),
        shop.offer(3, "replacement", priority=2, ends_ms=NOON_MS),
        shop.offer(4, "thank-you", priority=2),
        shop.offer(5, "thank-you", priority=2, purpose_category=SHOES, after_category=SHOES),
        shop.offer(6, "thank-you", priority=2, rules={"beneficial": TRAIT}),
        always,
        shop.offer(7, "replacement"),
        shop.offer(8, "service"),
    )
    found = told(plan, Live(plan="p", withdrawn=(4,)))
    assert {number: one.why for number, one in found.items() if not one.reachable} == {
        2: "its conditions contradict each other",
        3: "its time is over",
        4: "it is withdrawn",
        5: "its conditions contradict each other",
        7: "Always there may always be shown and goes first",
    }
    assert found[1].when == ()
    assert [words(plan, *fact) for fact in found[6].when] == ["if tier is gold"]
    assert [words(plan, *fact) for fact in found[8].when] == ["while a complaint is open"]
    stage, due = ("feature", "lifecycle.stage", None, None, None, None), ("feature", "views.count", 2, None, None, None)
    assert words(plan, stage, "at_risk") == "if where they stand as a customer is at risk"
    assert words(plan, stage, None) == "if where they stand as a customer is not known"
    assert words(plan, due, 3) == f"if times they looked at {plan.category_words[2]} is 3"
    assert when(plan, found[6]) == "for example if tier is gold"
    assert when(plan, found[1]) == "to anybody"
    killed = told(plan, Live(plan="p", state="killed"))
    assert {one.why for one in killed.values() if not one.reachable} == {"the campaign is switched off"}
    assert killed[shop.DEFAULT].reachable


def relevant(*tests: dict[str, Any]) -> dict[str, Any]:
    return {"rules": {"relevant": {"all": list(tests)}}}


SIZE = {"field": "trait", "name": "size"}
COUNT = {"field": "purchases.count", "category": "shoes"}


@pytest.mark.parametrize(
    ("tests", "is_shown"),
    [
        ([COUNT | {"op": ">", "value": 0.5}, COUNT | {"op": "<", "value": 1.5}], True),
        ([COUNT | {"op": ">", "value": 0.4}, COUNT | {"op": "<", "value": 0.6}], False),
        ([COUNT | {"op": "missing"}], False),
        ([{"not": COUNT | {"op": ">=", "value": 0}}], False),
        ([{"field": "lifecycle.stage", "op": "in", "value": list(STAGES)}], True),
        ([{"field": "now.hour", "op": "=", "value": 25}], False),
        ([{"field": "now.hour", "op": "<=", "value": 40}], True),
        ([{"field": "now.weekday", "op": "in", "value": [0, 9]}], False),
        ([{"field": "now.weekday", "op": ">", "value": 6.5}], True),
        ([{"field": "open.number", "op": "<", "value": 1}], False),
        ([{"field": "intent", "name": "churn", "op": ">", "value": 1}], False),
        ([{"field": "purchases.due_ratio", "category": "shoes", "op": "<", "value": 0}], False),
        ([{"field": "score", "name": "ltv", "op": "<", "value": 0}], True),
        ([SIZE | {"op": "<", "value": 0}], True),
    ],
)
def test_it_tries_the_values_that_there_are(tests: list[dict[str, Any]], is_shown: bool) -> None:
    plan = of_offers(shop.offer(1, "service", **relevant(*tests)), shop.offer(2, "service", priority=-1))
    assert told(plan)[1].reachable is is_shown


def test_no_value_is_taken_for_another_of_its_kind() -> None:
    zero, no = (relevant(SIZE | {"op": "=", "value": value}) for value in (0, False))
    plan = of_offers(shop.offer(1, "service", **zero), shop.offer(2, "service", **no), shop.offer(3, "service"))
    assert [told(plan)[number].reachable for number in (1, 2, 3)] == [True, True, True]


def test_it_names_whom_an_offer_is_for_also_where_most_are_like_that() -> None:
    for test, expected in (
        ({"field": "orders.count", "op": "=", "value": 0}, "for example if orders in all is 0"),
        ({"field": "now.hour", "op": "<", "value": 1}, "for example if hour of their day is 0"),
        (
            {"field": "lifecycle.stage", "op": "=", "value": STAGES[0]},
            f"for example if where they stand as a customer is {STAGES[0]}",
        ),
    ):
        plan = of_offers(shop.offer(1, "service", **relevant(test)), shop.offer(2, "service", priority=-1))
        assert when(plan, told(plan)[1]) == expected


def test_nobody_is_at_no_stage_of_their_lifecycle() -> None:
    for stages, is_shown in ((STAGES, False), (STAGES[1:], True)):
        first = shop.offer(1, "service", **relevant({"field": "lifecycle.stage", "op": "in", "value": list(stages)}))
        plan = of_offers(first, shop.offer(2, "service", priority=-1))
        second = told(plan)[2]
        assert second.reachable is is_shown
        assert "~" not in when(plan, second), "no stage is called so"


def test_it_tells_of_a_published_plan_with_a_rule_that_could_not_be_kept_now() -> None:
    rule = {"field": "trait", "name": "phone", "op": "missing"}
    plan = of_offers(shop.offer(1, "thank-you", rules={"legal": rule}))
    assert told(msgspec.structs.replace(plan, suppress={"not": rule}))[1].reachable


def test_it_lets_a_model_prefer_whichever_may_be_shown() -> None:
    made = (shop.offer(1, "thank-you", priority=1, value_cents=1000), shop.offer(2, "thank-you", value_cents=1000))
    assert not told(of_offers(*made))[2].reachable
    assert told(of_offers(*made, mode="model"))[2].reachable


def of_places(candidates: list[tuple[str, tuple[int, ...]]], *made: Any) -> Plan:
    """A plan whose places have these modes and candidates."""
    base = shop.plan(slots=len(candidates))
    slots = (
        msgspec.structs.replace(slot, offers=offers, mode=mode)
        for slot, (mode, offers) in zip(base.slots, candidates, strict=True)
    )
    return msgspec.structs.replace(base, slots=tuple(slots), offers=(*made, *base.offers[-2:]))


def never(plan: Plan) -> dict[tuple[int, int], str]:
    """Place and offer of what can never be shown, and why."""
    found = variants(plan, Live(plan="p"), NOON_MS)
    assert None not in {one.reachable for one in found}
    return {(one.slot, one.offer): one.why for one in found if not one.reachable}


def test_a_model_may_put_others_into_the_places_before() -> None:
    one, two = shop.offer(1, "thank-you"), shop.offer(2, "thank-you")
    first = "another place always shows it first"
    assert never(of_places([("model", (1, 2)), ("model", (1, 2))], one, two)) == {}
    assert never(of_places([("model", (1,)), ("model", (1, 2))], one, two)) == {(1, 1): first}
    assert never(of_places([("model", (1, 2)), ("model", (1, 2)), ("model", (1, 2))], one, two)) == {
        (2, 1): first,
        (2, 2): first,
    }
    three = shop.offer(3, "thank-you", category=SHOES, rules={"beneficial": TRAIT})
    assert never(of_places([("model", (1, 2, 3))] * 3, one, two, three)) == {}
    rules = never(of_places([("rules", (1, 2)), ("model", (1, 2))], one, two))
    assert set(rules) == {(0, 2), (1, 1)}, "by rules the first goes first"


def test_it_tells_of_many_offers_that_share_places_beside_many_that_share_none() -> None:
    made = [
        shop.offer(
            number,
            "cross-sell",
            category=SHOES,
            product=f"p-{number}",
            needs_stock=True,
            rules={"relevant": {"field": "trait", "name": f"t{number}", "op": "=", "value": "gold"}},
        )
        for number in range(1, 33)
    ]
    hero, strip = tuple(range(1, 17)), tuple(range(17, 33))
    assert never(of_places([("model", hero), ("model", strip), ("model", strip)], *made)) == {}


def test_no_single_product_stands_for_an_offer_of_several() -> None:
    grid = shop.offer(
        1, "thank-you", product="tights-1", products=("socks",), needs_stock=True, name="Attire", priority=1
    )
    plan = of_offers(grid, shop.offer(2, "thank-you", requires_consent=("profiling",)))
    found = told(plan)
    when = {number: [words(plan, *fact) for fact in found[number].when] for number in (1, 2)}
    assert when == {1: [], 2: ["while Attire has no product to show"]}
    assert {"tights-1" in str(variable) for variable in Conditions(plan, Live(plan="p"), NOON_MS).values} == {False}


def test_it_says_when_it_could_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("campaigns.reach.MAX_STEPS", 2)
    made = [shop.offer(n, "replacement", category=SHOES, cap_person=1, priority=9 - n) for n in range(1, 6)]
    assert told(of_offers(*made))[5].reachable is None


@pytest.mark.feature("CM-24")
def test_it_shows_every_variant_in_every_look(web: Web) -> None:
    first = web.shop.offer("thank-you", priority=1, fields={"headline": "First"})
    second = web.shop.offer("thank-you", fields={"headline": "Second"})
    default = web.shop.offer("neutral")
    choices = [{"slot": 0, "default": default, "offers": [first, second]}, {"slot": 1, "default": default}]
    api, browser = web.program("manager"), web.desk("manager")
    number = web.shop.campaign(published=False)
    content = api.told("GET", f"/campaigns/{number}")
    kept = {name: content[name] for name in ("name", "message_id", "default_landing")}
    api.told("PUT", f"/campaigns/{number}", kept | {"slots": choices})
    at = f"/campaigns/{number}/matrix"
    listed = {(one["slot"], one["offer"]): one["reachable"] for one in api.told("GET", at)["variants"]}
    assert listed == {(0, first): True, (0, second): False, (0, default): True, (1, default): True}
    page = browser.get(f"{at}/").text
    assert page.count("<img") == 2 * len(listed)
    assert "may always be shown and goes first" in page
    assert "What each place can show" in page.partition("<table")[0]
    turns = browser.get(f"/campaigns/{number}/offers").text
    assert page.count("by priority, then by turn") == 2, "as an open goes"
    assert turns.count("By priority, then by turn") == 2, "where it is chosen"
    assert "names one situation" in page.partition("<table")[0], "what the column means is said above it"
    assert re.findall(r'href="#(place-\d)"', page) == re.findall(r'<section class="mb-4" id="(place-\d)"', page)
    (one, *_) = re.findall(r'src="([^"]*version=[^"]*)"', page)
    assert browser.get(unescape(one)).headers["Cache-Control"] == "private, max-age=300"
    assert browser.get(one.partition("?")[0]).headers["Cache-Control"] == "no-store"
    off = browser.get(f"{at}/?off=on").text
    assert ("<img" in off, off.count("Your offer of the week")) == (False, 6)
    looks = {
        browser.get(f"{at}/{slot}/{offer}.jpg?{query}").data
        for slot, offer in listed
        for query in ("", "dark=1", "scale=1", "locale=ar", "locale=ar&dark=1&scale=1")
    }
    assert all(picture.startswith(b"\xff\xd8") for picture in looks)
    assert len(looks) == 5 * len(listed)
    wanted = api.call("GET", f"{at}/0/{first}/picture?locale=ar&dark=true&scale=1").data
    assert wanted == browser.get(f"{at}/0/{first}.jpg?locale=ar&dark=1&scale=1").data
    assert browser.get(f"{at}/1/{first}.jpg").status_code == 404
    web.shop.offer("neutral")
    assert one in browser.get(f"{at}/").text, "what concerns another campaign changes no address"
    api.told("PUT", f"/campaigns/{number}", kept | {"slots": choices[:1]})
    assert one not in browser.get(f"{at}/").text
    api.told("PUT", f"/campaigns/{number}", kept | {"slots": []})
    assert "cannot be published as it is" in browser.get(f"{at}/").text
