"""The table of decisions: tests/render/decision_cases.json, one case a line of behaviour."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from render.decide import Decision, decide
from render.facts import Facts, LastDecision, Used
from render.plan import Live, Plan
from signals.foldevent import FoldEvent
from signals.moments import unix_ms
from signals.state import Score, tombstone
from tests.render import shoe_shop as shop

CASES = json.loads((Path(__file__).parent / "decision_cases.json").read_text())
UNITS = {"ms": timedelta(milliseconds=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def moment(text: str) -> Any:
    """`-3h`, `+1ms`, `0ms`: an instant relative to noon."""
    number, unit = re.fullmatch(r"([+-]?\d+)(ms|h|d)", text).groups()  # type: ignore[union-attr]
    return shop.NOON + int(number) * UNITS[unit]


def event(written: list[str]) -> FoldEvent:
    match written:
        case ["bought", category, at, order]:
            return shop.bought(shop.CATEGORIES[category], moment(at), order=order)
        case ["bought", category, at, order, product]:
            return shop.bought(shop.CATEGORIES[category], moment(at), product, order)
        case ["returned", at, order]:
            return shop.returned(order, moment(at))
        case ["complained", at]:
            return shop.complained(moment(at))
    raise ValueError(f"unknown event {written}")


def plan_of(case: dict[str, Any]) -> Plan:
    changes: dict[str, Any] = {}
    for name, written in case.get("offers", {}).items():
        change = dict(written)
        for word, field in (("starts", "starts_ms"), ("ends", "ends_ms")):
            if word in change:
                change[field] = unix_ms(moment(change.pop(word)))
        changes[name] = change
    plan = shop.plan(slots=case.get("slots", 1), **changes)
    return replace(plan, **case.get("plan", {}))


def facts_of(case: dict[str, Any]) -> Facts:
    known = shop.state([event(written) for written in case.get("events", [])], **case.get("consent", {}))
    if "scores" in case:
        known = replace(known, scores={name: Score(value, 0) for name, value in case["scores"].items()})
    if case.get("erased"):
        known = tombstone()
    live = case.get("live", {})
    products = {}
    if case.get("product", {}) is not None:
        told = dict(case.get("product", {}))
        if "fed" in told:
            told["fed"] = moment(told["fed"])
        products["tights-1"] = shop.product(**told)
    used = Used()
    for name, times in case.get("used", {}).items():
        for at in times:
            used = used.reserved([(shop.NAMES[name], None)], unix_ms(moment(at)))
    last = case.get("last")
    return shop.facts(
        None if "state" in case and case["state"] is None else known,
        products=products,
        used=used,
        caps={shop.NAMES[name]: balance for name, balance in case.get("caps", {}).items()},
        refused=frozenset(shop.NAMES[name] for name in case.get("refused", [])),
        lane=case.get("lane", "live"),
        undecided=case.get("undecided", False),
        neutral=case.get("neutral", False),
        last=LastDecision(
            "d1", 1, unix_ms(moment(last["at"])), {i: shop.NAMES[name] for i, name in enumerate(last["offers"])}
        )
        if last
        else None,
        live=Live(
            state=live.get("state", "live"),
            withdrawn=tuple(shop.NAMES[name] for name in live.get("withdrawn", [])),
        ),
    )


def decided(case: dict[str, Any]) -> tuple[Plan, Decision]:
    plan = plan_of(case)
    return plan, decide(plan, facts_of(case), shop.NOON, seed=1)


@pytest.mark.parametrize("case", CASES, ids=[case["it"].replace(" ", "_") for case in CASES])
def test_it_decides_as_the_table_says(case: dict[str, Any]) -> None:
    plan, decision = decided(case)
    assert [plan.offer_by_id[offer].name for offer in decision.offers] == case["shows"]
    removed = {
        plan.offer_by_id[candidate.offer].name: f"{candidate.removed_by}: {candidate.rule}"
        for candidate in decision.slots[0].candidates
    }
    assert {name: removed[name] for name in case.get("removed", {})} == case.get("removed", {})
    assert decision.reason == case.get("reason")
    assert list(decision.lost) == case.get("lost", [])
    assert decision.no_record == case.get("no_record", False)
    assert decision.rung == ("default" if decision.reason else "rules")


def test_it_has_no_two_cases_of_one_name() -> None:
    assert len({case["it"] for case in CASES}) == len(CASES)
