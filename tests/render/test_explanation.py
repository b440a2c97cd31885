"""Decisions in words: every removal has its sentence, and replaying without the named cause changes the fate."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from render import reasons
from render.decide import decide
from render.decision import Decision
from render.explanation import explain
from render.facts import Facts
from render.plan import Plan
from render.replay import without_cause
from tests.render import shoe_shop as shop
from tests.render.test_decide_cases import CASES, facts_of, plan_of

REMOVALS = [
    pytest.param(case, offer, id=f"{case['it']} ({offer})".replace(" ", "_"))
    for case in CASES
    for offer in case.get("removed", {})
]


def said(plan: Plan, decision: Decision) -> dict[str, str]:
    return {other.name: other.sentence for other in explain(decision, plan)[0].others}


@pytest.mark.parametrize(("case", "offer"), REMOVALS)
def test_it_has_a_sentence_for_every_removal(case: dict[str, Any], offer: str) -> None:
    plan = plan_of(case)
    sentence = said(plan, decide(plan, facts_of(case), shop.NOON, seed=1))[offer]
    assert sentence.startswith(f"“{offer}” was not shown: ")
    assert sentence.endswith(".")
    assert "None" not in sentence
    code = case["removed"][offer].partition(": ")[2]
    # A sentence that merely repeats the code would be no explanation.
    assert code in reasons.WHY or code.startswith(("rule ", "no consent: ", "suppressed: ", "unprofitable: "))


def fate(plan: Plan, facts: Facts, offer: int) -> tuple[str | None, str | None]:
    candidates = decide(plan, facts, shop.NOON, seed=1).slots[0].candidates
    return next((one.removed_by, one.rule) for one in candidates if one.offer == offer)


@pytest.mark.feature("SU-03")
@pytest.mark.parametrize(("case", "offer"), REMOVALS)
def test_it_changes_an_offers_fate_by_removing_the_named_cause_and_by_no_other(
    case: dict[str, Any], offer: str
) -> None:
    plan, facts = plan_of(case), facts_of(case)
    decision = decide(plan, facts, shop.NOON, seed=1)
    number = shop.NAMES[offer]
    before = fate(plan, facts, number)
    assert fate(*without_cause(plan, facts, 0, decision, number), number) != before
    for candidate in decision.slots[0].candidates:
        causes_alike = candidate.rule == before[1] or "arbitration" in (candidate.removed_by, before[0])
        if candidate.offer != number and candidate.removed_by is not None and not causes_alike:
            assert fate(*without_cause(plan, facts, 0, decision, candidate.offer), number) == before


@pytest.mark.parametrize(
    ("changes", "known", "sentence"),
    [
        ({"discount": {"ends_ms": shop.NOON_MS}}, {}, "it ended on 2026-03-02 12:00:00 UTC."),
        ({"discount": {"cap_person": 2, "period_days": 30}}, {}, "already been shown it 2 times within 30 days."),
        ({"discount": {"requires_consent": ["tracking"]}}, {}, "the person has not agreed to tracking."),
        (
            {"discount": {"rules": {"legal": {"all": [
                {"always": True},
                {"any": [{"field": "orders.count", "op": ">", "value": 3}, {"not": {"always": True}}]},
            ]}}}},
            {},
            "its rule for “may have it” was not met: orders in all more than 3 or nobody.",
        ),
    ],
)  # fmt: skip
def test_it_quotes_what_removed_an_offer(changes: dict[str, Any], known: dict[str, Any], sentence: str) -> None:
    plan = shop.plan(**changes)
    used = shop.facts(None).used.reserved([(shop.DISCOUNT, None)], shop.NOON_MS - 5)
    used = used.reserved([(shop.DISCOUNT, None)], shop.NOON_MS - 4)
    decision = decide(plan, shop.facts(shop.state(), used=used), shop.NOON, seed=1)
    assert said(plan, decision)["discount"].endswith(sentence)


@pytest.mark.feature("SU-04")
def test_it_says_a_rule_as_segments_do_with_the_names_of_categories() -> None:
    due = {"field": "purchases.due_ratio", "category": "shoes", "op": ">=", "value": 0.8}
    plan = shop.plan(discount={"rules": {"relevant": due}})
    told = said(plan, decide(plan, shop.facts(shop.state()), shop.NOON, seed=1))["discount"]
    asks = "its rule for “makes sense now” was not met: how due they are to restock Running shoes at least 0.8"
    assert told == f"“discount” was not shown: {asks}."


def test_it_brings_others_together_that_lost_alike() -> None:
    plan = shop.plan(discount={"ends_ms": 1}, tights={"ends_ms": 1})
    (first,) = explain(decide(plan, shop.facts(shop.state()), shop.NOON, seed=1), plan)
    ended = first.causes["it ended on 1970-01-01 00:00:00 UTC"]
    assert [other.name for other in ended] == ["discount", "tights"]
    assert sum(map(len, first.causes.values())) == len(first.others)


def test_it_says_why_the_winner_won() -> None:
    plan = shop.plan()
    (first,) = explain(decide(plan, shop.facts(shop.state()), shop.NOON, seed=1), plan)
    assert first.offer_name == "discount"
    assert first.why == ("“discount” was shown because it came first in the order of the offers that remained.",)


def test_it_says_probability_value_and_margin_of_a_scored_winner() -> None:
    plan = shop.plan("model")
    decision = decide(plan, shop.facts(shop.state()), shop.NOON, seed=1)
    slot = decision.slots[0]
    worth = {shop.DISCOUNT: (0.125, 50.0), shop.TIGHTS: (0.5, 20.0)}
    candidates = tuple(
        replace(one, probability=worth[one.offer][0], value=worth[one.offer][1]) if one.offer in worth else one
        for one in slot.candidates
    )
    (first,) = explain(replace(decision, slots=(replace(slot, candidates=candidates),)), plan)
    assert first.why == (
        "“discount” was shown because it is expected to earn the most here.",
        "Its chance of success was put at 12.5 %, worth $0.50 a showing after its cost.",
        "The next, “tights”, was $0.30 behind.",
    )


def test_it_says_that_no_model_was_there() -> None:
    plan = shop.plan("model")
    (first,) = explain(decide(plan, shop.facts(shop.state()), shop.NOON, seed=1), plan)
    assert first.why[-1] == "No model was there to score the offers, so their order decided."


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ({"erased": True}, "This person was erased at their request; only the default is shown."),
        ({"consent": {"tracking": False}}, "This person has not agreed to tracking; only the default is shown."),
        ({"live": {"state": "killed"}}, "The campaign was switched off; only the default is shown."),
    ],
)
def test_it_says_why_nothing_was_decided(case: dict[str, Any], sentence: str) -> None:
    plan = plan_of(case)
    (first,) = explain(decide(plan, facts_of(case), shop.NOON, seed=1), plan)
    assert first.why == (sentence, "“default” is the default of this place.")


def test_it_says_that_nothing_remained() -> None:
    plan = shop.plan(discount={"ends_ms": 1}, tights={"ends_ms": 1})
    (first,) = explain(decide(plan, shop.facts(shop.state()), shop.NOON, seed=1), plan)
    assert first.why == ("None of the 4 offers could be shown, so the default “default” was.",)
