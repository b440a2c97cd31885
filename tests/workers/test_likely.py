"""The run over all customers that finds who are probably one: what it merges, offers, keeps, and leaves to people."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from base.clock import FixedClock
from base.db import Sessions
from base.errors import Conflict, InvalidInput
from base.stores import Store
from signals import likely
from signals.erasure import erase
from signals.intake import take_apart
from signals.joining import join_likely
from tests.evaluation_sets.test_identities import word
from tests.signals.sending import NOW, Desk, call, identified
from workers import likely as runs
from workers.facts import Facts
from workers.likely import Matcher
from workers.likeness import LEAST, alike

PEOPLE, GUESTS, TWICE = 300, 60, 10
KEPT = ("profile", "identifier", "lineage", "consent", "folds")
_words = random.Random(2)
GIVEN, FAMILY, STREETS = ([word(_words).title() for _ in range(size)] for size in (40, 90, 40))


@pytest.fixture
def town(sessions: Sessions, valkey: Store) -> Desk:
    """Customers with numbers; some are there once more as guests, mistyped, and some under a second number."""
    desk = Desk(sessions, valkey)
    draw = random.Random(5)
    people = [stated(draw) for _ in range(PEOPLE)]
    calls = [identified(f"u{number}", email=f"u{number}@example.com", **one) for number, one in enumerate(people)]
    calls += [
        identified("", anonymous=f"g{number}", email=f"guest{number}@example.org", **mistyped(people[number], draw))
        | {"userId": None}
        for number in range(GUESTS)
    ]  # fmt: skip
    calls += [identified(f"v{number}", **mistyped(people[-number - 1], draw)) for number in range(TWICE)]
    desk.send(*calls)
    return desk


def stated(draw: random.Random) -> dict[str, Any]:
    return {
        "firstName": draw.choice(GIVEN), "lastName": draw.choice(FAMILY),
        "birthday": f"{draw.randint(1930, 2005)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
        "address": {
            "street": f"{draw.randint(1, 60)} {draw.choice(STREETS)} Road", "postalCode": f"{draw.randint(100, 160)}00",
        },
    }  # fmt: skip


def mistyped(one: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A letter too many in the last name, so that no rule of stated matches finds it, and now and then a moved home or
    another day of birth."""
    slips: list[dict[str, Any]] = [
        {}, {"address": stated(draw)["address"]}, {"birthday": f"{one['birthday'][:8]}{draw.randint(1, 28):02}"},
    ]  # fmt: skip
    place = draw.randrange(1, len(one["lastName"]))
    return one | {"lastName": one["lastName"][:place] + "h" + one["lastName"][place:]} | draw.choice(slips)


def matcher(desk: Desk) -> Matcher:
    return Matcher(desk.intake, FixedClock(NOW))


def test_it_merges_the_certain_offers_the_likely_and_leaves_numbers_to_people(town: Desk) -> None:
    before = town.everything()
    done = matcher(town).run("a test")
    assert (done.fault, done.people) == (None, PEOPLE + GUESTS + TWICE)
    assert done.merged >= GUESTS * 0.6
    same = [town.root("anonymous_id", f"g{n}") == town.root("user_id", f"u{n}") for n in range(GUESTS)]
    assert sum(same) == done.merged, "nobody is merged with anybody else"
    rows = town.rows("SELECT reason, claim_type, by, evidence FROM profile_link")
    assert {(row.reason, row.claim_type, row.by) for row in rows} == {("likeness", None, None)}
    evidence = rows[0].evidence
    assert evidence["weight"] > 6.6
    assert {"name", "birth date"} <= set(evidence["facts"])
    assert len(evidence["model"]) == 64
    with town.sessions.begin() as session:
        offers = likely.offered(session)
        (ended, is_pending) = likely.latest(session)
        assert ended is not None
        assert (ended.merged, ended.people, ended.model, is_pending) == (
            done.merged, done.people, evidence["model"], False,
        )  # fmt: skip
    twice = {
        frozenset((town.root("user_id", f"v{n}"), town.root("user_id", f"u{PEOPLE - n - 1}"))) for n in range(TWICE)
    }
    assert len(twice & {frozenset((one.one, one.other)) for one in offers}) >= TWICE * 0.6
    assert all(town.root("user_id", f"v{n}") != town.root("user_id", f"u{PEOPLE - n - 1}") for n in range(TWICE))

    for row in town.rows("SELECT id FROM profile_link ORDER BY id DESC"):
        assert take_apart(town.intake, row.id, NOW, apart=True, by="ann") is not None
    # What was found of households meanwhile has a version of its own.
    after = town.everything()
    assert [after[name] for name in KEPT] == [before[name] for name in KEPT]
    ann, guest = (town.root(kind, value) for kind, value in (("user_id", "u0"), ("anonymous_id", "g0")))
    assert ann != guest
    assert join_likely(town.intake, ann, guest, NOW, evidence) is None, "what a person took apart stays apart"

    one = offers[0].one
    assert erase(town.intake, one, NOW)
    left = town.rows("SELECT count(*) FROM likely_match WHERE one_id = :one OR other_id = :one", one=one)
    assert left == [(0,)]


