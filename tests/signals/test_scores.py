"""Scores in the state: written without moving the version, read by rules, kept through signals, merges and rebuilds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from signals.erasure import erase
from signals.features import value
from signals.known import known_fields
from signals.livesegments import LiveSegments, follow
from signals.scores import assign
from signals.state import MAX_SCORES
from tests.signals.sending import NOW, Desk, identified, order

AS_OF = NOW - timedelta(days=2)
SCORED = {"churn": 0.25, "flag.returns": 0.5}


def test_it_writes_scores_that_rules_read_and_leaves_the_version(desk: Desk) -> None:
    desk.send(order("ann", "o1", ("shoes-1", "Shoes", 20)))
    ann = desk.root("user_id", "ann")
    before = desk.state(ann)
    assert assign(desk.intake, {ann: SCORED}, AS_OF, 7, NOW) == 1
    state = desk.state(ann)
    assert (state.version, state.orders) == (before.version, 1)
    assert value(state, "score", NOW, of="churn") == 0.25
    assert value(state, "score.days_since", NOW, of="churn") == 2
    assert (value(state, "flag", NOW, of="returns"), value(state, "flag", NOW, of="service")) == (True, False)
    with desk.sessions.begin() as session:
        [field] = [one for one in known_fields(session, ann, NOW) if one.name == "score churn"]
    assert (field.group, field.value, field.since) == ("inferred", 0.25, AS_OF)


def test_it_brings_people_into_segments_by_their_scores(desk: Desk) -> None:
    desk.send(order("ann", "o1", ("shoes-1", "Shoes", 20)))
    ann = desk.root("user_id", "ann")
    with desk.sessions.begin() as session:
        follow(session, {7: {"field": "score", "name": "churn", "op": ">=", "value": 0.2}})
    desk.intake.segments = LiveSegments()
    assign(desk.intake, {ann: SCORED}, AS_OF, 7, NOW)
    assert desk.state(ann).segments == (7,)
    assign(desk.intake, {ann: {"churn": 0.1}}, AS_OF, 8, NOW)
    assert desk.state(ann).segments == ()


def test_it_keeps_scores_through_signals_and_brings_them_back_where_the_state_was_lost(desk: Desk) -> None:
    desk.send(order("ann", "o1", ("shoes-1", "Shoes", 20)))
    ann = desk.root("user_id", "ann")
    assign(desk.intake, {ann: SCORED}, AS_OF, 7, NOW)
    desk.send(order("ann", "o2", ("shoes-1", "Shoes", 20), time="2026-03-01T11:00:00Z"))
    # Older than what is folded, so all is folded again.
    desk.send(order("ann", "o3", ("shoes-1", "Shoes", 20), time="2026-02-01T11:00:00Z"))
    held = desk.state(ann)
    assert (held.orders, {name: score.value for name, score in held.scores.items()}) == (3, SCORED)
    assert desk.rebuilt().different == 0
    desk.run("DELETE FROM profile_state")
    assert desk.rebuilt().different == 1
    assert desk.state(ann).scores == held.scores


def test_it_replaces_the_scores_of_before_and_those_of_a_person_who_was_merged(desk: Desk) -> None:
    desk.send(order("ann", "o1", ("shoes-1", "Shoes", 20)), identified("", anonymous="visitor"))
    ann, visitor = desk.root("user_id", "ann"), desk.root("anonymous_id", "visitor")
    assign(desk.intake, {ann: SCORED, visitor: {"churn": 0.9}}, AS_OF, 7, NOW)
    assign(desk.intake, {ann: {"churn": 0.5}}, NOW, 8, NOW)
    assert set(desk.state(ann).scores) == {"churn"}
    desk.send(identified("ann", anonymous="visitor"))
    rows = desk.rows("SELECT profile_id, value, run_id FROM profile_score")
    root = desk.root("user_id", "ann")
    assert [(row.profile_id, row.run_id) for row in rows] == [(root, 8 if root == ann else 7)]
    assert desk.rebuilt().different == 0


def test_it_forgets_the_scores_of_who_is_erased_and_scores_them_no_more(desk: Desk) -> None:
    desk.send(order("ann", "o1", ("shoes-1", "Shoes", 20)))
    ann = desk.root("user_id", "ann")
    assign(desk.intake, {ann: SCORED}, AS_OF, 7, NOW)
    erase(desk.intake, ann, NOW)
    assert desk.rows("SELECT 1 FROM profile_score") == []
    assert assign(desk.intake, {ann: SCORED}, AS_OF, 8, NOW) == 0
    assert desk.read(ann).scores == {}


def test_it_refuses_more_scores_than_a_state_has_room_for(desk: Desk) -> None:
    with pytest.raises(ValueError, match="at most 24"):
        assign(desk.intake, {1: {f"s{number}": 0.5 for number in range(MAX_SCORES + 1)}}, AS_OF, 7, NOW)
