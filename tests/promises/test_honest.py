"""Honest numbers: machines are labelled and never counted as people; every number follows from raw rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from campaigns import goals, reports
from campaigns.erasure import erase_person
from tests.campaigns.shop import MANAGER
from tests.promises.ground import Ground
from tests.promises.reader import APPLE, BROWSER, GMAIL, GMAIL_PREFETCH, SCANNER, fetch
from tests.promises.world import Story, World

SURELY = ("person", "proxy")
POSSIBLY = (*SURELY, "undecided")
MACHINE = ("prefetch", "scanner")


def raw(world: World, story: Story, table: str) -> list[dict[str, Any]]:
    """Every row of a table that belongs to the campaign, as plain values."""
    rows = world.rows(f'SELECT * FROM "{table}" WHERE campaign_id = :campaign', campaign=story.campaign)
    return [dict(row._mapping) for row in rows]


def people(rows: Iterable[dict[str, Any]]) -> int:
    """How many different people the rows are about."""
    return len({row["profile_id"] for row in rows})


def of(rows: Iterable[dict[str, Any]], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of these fetch classes."""
    return [row for row in rows if row["fetch_class"] in classes]


@pytest.fixture(scope="module")
def story(ground: Ground) -> Story:
    """A campaign with holdout and all sorts of readers, some of whom bought and some of whom brought it back."""
    world = ground.world
    made = world.story("honest", people=60, slots=2, content_holdout=0.2)
    agents = (BROWSER, GMAIL, APPLE, SCANNER, GMAIL_PREFETCH, "")
    for number, name in enumerate(made.names):
        mail = made.mail(name)
        agent = agents[number % len(agents)]
        headers = {"Referer": "http://mail.google.com/"} if agent == GMAIL_PREFETCH else {}
        for slot in mail.pictures:
            fetch(world.render.url, mail.pictures[slot], agent, headers=headers)
        if number // len(agents) % 2 == 0:
            fetch(world.render.url, mail.clicks[0], agent, headers=headers)
        if number % 5 == 0:
            world.clock.advance(timedelta(seconds=30))
            order = world.buy(name)
            world.tell(order)
            if number % 10 == 0:
                world.tell(world.give_back(order))
            fetch(world.render.url, mail.pictures[0])
            fetch(world.render.url, mail.clicks[0])
    world.recorded()
    return made


def test_it_labels_machines_and_counts_them_apart(world: World, story: Story) -> None:
    fetches, clicks = raw(world, story, "fetch"), raw(world, story, "click")
    expected = {"person", "proxy", "undecided", "prefetch", "scanner"}
    assert {row["fetch_class"] for row in fetches} == expected
    assert {row["lane"] for row in of(fetches, MACHINE)} == {"machine"}
    assert {row["lane"] for row in of(fetches, POSSIBLY)} == {"live"}
    assert {"person", "scanner", "prefetch"} <= {row["fetch_class"] for row in clicks}
    evidence = " ".join(str(row["evidence"]) for row in (*fetches, *clicks))
    assert "127.0.0.1" not in evidence
    assert "Mozilla" not in evidence


def test_it_reports_what_the_raw_rows_say(world: World, story: Story) -> None:
    world.credited()
    fetches, clicks = raw(world, story, "fetch"), raw(world, story, "click")
    decisions, mails, outcomes = (
        raw(world, story, "decision"),
        raw(world, story, "delivery"),
        raw(world, story, "outcome"),
    )
    with world.sessions.begin() as session:
        told = reports.report(session, story.campaign)
    assert told.mailed == sum(row["state"] == "accepted" for row in mails) == len(story.names)
    assert told.opens.surely == people(of(fetches, SURELY))
    assert told.opens.possibly == people(of(fetches, POSSIBLY))
    assert told.opens.machine == people(of(fetches, MACHINE))
    assert told.opens.surely < told.opens.possibly < len(story.names)
    assert sum(told.opens.fetches.values()) == len(fetches)
    assert told.clicks == len(of(clicks, ("person",))) < len(clicks)
    assert told.machine_clicks == len(of(clicks, MACHINE)) > 0
    assert told.flagged["unseen"] == sum(row["unseen"] for row in of(clicks, ("person",)))
    assert told.flagged["ambiguous"] == sum(row["ambiguous"] for row in of(clicks, ("person",)))
    assert (told.orders, told.cents) == (len(outcomes), sum(row["cents"] for row in outcomes))
    slots = {row["id"]: row["slots"] for row in decisions}
    seen = {
        (row["profile_id"], slots[row["decision_id"]][str(row["slot"])])
        for row in of(fetches, POSSIBLY)
        if row["slot"] < 255 and row["rung"] in ("cached", "drawn")
    }
    for line in told.offers:
        assert line.seen == sum(offer == line.offer for _, offer in seen)
        assert line.clicks == sum(row["offer_id"] == line.offer for row in of(clicks, ("person",)))
        assert line.orders == sum(row["offer_id"] == line.offer for row in outcomes)
        assert line.cents == sum(row["cents"] for row in outcomes if row["offer_id"] == line.offer)
    assert sum(line.orders for line in told.offers) == told.orders
    names = {"none": "decided content", "content": "neutral content"}
    spent = orders(world, story)
    with world.sessions.begin() as session:
        goals.name_goal(session, story.campaign, "revenue", goals.MAX_DAYS, world.clock.now(), MANAGER)
        (success,) = goals.outcomes(session, story.campaign, world.clock.now())
    assert {counted.group for counted in success.groups} == set(names.values())
    for group in success.groups:
        members = {row["profile_id"] for row in mails if names[row["holdout"]] == group.group}
        assert (group.people, group.buyers) == (len(members), len(members & spent.keys()))
        assert group.cents == sum(spent[profile] for profile in members & spent.keys())


