"""Which of several statements of a trait holds, in whatever order they come, and where each value comes from."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from base.errors import InvalidInput
from signals import lineage, sources
from signals.known import known_fields
from signals.lineage import MAX_POLICIES
from signals.sources import Sender
from tests.signals.sending import NOW, Desk, identified

DAY = timedelta(days=1)
POLICY = {"city": "newest", "street_name": "longest", "tier": "trusted"}


def policies(desk: Desk) -> dict[str, Sender]:
    """The policies of three traits, and three sources: a CRM trusted more than the shop, and a till trusted less."""
    sent = {"crm": desk.source("crm", "server"), "shop": desk.server, "till": desk.source("till", "server")}
    with desk.sessions.begin() as session:
        for name, policy in POLICY.items():
            lineage.set_policy(session, name, policy, NOW)
        for name, trust in (("crm", 200), ("till", 50)):
            sources.set_trust(session, sent[name].id, trust)
    return sent


STATED: list[tuple[str, int, dict[str, Any]]] = [
    ("crm", 20, {"city": "Bonn", "tier": "gold", "street_name": "Main St"}),
    ("shop", 15, {"city": "Oslo", "tier": "silver", "street_name": "Main Street"}),
    ("till", 10, {"city": "Rome", "tier": "none", "street_name": "Main"}),
    ("till", 5, {"city": "Rome", "street_name": "Main Street"}),
]
"""Who said what, how many days ago."""

EXPECTED = {"city": ("Rome", "till", 10), "tier": ("gold", "crm", 20), "street_name": ("Main Street", "shop", 15)}
"""What holds then, told by whom, since how many days."""


@pytest.mark.feature("DE-09")
def test_it_settles_what_sources_differ_in_by_policy_and_says_from_where_since_when(desk: Desk) -> None:
    sent = policies(desk)
    for number, order in enumerate(itertools.islice(itertools.permutations(STATED), 0, None, 4)):
        user = f"u{number}"
        for source, days, traits in order:
            desk.send(identified(user, time=(NOW - days * DAY).isoformat(), **traits), via=sent[source])
        with desk.sessions.begin() as session:
            fields = known_fields(session, desk.root("user_id", user), NOW)
        found = {one.name: (one.value, one.source, one.age.days) for one in fields if one.group == "stated"}
        assert found == EXPECTED, [one[0] for one in order]
        assert desk.state(desk.root("user_id", user)).traits == {name: one[0] for name, one in EXPECTED.items()}

    before = desk.rows("SELECT profile_id, name, value, event_time, event_id FROM trait_lineage ORDER BY 1, 2")
    assert desk.rebuilt().different == 0
    assert desk.rows("SELECT profile_id, name, value, event_time, event_id FROM trait_lineage ORDER BY 1, 2") == before


@pytest.mark.feature("DE-09")
def test_it_means_the_same_in_one_batch_and_after_the_policy_ends(desk: Desk) -> None:
    sent = policies(desk)
    stated = [traits for _, _, traits in STATED]
    desk.send(
        *(
            identified("u", time=(NOW - days * DAY).isoformat(), street_name=traits["street_name"])
            for (_, days, _), traits in zip(STATED, stated, strict=True)
        )
    )
    user = desk.root("user_id", "u")
    assert desk.state(user).traits["street_name"] == "Main Street"
    assert desk.rebuilt().different == 0
    # Taken back by its person it is gone, and the next statement holds.
    desk.send(identified("u", time=(NOW - 2 * DAY).isoformat(), street_name=None), via=sent["shop"])
    assert "street_name" not in desk.state(user).traits
    desk.send(identified("u", time=(NOW - DAY).isoformat(), street_name="M"))
    assert desk.state(user).traits["street_name"] == "M"
    assert desk.rebuilt().different == 0
    with desk.sessions.begin() as session:
        lineage.set_policy(session, "tier", "newest", NOW)
        lineage.set_policy(session, "streetName", "newest", NOW)
        assert [row.name for row in lineage.policies(session)] == []


def test_it_refuses_a_policy_that_is_none(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        for field, name, policy in (
            ("name", " ", "longest"),
            ("policy", "city", "best"),
            ("name", "a\x00b", "longest"),
        ):
            with pytest.raises(InvalidInput) as error:
                lineage.set_policy(session, name, policy, NOW)
            assert error.value.field == field
        for number in range(MAX_POLICIES):
            lineage.set_policy(session, f"trait {number}", "longest", NOW)
        with pytest.raises(InvalidInput):
            lineage.set_policy(session, "one more", "longest", NOW)
        with pytest.raises(InvalidInput):
            sources.set_trust(session, desk.server.id, 1001)
