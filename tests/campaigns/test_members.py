"""Who is in a segment, on its page and by the API: in pages that stay, without names for whoever needs none, noted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns import members, segments
from campaigns.models import AccessEntry, Segment
from signals.profiles import ProfileStateRow
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Program, Web, told

BONN = {"field": "trait", "name": "city", "op": "=", "value": "Bonn"}
LISTED = re.compile(r'<a href="/customers/(\d+)">([^<]+)</a>')


def made(shop: Shop, rule: dict[str, Any] = BONN, name: str = "In Bonn") -> int:
    """A segment that nobody has counted."""
    with shop.sessions.begin() as session:
        return segments.create_segment(session, name, rule, shop.now, MANAGER).id


def told_on(program: Program, path: str) -> Iterator[tuple[list[int], int | None]]:
    """The parts that a program is told one after another: the people of each, and where the next one begins."""
    after: int | None = 0
    while after is not None:
        part = program.told("GET", f"{path}&after={after}")
        after = part["next"]
        yield [one["profile"] for one in part["members"]], after


def test_it_lists_who_is_in_a_segment_fifty_a_page(shop: Shop, web: Web) -> None:
    names = [f"p{number:02}" for number in range(53)]
    shop.people(*names, city="Bonn")
    shop.people("stranger", city="Ulm")
    number, support = made(shop), web.desk("support")
    known = shop.known()
    at = f"/segments/{number}/members"
    first = support.get(at).text
    assert "It is not counted yet" in first
    ordered = sorted(known[name] for name in names)
    assert [int(one) for one, _ in LISTED.findall(first)] == ordered[:50]
    assert f'href="{at}?after={ordered[49]}">Next</a>' in first
    with shop.sessions.begin() as session:
        segments.count(session, number, shop.now)
    # Who leaves before the place where a page begins moves nothing after it.
    shop.people("p00", city="Ulm")
    shop.people("stranger", city="Bonn")
    second = support.get(f"{at}?after={ordered[49]}").text
    assert [int(one) for one, _ in LISTED.findall(second)] == [*ordered[50:], known["stranger"]]
    assert ">Next</a>" not in second
    assert ">From the beginning</a>" in second
    assert '<strong class="number">53</strong> people, counted' in second, "the count is that of the segment's page"
    assert "Nobody else is in it" in support.get(f"{at}?after=999999").text


def test_it_is_led_to_from_the_pages_of_segments_and_of_customers(shop: Shop, web: Web) -> None:
    number = made(shop)
    at = f'href="/segments/{number}/members"'
    manager, support = web.desk("manager"), web.desk("support")
    assert "Who is in it now" in manager.get(f"/segments/{number}").text
    assert at in manager.get(f"/segments/{number}").text
    assert 'href="/segments/"' in support.get("/customers/").text
    listed = support.get("/segments/").text
    assert at in listed
    for words in (f'href="/segments/{number}"', "/segments/new", "/scores/"):
        assert words not in listed, "what only managers open"
    assert f'href="/segments/{number}"' not in support.get(f"/segments/{number}/members").text


@pytest.mark.feature("SU-12")
def test_it_tells_each_role_what_it_may_see_of_a_member_and_notes_the_look(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann", city="Bonn")
    number = made(shop)
    at = f"/segments/{number}/members"
    seen = {role: web.browser(role).get(at) for role in ("support", "manager", "admin", "approver")}
    page = seen["support"].text
    assert LISTED.findall(page) == [(str(ann), "Ann")]
    assert "a•••@example.com" in page
    assert "Customer number</span> a•••" in page
    assert "ann@example.com" not in page
    assert "ann@example.com" in seen["admin"].text
    page = seen["manager"].text
    assert f"Customer {ann}" in page
    assert "a•••@example.com" in page
    assert "Ann<" not in page
    assert f"/customers/{ann}" not in page
    assert seen["approver"].status_code == 403
    named = {role: web.program(role).told("GET", at)["members"] for role in ("support", "manager", "admin")}
    masked = [{"type": "email", "masked": "a•••@example.com"}, {"type": "user_id", "masked": "a•••"}]
    for role, name in (("support", "Ann"), ("manager", f"Customer {ann}"), ("admin", "Ann")):
        assert named[role] == [{"profile": ann, "name": name, "identifiers": masked}], role
    assert web.program("approver").call("GET", at).status_code == 403
    with shop.sessions.begin() as session:
        looks = session.scalars(select(AccessEntry).where(AccessEntry.action == "segment members")).all()
        assert [(one.profile_id, one.detail) for one in looks] == [(ann, {"segment": number})] * 6


def test_it_tells_a_program_of_members_part_by_part(shop: Shop, web: Web) -> None:
    known = sorted(shop.people("ann", "bob", "cleo", "dora", "emil", city="Bonn"))
    number, program = made(shop), web.program("support")
    parts = list(told_on(program, f"/segments/{number}/members?limit=2"))
    assert parts == [(known[:2], known[1]), (known[2:4], known[3]), (known[4:], None)]
    assert [one["id"] for one in program.told("GET", "/segments")["segments"]] == [number]
    for query, field in (("limit=51", "limit"), ("limit=0", "limit"), ("after=-1", "after"), ("before=1", "before")):
        assert told(program.call("GET", f"/segments/{number}/members?{query}"), 400)["field"] == field
    assert program.call("GET", "/segments/999/members").status_code == 404
    assert web.desk("support").get("/segments/999/members").status_code == 404


def test_it_lists_a_person_once_whatever_they_were_merged_from_and_nobody_who_was_erased(shop: Shop, web: Web) -> None:
    ann, bob, cleo = shop.people("ann", "bob", "cleo", city="Bonn")
    number, admin = made(shop), web.program("admin")
    admin.told("POST", f"/customers/{ann}/merges", {"other": bob})
    admin.told("POST", f"/customers/{cleo}/erase")
    root = shop.profile("bob")
    (one,) = web.program("support").told("GET", f"/segments/{number}/members")["members"]
    assert one["profile"] == root
    assert len(one["identifiers"]) == 2, "of each kind one"


def test_it_says_when_nobody_is_in_it_and_when_nobody_can_tell(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann", city="Ulm")
    number, support, program = made(shop), web.desk("support"), web.program("support")
    at = f"/segments/{number}/members"
    assert "Nobody is in it now" in support.get(at).text
    assert program.told("GET", at) == {"members": [], "next": None}
    with shop.sessions.begin() as session:
        session.get_one(Segment, number).rule = {"field": "no such thing", "op": "present"}
        segments.cannot_be_counted(session, number, shop.now)
    answer = support.get(at)
    assert (answer.status_code, "Its rule does not hold any more" in answer.text) == (400, True)
    assert told(program.call("GET", at), 400)["field"] == "segment.field"
    monkeypatch.setattr(segments, "EDIT_SECONDS", 0.05)
    asleep = select(ProfileStateRow.profile_id).where(func.pg_sleep(20).is_not(None))
    monkeypatch.setattr(members, "matching", lambda *_: asleep)
    answer = support.get(at)
    assert (answer.status_code, "takes longer than" in answer.text) == (409, True)
    assert "does not hold any more" not in answer.text, "that it could not be counted has many reasons"
    assert "takes longer than" in told(program.call("GET", at), 409)["detail"]


def test_it_looks_through_a_part_at_a_time_and_goes_on_from_there(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sorted(shop.people("ann", "bob", "cleo", "dora", "emil", city="Ulm"))
    (fay,) = shop.people("fay", city="Bonn")
    number, support, program = made(shop), web.desk("support"), web.program("support")
    at = f"/segments/{number}/members"
    monkeypatch.setattr(members, "LOOKED_THROUGH", 2)
    (one,) = program.told("GET", at)["members"]
    assert one["profile"] == fay, "while there is time, it looks on"
    monkeypatch.setattr(members, "SECONDS", 0.0)
    page = support.get(at).text
    assert "Nobody so far" in page
    assert f'href="{at}?after={known[1]}">Look further</a>' in page
    parts = list(told_on(program, f"{at}?limit=50"))
    assert parts == [([], known[1]), ([], known[3]), ([fay], fay), ([], None)]