def orders(world: World, story: Story, *, kept: bool = False) -> dict[int, int]:
    """Cents by person, of orders since the send; with `kept` only of those that did not come back."""
    rows = world.rows(
        "SELECT profile_id, order_id, name, order_total_cents FROM event"
        " WHERE name IN ('Order Completed', 'Order Refunded') AND profile_id = ANY(:people)",
        people=[mail.token.profile for mail in story.mails.values()],
    )
    returned = {row.order_id for row in rows if row.name == "Order Refunded"}
    assert returned
    return {
        row.profile_id: row.order_total_cents
        for row in rows
        if row.name == "Order Completed" and not (kept and row.order_id in returned)
    }


def test_it_credits_an_order_once_and_takes_off_what_came_back(world: World, story: Story) -> None:
    world.credited()
    kept = orders(world, story, kept=True)
    outcomes = raw(world, story, "outcome")
    assert len({row["event_id"] for row in outcomes}) == len(outcomes)
    assert {row["profile_id"] for row in outcomes if row["cents"]} <= kept.keys()
    for row in outcomes:
        assert row["cents"] == kept.get(row["profile_id"], 0)
    fetches = raw(world, story, "fetch")
    for row in outcomes:
        before = [
            one
            for one in of(fetches, POSSIBLY)
            if one["profile_id"] == row["profile_id"] and row["at"] - timedelta(days=7) <= one["at"] < row["at"]
        ]
        last = max(one["at"] for one in before)
        assert row["decision_id"] in {one["decision_id"] for one in before if one["at"] == last}
    readers = {row["profile_id"] for row in of(fetches, POSSIBLY) if row["at"] < world.clock.now()}
    assert {row["profile_id"] for row in outcomes} <= readers


@pytest.mark.feature("CM-70")
def test_it_counts_opens_that_differ_from_the_choice_at_send_time(world: World, story: Story) -> None:
    decisions = raw(world, story, "decision")
    live = [row for row in decisions if row["lane"] == "live"]
    held = {row["profile_id"] for row in raw(world, story, "delivery") if row["holdout"] == "content"}
    assert held
    assert {row["shadow"] is None for row in live if row["profile_id"] in held} == {True}
    compared = [row for row in live if row["profile_id"] not in held]
    assert all(row["shadow"] is not None for row in compared)
    with world.sessions.begin() as session:
        swap = reports.report(session, story.campaign).swap
    assert swap.compared == len(compared)
    assert swap.differing == sum(row["slots"] != row["shadow"] for row in compared) > 0
    # Same seed, same plan: whoever did nothing since the send was shown what the send would have chosen.
    bought, kept = orders(world, story), orders(world, story, kept=True)
    for row in compared:
        if row["profile_id"] not in bought:
            assert row["slots"] == row["shadow"]
        elif row["open_number"] > 1:
            assert row["slots"]["0"] == (story.thanks if row["profile_id"] in kept else story.discount)
            assert row["shadow"]["0"] == story.discount


def test_it_keeps_its_totals_when_somebody_is_erased(world: World, story: Story) -> None:
    world.credited()

    def told() -> reports.Report:
        with world.sessions.begin() as session:
            return reports.report(session, story.campaign)

    before = told()
    for name in story.names[:12]:
        erase_person(world.shop.intake, world.shop.blobs, story.mail(name).token.profile, world.clock.now(), MANAGER)
    after = told()
    assert (after.mailed, after.opens, after.swap) == (before.mailed, before.opens, before.swap)
    assert (after.clicks, after.machine_clicks, after.flagged) == (before.clicks, before.machine_clicks, before.flagged)
    assert (after.offers, after.orders, after.cents) == (before.offers, before.orders, before.cents)
