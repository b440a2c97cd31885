"""How many names of traits a browser may state of one person: what is more is refused whole, and listed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signals.quarantine import replay
from signals.state import MAX_TRAITS
from signals.traitnames import MOST_NAMES
from tests.signals.sending import NOW, Desk, call, identified

FULL = [f"colour_{number}" for number in range(MOST_NAMES)]


def stating(*names: str, device: str = "a1", **fields: Any) -> dict[str, Any]:
    """A browser's identify that states these traits."""
    return call("identify", anonymousId=device, traits=dict.fromkeys(names, "red"), **fields)


def names(desk: Desk, device: str = "a1") -> set[str]:
    """The traits that are known of whoever uses a device."""
    root = desk.root("anonymous_id", device)
    return {row[0] for row in desk.rows("SELECT name FROM trait_lineage WHERE profile_id = :root", root=root)}


def listed(desk: Desk) -> list[Any]:
    """What was refused."""
    return desk.rows("SELECT id, reason, field, message, whole FROM rejected_event ORDER BY id")


@pytest.mark.feature("DE-31")
def test_a_browser_states_so_many_traits_of_a_person_and_what_is_more_is_listed(desk: Desk) -> None:
    first, second = FULL[:12], FULL[12:]
    good, over, also = stating(*first), stating(*second, "one_more"), stating("colour_0", *second)
    outcomes = desk.send(good, over, also, stating("late"), via=desk.browser)
    assert [one.status for one in outcomes] == ["accepted", "rejected", "accepted", "rejected"]
    assert (outcomes[1].field, outcomes[3].field) == ("traits.one_more", "traits.late")
    assert "20 traits that browsers may state" in outcomes[1].message
    assert names(desk) == set(FULL)
    rows = listed(desk)
    assert [(row.reason, row.field, row.whole) for row in rows] == [
        ("invalid", "traits.one_more", True), ("invalid", "traits.late", True),
    ]  # fmt: skip
    assert json.loads(desk.rows("SELECT body FROM rejected_event ORDER BY id")[0].body)["traits"] == over["traits"]

    # What is known may be stated anew, others have room of their own, and servers' words are no strangers'.
    again = stating("colour_7", timestamp="2026-03-01T11:00:00Z")
    assert desk.statuses(again, stating(*FULL, device="a2"), via=desk.browser) == ["accepted", "accepted"]
    assert desk.statuses(identified("ann", "a1", city="Bonn", street_lamp="lit")) == ["accepted"]
    assert names(desk) == {*FULL, "city", "street_lamp"}
    assert desk.statuses(stating("city"), via=desk.browser) == ["accepted"]
    assert desk.statuses(stating("another"), via=desk.browser) == ["rejected"]
    before = desk.everything()
    assert desk.rebuilt().different == 0
    assert desk.everything() == before


def test_what_names_a_refused_call_of_its_batch_is_judged_by_itself(desk: Desk) -> None:
    over, fits, more = stating(*FULL, "one_more"), stating("colour_1", "hat"), stating(*FULL, "hat", "shoe")
    same, other, third, fourth = ({**one, "messageId": over["messageId"]} for one in (over, more, fits, stating("hat")))
    told = [over, same, stating("colour_0"), other, third, third, fourth]
    outcomes = desk.send(*told, via=desk.browser)
    assert [one.status for one in outcomes] == [
        "rejected", "rejected", "accepted", "rejected", "accepted", "duplicate", "conflict",
    ]  # fmt: skip
    assert [one.field for one in outcomes if one.field] == ["traits.one_more", "traits.one_more", "traits.hat"]
    assert names(desk) == {"colour_0", "colour_1", "hat"}
    assert len(listed(desk)) == 3
    assert desk.rows("SELECT count(*) FROM event_conflict") == [(1,)]
    before = desk.everything()
    assert desk.rebuilt().different == 0
    assert desk.everything() == before
    # Whoever sends it again is told the same, but for what is stored by now.
    assert desk.statuses(*told, via=desk.browser) == ["conflict"] * 2 + ["duplicate", "conflict"] + [
        "duplicate"
    ] * 2 + ["conflict"]


def test_what_browsers_state_shuts_out_no_server(desk: Desk) -> None:
    desk.send(stating(*FULL), via=desk.browser)
    by_server = {f"shop_{number}": "blue" for number in range(MAX_TRAITS - MOST_NAMES)}
    desk.send(identified("ann", "a1", **by_server))
    assert by_server.items() <= desk.state(desk.root("user_id", "ann")).traits.items()


def test_one_call_that_states_more_than_there_is_room_for_leaves_room_for_a_smaller_one(desk: Desk) -> None:
    (outcome,) = desk.send(stating(*FULL, "one_more"), via=desk.browser)
    assert (outcome.status, outcome.field) == ("rejected", "traits.one_more")
    assert desk.rows("SELECT 1 FROM profile") == []
    assert desk.statuses(stating(*FULL), via=desk.browser) == ["accepted"]


def test_a_refused_call_makes_nobody_and_ties_nothing(desk: Desk) -> None:
    desk.send(stating(*FULL), via=desk.browser)
    before = desk.everything()
    over = [stating(*FULL, "one_more", device=f"new{number}") for number in range(5)]
    tying = stating("late", device="a1", userId="a_new_name")
    assert desk.statuses(*over, tying, via=desk.browser) == ["rejected"] * 6
    assert desk.everything() == before
    assert len(listed(desk)) == 6

    # Whom a sound call beside it names is made all the same.
    sound = call("track", anonymousId="new0", event="Product Viewed")
    outcomes = desk.statuses(over[0] | {"messageId": "again"}, sound, tying | {"messageId": "too"}, via=desk.browser)
    assert outcomes == ["rejected", "accepted", "rejected"]
    assert [row[0] for row in desk.rows("SELECT count(*) FROM profile")] == [len(before["profile"]) + 1]
    assert desk.rows("SELECT 1 FROM identifier WHERE type = 'user_id'") == []


def test_a_refused_call_that_is_taken_again_is_listed_once(desk: Desk) -> None:
    desk.send(stating(*FULL), stating("one_more"), via=desk.browser)
    ((number, *_),) = listed(desk)
    assert replay(desk.intake, number, NOW) == "rejected"
    assert [(row.id, row.field) for row in listed(desk)] == [(number, "traits.one_more")]
    desk.run("DELETE FROM trait_lineage WHERE name = 'colour_3'")
    assert replay(desk.intake, number, NOW) == "accepted"
    assert "one_more" in names(desk)
