"""Identifiers that join too many, and people who would have too many of them, are refused."""

from __future__ import annotations

import msgspec
import pytest

from base.errors import Busy
from signals.identity import TIES, VALUES
from signals.intake import TRIES, admit
from signals.signal import Arrival
from tests.signals.sending import NOW, Desk, identified
from tests.signals.test_merges import contact

LATER = "2026-03-01T11:00:00Z"
SCORES = "SELECT profile_id, name, value, as_of, run_id FROM profile_score ORDER BY 1, 2"
HOMES = "SELECT profile_id, address, evidence FROM dwelling ORDER BY 1"


@pytest.mark.feature("DE-10")
@pytest.mark.parametrize(("people", "batch"), [(500, 125), (10, 1), (12, 12)])
def test_it_refuses_a_hub_and_takes_apart_what_it_had_tied(desk: Desk, people: int, batch: int) -> None:
    calls = [contact(email=f"p{n}@example.com", phone="0800 123456") for n in range(people)]
    for start in range(0, people, batch):
        desk.send(*calls[start : start + batch])

    # Whose the number was first keeps it in look-ups; it is noted for each of the others.
    whose = (
        "SELECT i.type, count(DISTINCT p.root_id), count(DISTINCT p.root_id) FILTER (WHERE i.owns)"
        " FROM identifier i JOIN profile p ON p.id = i.profile_id WHERE i.type <> 'anonymous_id' GROUP BY 1 ORDER BY 1"
    )
    assert desk.rows(whose) == [("email", people, people), ("phone", people, 1)]
    ((kind, reason, times),) = desk.rows("SELECT type, reason, times FROM refused_tie")
    assert (kind, reason) == ("phone", "hub")
    assert people - 1 - TIES["phone"] <= times < people
    assert desk.rows("SELECT count(*) FROM profile_link WHERE undone_at IS NULL") == [(0,)]
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-10")
def test_it_takes_many_hubs_of_one_batch_apart_in_one_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.separation.HUB_CUTS", 1)
    most = TIES["phone"]
    phones = [f"0800 12345{number}" for number in range(4)]
    for phone in phones:
        desk.send(*(contact(email=f"{phone[-1]}{n}@example.com", phone=phone) for n in range(most + 1)))
    ((merges,),) = desk.rows("SELECT count(*) FROM profile_link WHERE undone_at IS NULL")
    assert merges == most * len(phones) > TRIES
    batch = [contact(email=f"{phone[-1]}new@example.com", phone=phone) for phone in phones]
    reading = desk.intake.reader.read(desk.server, [msgspec.json.encode(one) for one in batch], Arrival(NOW))
    with pytest.raises(Busy):
        admit(desk.intake, desk.server, reading, patience=0)
    assert {outcome.status for outcome in admit(desk.intake, desk.server, reading)} == {"accepted"}
    assert desk.rows("SELECT count(*) FROM profile_link WHERE undone_at IS NULL") == [(0,)]


@pytest.mark.feature("DE-10")
def test_it_refuses_more_identifiers_than_a_person_has(desk: Desk) -> None:
    desk.send(*(identified("u1", email=f"e{n}@example.com") for n in range(VALUES["email"] + 3)))

    assert desk.rows("SELECT count(*) FROM identifier WHERE type = 'email'") == [(VALUES["email"],)]
    assert desk.rows("SELECT sum(times) FROM refused_tie WHERE reason = 'values'") == [(3,)]


@pytest.mark.feature("DE-10")
def test_it_makes_nobody_of_two_who_have_more_identifiers_than_one_person(desk: Desk) -> None:
    most = VALUES["email"]
    desk.send(*(identified("u1", email=f"e{n}@example.com") for n in range(most)))
    desk.send(contact(email="other@example.com", phone="+49 228 123456"))
    desk.send(identified("u1", phone="+49 228 123456"))
    assert desk.root("email", "other@example.com") != desk.root("user_id", "u1")
    assert desk.rows("SELECT type, reason, times FROM refused_tie") == [("phone", "values", 1)]
    desk.send(identified("u2", phone="+49 228 123456"))
    assert desk.root("email", "other@example.com") == desk.root("user_id", "u2"), "who has fewer may be the one"