def test_it_merges_nobody_who_refuses_profiling_while_it_looks(sessions: Sessions, valkey: Store) -> None:
    desk = Desk(sessions, valkey)
    desk.send(identified("ann"), identified("", anonymous="d1") | {"userId": None})
    ann, guest = desk.root("user_id", "ann"), desk.root("anonymous_id", "d1")
    for granted, time in ((False, "2026-03-01T11:00:00Z"), (True, "2026-03-01T12:00:00Z")):
        answer = {"purpose": "profiling", "granted": granted}
        desk.send(call("track", userId="ann", event="Consent Changed", properties=answer, timestamp=time))
        merged = [join_likely(desk.intake, *pair, NOW, {}) for pair in ((ann, guest), (guest, ann))]
        assert (merged[0] is not None) == granted
        assert merged[1] is None, "refused, or one person already"


def test_it_ends_with_a_reason_where_it_cannot_look_and_never_looks_twice_at_once(
    sessions: Sessions, valkey: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(sessions, valkey)
    with desk.sessions.begin() as session:
        assert not likely.is_run_due(session, NOW, timedelta(hours=1)), "somebody asks for the first"
        number = likely.ask(session, NOW, "ann").id
        assert likely.ask(session, NOW, "bob").id == number
        assert likely.is_run_due(session, NOW, timedelta(hours=24))
    done = matcher(desk).run("a test")
    assert (done.run, done.merged) == (number, 0)
    assert done.fault == "records must be 200 at least: nothing can be learnt from 0"
    with desk.sessions.begin() as session:
        assert not likely.is_run_due(session, NOW + timedelta(hours=23), timedelta(hours=24))
        assert likely.is_run_due(session, NOW + timedelta(hours=24), timedelta(hours=24))
        assert not likely.is_run_due(session, NOW + timedelta(days=9), timedelta(0)), "0: only what is asked for"

    def meanwhile(_facts: object) -> object:
        with pytest.raises(Conflict):
            matcher(desk).run("another")
        raise AssertionError("seen")

    monkeypatch.setattr(runs, "alike", meanwhile)
    with pytest.raises(AssertionError, match="seen"):
        matcher(desk).run("a test")
    with desk.sessions.begin() as session:
        assert not likely.is_run_due(session, NOW, timedelta(hours=24)), "it may go on still"


def test_it_says_what_mends_that_one_persons_records_differ_in_too_few_ways(
    town: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.likeness._tried", lambda _records, _rounds: None)
    fault = matcher(town).run("a test").fault
    assert fault is not None
    assert fault.startswith("records of one person differ in too few ways")
    assert "More customers whose details were typed more than once mend that" in fault


def test_it_says_what_records_of_names_alone_lack() -> None:
    with pytest.raises(InvalidInput) as refused:
        alike([Facts(given="Ann", family=f"Lee {number}", words=("ann", "lee")) for number in range(LEAST)])
    assert str(refused.value) == "records: need birth dates or addresses besides names; too few have them"
