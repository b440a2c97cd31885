"""What is heard of a household, by whom and from when: spellings, ages, roles, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from base.errors import InvalidInput
from signals import claiming, cohabiting
from signals.homes import Said, born, said
from signals.intake import regroup
from tests.signals.living import FLAT, HOME, LATER, SIDE, grouped, home, lives, people
from tests.signals.sending import NOW, Desk, call, identified, order


@pytest.mark.feature("DE-08")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (HOME, {"street": "Main St 12", "postal_code": "53111"}, True),
        (FLAT | {"street": "12 Main St Apt 4"}, FLAT | {"street": "12 Main Street", "line2": "Apartment 4"}, True),
        (FLAT | {"apartment": "4"}, FLAT | {"apartment": "5"}, False),
        (HOME, HOME | {"postalCode": "53113"}, False),
        (HOME, HOME | {"street": "14 Main Street"}, False),
        ({"street": "Main Street", "city": "Bonn"}, {"street": "Main Street", "city": "Bonn"}, False),
    ],
)
def test_it_knows_one_home_however_it_is_spelt(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert (said(lives("ann", one), NOW) == said(lives("bob", other), NOW) is not None) == same


@pytest.mark.feature("DE-08")
@pytest.mark.parametrize(
    ("name", "told", "year"),
    [
        ("birthday", "1950-04-01", 1950), ("birthday", "1950-04-01T00:00:00Z", 1950), ("birth_year", 1948, 1948),
        ("year_of_birth", "1948", 1948), ("date_of_birth", "soon", 0), ("birth_year", 2027, 0), ("birth_year", 1800, 0),
        ("birth_year", True, 0), ("age", 30, 1996), ("age", "65+", 1961), ("age_band", "45-54", 1977), ("age", -1, 0),
        ("age", "old", 0), ("age", 10**9, 0), ("age", None, 0), ("birthday", {"y": 1}, 0),
    ],
)  # fmt: skip
def test_it_reads_an_age_from_what_traits_say(name: str, told: object, year: int) -> None:
    assert born(name, told, datetime(2026, 3, 1, tzinfo=UTC)) == year


@pytest.mark.feature("DE-08")
def test_it_reads_roles_and_those_without_a_profile() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    raw = grouped("ann", "h1", role="Wife", size=3, people=[{"role": "son", "age": 4}, {"role": "adult child"}])
    found = said(raw, at)
    assert isinstance(found, Said)
    assert (found.kind, found.value, found.role, found.size) == ("group", "h1", "partner", 3)
    assert [(one.role, one.born) for one in found.others or ()] == [("child", 2022), ("grown_child", 0)]
    assert said(call("group", userId="ann", groupId="club", traits={"size": 9}), at) is None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"role": "boss"}, "traits.role"), ({"role": 7}, "traits.role"), ({"member": "no"}, "traits.member"),
        ({"size": 0}, "traits.size"), ({"size": "3"}, "traits.size"), ({"size": 21}, "traits.size"),
        ({"people": {"role": "child"}}, "traits.people"), ({"people": [{"role": "child"}] * 13}, "traits.people"),
        ({"people": ["Tim"]}, "traits.people[0]"), ({"people": [{"age": 3}]}, "traits.people[0].role"),
    ],
)  # fmt: skip
def test_it_refuses_a_household_that_it_cannot_read_by_the_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        said(grouped("ann", "h1", **wrong), NOW)
    assert refused.value.field == field


def test_it_takes_no_household_without_an_id(desk: Desk) -> None:
    (outcome,) = desk.send(call("group", userId="ann", traits={"type": "household"}))
    assert (outcome.status, outcome.field) == ("rejected", "groupId")


def test_it_takes_no_word_of_a_browser_on_who_lives_together(desk: Desk) -> None:
    told = call("group", anonymousId="d1", groupId="h1", traits={"type": "household"})
    (outcome,) = desk.send(told, via=desk.browser)
    assert (outcome.status, outcome.field, outcome.untrusted) == ("rejected", "traits.type", True)
    desk.send(call("identify", anonymousId="d2", traits={"address": HOME}), via=desk.browser)
    assert desk.rows("SELECT count(*) FROM household_claim") == [(0,)]


def sent(user: str, number: str, time: str, to: dict[str, Any] = HOME) -> dict[str, Any]:
    """An order to an address."""
    one = order(user, number, ("p", "Hats", 1.0), time=time)
    one["properties"]["shipping_address"] = to
    return one


@pytest.mark.feature("DE-08")
def test_it_reads_an_order_address_once_it_was_ordered_to_on_two_days(desk: Desk) -> None:
    desk.send(lives("ann"), sent("bob", "o1", "2026-02-01T10:00:00Z"))
    assert people(desk, "ann", "bob") == [0, 0], "a present may go anywhere"
    desk.send(sent("bob", "o2", "2026-02-08T10:00:00Z"))
    assert people(desk, "ann", "bob") == [2, 2]
    found = home(desk, "ann")
    assert found is not None
    assert found.sure == 60
    desk.send(lives("bob", time=LATER))
    found = home(desk, "ann")
    assert found is not None
    assert found.sure == 80, "he states himself where his orders went"
    assert desk.rebuilt().different == 0


def test_two_sources_that_share_an_id_mean_the_same_in_whatever_order_they_come(desk: Desk) -> None:
    crm = desk.source("crm", "server")
    for number, turn in enumerate((1, -1)):
        user, mate, key = f"u{number}", f"mate{number}", f"h{number}"
        desk.send(grouped(mate, key))
        told = [(grouped(user, key), desk.server), (grouped(user, key, member=False), crm)]
        for one, via in told[::turn]:
            assert desk.statuses(one | {"messageId": f"same-{number}"}, via=via) == ["accepted"]
        assert people(desk, user, mate) == [0, 1]
        assert desk.rebuilt().different == 0


def test_a_household_that_was_ended_by_hand_stays_so_however_much_is_said_afterwards(desk: Desk) -> None:
    desk.send(grouped("ann", "h"), grouped("bob", "h"))
    assert people(desk, "ann", "bob") == [2, 2]
    cohabiting.leave(desk.intake, desk.root("user_id", "ann"), "told us", NOW, by="x")
    assert people(desk, "ann", "bob") == [0, 1]
    others = range(claiming.MAX_CLAIMS + 1)
    desk.send(*(grouped("ann", f"other-{one}", f"2026-03-02T10:{one:02}:30Z", member=False) for one in others))
    desk.send(grouped("ann", "h", "2026-03-02T11:30:00Z"))
    assert people(desk, "ann", "bob") == [0, 1]
    assert desk.rebuilt().different == 0
    assert len(desk.rows("SELECT 1 FROM household_claim")) == claiming.MAX_CLAIMS + 2, "bob's and what ann ended too"


def test_it_takes_an_order_that_two_channels_tell_of_for_one_on_its_first_day(desk: Desk) -> None:
    till = desk.source("till", "server")
    desk.send(lives("ann"), sent("bob", "o1", "2026-02-08T10:00:00Z"))
    desk.send(sent("bob", "o1", "2026-02-09T10:00:00Z"), via=till)
    assert people(desk, "ann", "bob") == [0, 0]
    desk.send(sent("bob", "o2", "2026-02-09T11:00:00Z"))
    assert people(desk, "ann", "bob") == [2, 2]
    desk.send(sent("bob", "o2", "2026-02-08T11:00:00Z"), via=till)
    assert people(desk, "ann", "bob") == [0, 0], "both were placed on one day"
    assert desk.rebuilt().different == 0


def test_it_looks_only_where_orders_may_say_where_somebody_lives(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.send(lives("ann"), sent("ann", "o1", "2026-02-01T10:00:00Z"), sent("bob", "o2", "2026-02-01T10:00:00Z"))
    marked: list[int] = []
    mark = claiming.mark

    def noting(session: Any, roots: Any) -> None:
        marked.extend(root.id for root in roots)
        mark(session, roots)

    monkeypatch.setattr(claiming, "mark", noting)
    for user, number in (("ann", "o1"), ("bob", "o2"), ("cy", "o3")):
        properties = {"order_id": number, "order_status": "sent"}
        desk.send(call("track", event="Order Updated", userId=user, properties=properties))
    assert marked == [desk.root("user_id", "bob")], "ann states her address, and of cy no order is known"


def test_it_takes_no_order_of_which_nothing_is_left(desk: Desk) -> None:
    def told(event: str, time: str, **properties: Any) -> Any:
        return call("track", event=event, userId="bob", timestamp=time, properties={"order_id": "o2"} | properties)

    desk.send(lives("ann"), lives("cy", SIDE))
    desk.send(sent("bob", "o1", "2026-02-01T10:00:00Z"), sent("bob", "o2", "2026-02-02T10:00:00Z"))
    assert people(desk, "ann", "bob") == [2, 2]
    desk.send(told("Order Cancelled", "2026-02-03T10:00:00Z"))
    assert people(desk, "ann", "bob") == [0, 0]
    assert desk.rebuilt().different == 0
    desk.send(told("Order Updated", "2026-02-04T10:00:00Z", order_status="placed"))
    assert people(desk, "ann", "bob") == [2, 2], "it stands after all"
    # Of two addresses that of the newest order that counts.
    desk.send(*(sent("bob", f"p{day}", f"2026-02-0{day}T10:00:00Z", SIDE) for day in (5, 6)))
    assert people(desk, "ann", "bob", "cy") == [0, 2, 2]
    desk.send(sent("bob", "o3", "2026-02-07T10:00:00Z"))
    assert people(desk, "ann", "bob", "cy") == [2, 2, 0]
    desk.send(told("Order Cancelled", "2026-02-08T10:00:00Z", order_id="o3"))
    assert people(desk, "ann", "bob", "cy") == [0, 2, 2]
    assert desk.rebuilt().different == 0


def test_it_leaves_out_an_order_that_is_damaged_where_it_is_stored(desk: Desk) -> None:
    desk.send(lives("ann"), *(sent("bob", f"o{day}", f"2026-02-0{day}T10:00:00Z") for day in (1, 2)))
    assert people(desk, "ann", "bob") == [2, 2]
    desk.run("UPDATE event SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE order_id = 'o1'")
    with desk.sessions.begin() as session:
        claiming.queue(session, [desk.root("user_id", "bob")])
    regroup(desk.intake, None, NOW)
    assert people(desk, "ann", "bob") == [0, 0]


def test_it_reads_an_age_from_when_it_was_first_stated_however_late_that_comes(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob", age=40))
    desk.send(identified("bob", time="2024-05-01T10:00:00Z", age=40))
    found = home(desk, "ann")
    assert found is not None
    assert found.oldest == 1984
    assert desk.rebuilt().different == 0


def test_it_tells_nobody_of_an_age_by_a_browser_keys_word(desk: Desk) -> None:
    desk.send(lives("ann", birth_year=1984), lives("tim", birthYear=2020) | {"anonymousId": "d1"}, lives("bob"))
    desk.send(call("identify", userId="bob", anonymousId="d2", traits={}))
    before, ann = home(desk, "ann"), desk.root("user_id", "ann")
    assert before is not None
    assert (before.adults, before.children) == (2, (2020,))
    for device, year in (("d1", 1930), ("d2", 2022)):
        said = call("identify", anonymousId=device, traits={"birth_year": year}, timestamp=LATER)
        assert desk.statuses(said, via=desk.browser) == ["accepted"]
        assert home(desk, "ann") == before
    assert desk.state(desk.root("user_id", "tim")).traits["birth_year"] == 2020, "a server said so"
    with desk.sessions.begin() as session:
        claiming.queue(session, [ann])
    regroup(desk.intake, {ann}, NOW)
    assert home(desk, "ann") == before
    desk.send(identified("tim", time="2026-03-01T11:30:00Z", birth_year=2019))
    assert getattr(home(desk, "ann"), "children", None) == (2019,)
