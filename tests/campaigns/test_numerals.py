"""Numbers that are typed in forms: one reading for all, which refuses what can be read in two ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from base.errors import InvalidInput
from campaigns import creativeform, numerals, rankform, ruleform
from campaigns.views import forms
from tests.campaigns.web import Web

READERS: dict[str, Callable[[str], Any]] = {
    "money": lambda typed: forms.cents({"money": typed}, "money"),
    "share": lambda typed: forms.share({"share": typed}, "share", most=10_000),
    "number": lambda typed: forms.number({"number": typed}, "number"),
    "lift-complaint": lambda typed: rankform.arbitration({"lift-complaint": typed}, None),
    "row 1": lambda typed: ruleform.read({"condition-0": "orders", "comparison-0": ">=", "value-0": typed}),
    "L0.box.x": lambda typed: creativeform._number(typed, "L0.box.x", float),
}


@pytest.mark.parametrize("field", READERS)
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("1,000", "1,000 can be read in two ways: write 1000, or 1.000 if decimals are meant"),
        ("1,234.50", "must be written without commas between thousands: 1234.50"),
        ("1,234,567", "must be written without commas between thousands: 1234567"),
    ],
)
def test_it_refuses_a_comma_that_may_stand_between_thousands(field: str, typed: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        READERS[field](typed)
    assert (refused.value.field, refused.value.message) == (field, words)


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("4.50", "4.5"), ("4,5", "4.5"), ("1,0000", "1"), ("4.250", "4.25"), ("-3", "-3"), ("0,125", "0.125"),
        ("-0,250", "-0.25"), ("1234,567", "1234.567"), ("012,500", "12.5"),
    ],
)  # fmt: skip
def test_it_reads_a_point_and_a_comma_before_decimals(typed: str, number: str) -> None:
    assert format(numerals.numeral(typed, "x").normalize(), "f") == number


@pytest.mark.parametrize("typed", ["", "ten", "nan", "inf", "1_000", "1.2.3", "1 000", "٣"])
def test_it_takes_nothing_else_for_a_number(typed: str) -> None:
    with pytest.raises(InvalidInput, match="must be a number"):
        numerals.numeral(typed, "x")


def test_a_rule_takes_whole_days_and_no_value_of_a_trait_that_can_be_read_in_two_ways() -> None:
    bought = {"category-0": "shoes", "comparison-0": ">=", "value-0": "1"}
    bought["condition-0"] = next(key for key, one in ruleform.BY_KEY.items() if one.days and one.category)
    with pytest.raises(InvalidInput, match="needs a whole number of days"):
        ruleform.read(bought | {"days-0": "1.5"})
    assert ruleform.read(bought | {"days-0": "30"})["all"][0]["within_days"] == 30
    trait = {"condition-0": "trait", "name-0": "points", "comparison-0": "="}
    with pytest.raises(InvalidInput, match="two ways"):
        ruleform.read(trait | {"value-0": "1,000"})
    (rule,) = ruleform.read(trait | {"value-0": "1,5"})["all"]
    assert rule["value"] == ["1,5", 1.5]
    # What an API said and rows would refuse is shown in words, as is one that was read as a number with decimals.
    told = {"field": "trait", "name": "points", "op": "=", "value": "1,000"}
    assert ruleform.rows({"all": [told]}) is None
    assert ruleform.rows({"all": [told | {"op": "in", "value": ["1,000", 1]}]}) is None


def test_a_page_says_how_to_write_it(web: Web) -> None:
    desk = web.desk("manager")
    desk.get("/scores/")
    refused = desk.post("/scores/guard", margin="40", contact="1,000", **{"return": "5"})
    assert refused.status_code == 400
    assert "1,000 can be read in two ways: write 1000, or 1.000 if decimals are meant" in refused.text


@pytest.mark.parametrize("typed", ["30", "30%", " 30 % ", "30.0"])
def test_a_percentage_may_be_typed_with_its_sign(typed: str) -> None:
    row = {"match": "all", "condition-0": "churn", "comparison-0": ">=", "value-0": typed}
    assert ruleform.read(row) == {"all": [{"field": "score", "name": "churn", "op": ">=", "value": 0.3}]}
    with pytest.raises(InvalidInput, match="needs a number for the value"):
        ruleform.read(row | {"condition-0": "orders", "value-0": "30%"})


def test_every_tenth_of_a_percent_reads_back_as_it_was_written() -> None:
    for tenths in range(1_001):
        rule = {"all": [{"field": "score", "name": "churn", "op": ">=", "value": tenths / 1_000}]}
        (row,) = ruleform.rows(rule) or ({},)
        assert ruleform.read({f"{name}-0": typed for name, typed in row.items()} | {"match": "all"}) == rule, tenths
