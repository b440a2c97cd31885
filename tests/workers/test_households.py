"""Who lives together decides what a mail shows: by how many they are and how old, and by nothing that another did."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.workers.opens import Opens
from tests.workers.test_sensitive import order, shown, surfaces

PAST_BABIES = {
    "all": [
        {"field": "household.grown_children", "op": ">=", "value": 1},
        {"not": {"field": "household.has_children", "op": "=", "value": True}},
        {"field": "household.oldest", "op": ">=", "value": 60},
    ]
}
BABY_THINGS = {"fields": {"headline": "Ten off strollers"}, "relevant": {"not": PAST_BABIES}}


def of_household(name: str, household: str, role: str, **more: Any) -> dict[str, Any]:
    """The call that says of which household somebody is."""
    traits = {"type": "household", "role": role} | more
    return {"type": "group", "userId": name, "groupId": household, "traits": traits}


def born(name: str, year: int) -> dict[str, Any]:
    """The call that says how old somebody is."""
    return {"type": "identify", "userId": name, "traits": {"birth_year": year}}


@pytest.mark.feature("DE-08")
def test_it_offers_a_retired_couple_with_grown_children_nothing_for_babies(opens: Opens) -> None:
    mails = opens.send("ann", "bob", "eve", discount=BABY_THINGS)
    for name in mails:
        opens.look(mails[name])
        assert shown(opens, mails[name]) == opens.discount, "nothing is known of who lives there"
    opens.shop.send(
        born("ann", 1952), of_household("ann", "h1", "adult"), born("bob", 1949), of_household("bob", "h1", "partner")
    )
    opens.look(mails["ann"])
    assert shown(opens, mails["ann"]) == opens.discount, "a couple may have grandchildren"
    # Their daughter has a household of her own, with a baby who has no profile.
    opens.shop.send(
        born("eve", 1980),
        of_household("eve", "h1", "grown-up child"),
        of_household("eve", "h2", "adult", people=[{"role": "child", "birth_year": 2025}]),
    )
    for name in mails:
        opens.look(mails[name])
    assert [shown(opens, mails[name]) for name in ("ann", "bob", "eve")] == [
        opens.default, opens.default, opens.discount,
    ]  # fmt: skip
    # A grandchild moves in: there are babies again.
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.shop.send(of_household("bob", "h1", "partner", people=[{"role": "child", "birth_year": 2025}]))
    opens.look(mails["ann"])
    assert shown(opens, mails["ann"]) == opens.discount


@pytest.mark.feature("EC-25")
def test_it_shows_nothing_that_another_member_bought(opens: Opens) -> None:
    opens.shop.intake.categories.learn(["Gifts"], create=True)
    mail = opens.send("ann", "bob", discount={"fields": {"headline": "Ten off running shoes"}})["ann"]
    home = {"street": "12 Main Street", "city": "Bonn"}
    opens.shop.send(
        *({"type": "identify", "userId": name, "traits": {"address": home}} for name in ("ann", "bob")),
        of_household("ann", "h1", "adult"),
        of_household("bob", "h1", "partner"),
    )
    before = surfaces(opens, mail)
    assert shown(opens, mail) == opens.discount
    opens.shop.send(order("bob", "shoes", "shoes-1"), order("bob", "gifts", "ring-2"))
    assert surfaces(opens, mail) == before
    # What she bought herself does change it, so the comparison can fail.
    opens.shop.send(order("ann", "shoes", "shoes-2"))
    assert surfaces(opens, mail) != before
