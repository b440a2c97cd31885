"""The audience: who a rule describes, who of them is mailed, and that the parts add up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from base.errors import Conflict
from campaigns import accounting, admin_log, audience, campaigns, holdout, segments
from campaigns.audience import Audience
from campaigns.models import HoldoutAssignment
from signals.identity import address_hash
from signals.state import ProfileState, encode, queried
from signals.suppression import Suppression
from tests.campaigns.shop import MANAGER, Shop
from tests.databases import VAULT

JUNE = {
    "event": "Order Completed", "category": "shoes",
    "from": {"months_ago": 12}, "to": {"months_ago": 11},
}  # fmt: skip


def count(shop: Shop, campaign: int) -> Audience:
    with shop.sessions.begin() as session:
        return audience.count(session, campaign, shop.now, shop.settings.hash_key)


def freeze(shop: Shop, campaign: int, occurrence: int = 1) -> Audience:
    with shop.sessions.begin() as session:
        return audience.freeze(session, campaign, occurrence, shop.now, shop.settings.hash_key)


def suppress(shop: Shop, name: str, reason: str) -> None:
    with shop.sessions.begin() as session:
        digest = address_hash(shop.settings.hash_key, f"{name}@example.com")
        session.add(Suppression(address_hash=digest, reason=reason, at=shop.now))


def plant(shop: Shop, orders: Iterator[tuple[str, list[datetime]]]) -> None:
    """People with an address and orders of shoes at these moments, in bulk: rows as the intake would have left them."""
    state = ProfileState()
    plain, encoded = msgspec.json.encode(queried(state)).decode(), VAULT.seal(encode(state), "profile_state.encoded")
    with shop.sessions.begin() as session:
        cursor = session.connection().connection.cursor()
        people = list(orders)
        cursor.execute("INSERT INTO category (id, slug, name) VALUES (1, 'shoes', 'Shoes'), (2, 'hats', 'Hats')")
        with cursor.copy("COPY profile (id, root_id, created_at) FROM STDIN") as copy:
            for number in range(1, len(people) + 1):
                copy.write_row((number, number, shop.now))
        with cursor.copy("COPY profile_state (profile_id, version, document, encoded, updated_at) FROM STDIN") as copy:
            for number in range(1, len(people) + 1):
                copy.write_row((number, number, plain, encoded, shop.now))
        columns = "type, value, value_hash, profile_id, owns, source_id, trust, first_seen, last_seen"
        with cursor.copy(f"COPY identifier ({columns}) FROM STDIN") as copy:
            for number, (name, _) in enumerate(people, 1):
                address = VAULT.seal(f"{name}@example.com".encode(), "identifier.value")
                copy.write_row(("email", address, name.encode(), number, True, 1, 1, shop.now, shop.now))
        columns = "message_id, source_id, profile_id, type, name, event_time, received_at, category_ids, content_hash"
        with cursor.copy(f"COPY event ({columns}, folds, body) FROM STDIN") as copy:
            for number, (name, moments) in enumerate(people, 1):
                for moment in moments:
                    category = [2] if name.startswith("hat") else [1]
                    told = (f"{name}-{moment.isoformat()}", 1, number, "track", "Order Completed", moment, shop.now)
                    copy.write_row((*told, category, b"", True, "{}"))


def june_shoppers(june: int) -> Iterator[tuple[str, list[datetime]]]:
    """10,000 who bought shoes in that June, its first and last minute included, and 2,000 who did not quite."""
    first = datetime(june, 6, 1, tzinfo=UTC)
    last = datetime(june, 6, 30, 23, 59, 59, tzinfo=UTC)
    for number in range(10_000):
        yield f"june{number}", [first + (last - first) * number / 9_999]
    second, year = timedelta(seconds=1), timedelta(days=365)
    near = [first - second, last + second, first - year, first - year - timedelta(days=1), last + timedelta(days=30)]
    for number in range(1_500):
        yield f"near{number}", [near[number % len(near)]]
    for number in range(500):
        yield f"hat{number}", [first + timedelta(days=number % 30)]


@pytest.mark.slow
@pytest.mark.feature("CM-01")
@pytest.mark.parametrize(
    ("today", "june"),
    [
        # A year with 29 February in between, one without, and the day itself in a leap year.
        (datetime(2024, 6, 1, 6, 0, tzinfo=UTC), 2023),
        (datetime(2026, 6, 1, 6, 0, tzinfo=UTC), 2025),
        (datetime(2025, 6, 1, 6, 0, tzinfo=UTC), 2024),
    ],
)
def test_it_finds_exactly_the_june_shoe_buyers_a_year_later(shop: Shop, today: datetime, june: int) -> None:
    shop.clock.set(today)
    plant(shop, june_shoppers(june))
    campaign = shop.campaign(audience=JUNE)
    counted = count(shop, campaign)
    assert (counted.total, counted.sendable, counted.excluded) == (10_000, 10_000, {})
    assert freeze(shop, campaign) == counted
    assert {row.profile_id for row in shop.ledger(campaign)} == set(range(1, 10_001))
    for day, others in ((timedelta(days=-1), -1), (timedelta(days=1), 1)):
        shop.clock.set(today + day)
        assert count(shop, campaign).total != 10_000, others


@pytest.mark.feature("CM-04")
def test_it_counts_what_the_ledger_then_holds_and_the_parts_add_up(shop: Shop) -> None:
    shop.people("ann", "bob", "cara", "dan", "eve", "fay", "gus", "hal", *(f"held{n}" for n in range(40)))
    shop.people("ian", consent=False)
    shop.people("kim", "lea", email="lea@example.com")
    shop.send({"type": "identify", "userId": "joe", "traits": {"firstName": "Joe"}}, shop.consent("joe", True))
    shop.send(shop.consent("bob", False))
    suppress(shop, "cara", "bounced")
    suppress(shop, "dan", "complaint")
    campaign = shop.campaign(needs_consent=["email"], send_holdout=0.3, content_holdout=0.1)
    counted = count(shop, campaign)
    assert counted.total == counted.sendable + sum(counted.excluded.values()) == 52
    held = counted.excluded.pop("held_out")
    assert held > 3
    assert counted.excluded == {
        "no_address": 1, "unsubscribed": 1, "bounced": 1, "suppressed": 1, "no_consent": 1, "duplicate_address": 1,
    }  # fmt: skip
    frozen = freeze(shop, campaign)
    assert (frozen.total, frozen.sendable, frozen.content_held) == (52, counted.sendable, counted.content_held)
    assert frozen.excluded == counted.excluded | {"held_out": held}
    ledger = shop.ledger(campaign)
    assert len(ledger) == 52
    assert sum(row.state == "queued" for row in ledger) == counted.sendable
    with shop.sessions.begin() as session:
        account = accounting.account(session, campaign)
        assert (account["queued"], account["skipped"]) == (counted.sendable, 52 - counted.sendable)
        assert accounting.reasons(session, campaign)["skipped"] == frozen.excluded
    assert freeze(shop, campaign) == frozen, "freezing again adds nobody"
    assert len(shop.ledger(campaign)) == 52


@pytest.mark.feature("CM-09")
def test_it_mails_each_person_and_each_address_once(shop: Shop) -> None:
    ann, bob = shop.people("ann", "bob")
    first, second = shop.people("mia", "max", email="family@example.com")
    for name in ("ann", "bob", "mia", "max"):
        shop.send({"type": "identify", "userId": name, "traits": {"called": name.capitalize()}})
    with shop.sessions.begin() as session:
        lists = [
            segments.create_segment(
                session, name, {"field": "trait", "name": "called", "op": "in", "value": members}, shop.now, MANAGER
            ).id
            for name, members in (("A", ["Ann", "Mia"]), ("B", ["Ann", "Max"]), ("C", ["Bob", "Mia", "Max"]))
        ]
    campaign = shop.campaign(audience={"any": [{"segment": number} for number in lists]})
    counted = freeze(shop, campaign)
    assert (counted.total, counted.sendable, counted.excluded) == (4, 3, {"duplicate_address": 1})
    rows = {row.profile_id: row for row in shop.ledger(campaign)}
    assert set(rows) == {ann, bob, first, second}
    older, younger = sorted((first, second))
    assert (rows[older].state, rows[younger].state) == ("queued", "skipped")
    assert (rows[younger].reason, rows[younger].chosen_profile_id) == ("duplicate_address", older)
    with shop.sessions.begin() as session:
        found = audience.people(session, campaign, shop.now, shop.settings.hash_key, reason="duplicate_address")
    assert [(person.profile_id, person.chosen_profile_id) for person in found] == [(younger, older)]


def test_it_mails_the_other_person_of_an_address_when_the_first_may_not_be(shop: Shop) -> None:
    first, second = sorted(shop.people("mia", "max", email="family@example.com"))
    name = next(name for name in ("mia", "max") if shop.profile(name) == first)
    shop.send(shop.consent(name, False))
    campaign = shop.campaign()
    assert freeze(shop, campaign).excluded == {"unsubscribed": 1}
    assert [row.profile_id for row in shop.ledger(campaign) if row.state == "queued"] == [second]


@pytest.mark.feature("CM-03")
def test_it_follows_a_segment_up_to_the_freeze(shop: Shop) -> None:
    ann, _ = shop.people("ann", "bob", town="Linz")
    with shop.sessions.begin() as session:
        rule = {"field": "trait", "name": "town", "op": "=", "value": "Linz"}
        number = segments.create_segment(session, "Linz", rule, shop.now, MANAGER).id
    campaign = shop.campaign(audience={"segment": number})
    assert count(shop, campaign).total == 2
    (cara,) = shop.people("cara", town="Linz")
    shop.clock.advance(timedelta(minutes=1))
    shop.send({"type": "identify", "userId": "bob", "traits": {"town": "Graz"}})
    freeze(shop, campaign)
    assert {row.profile_id for row in shop.ledger(campaign)} == {ann, cara}


@pytest.mark.feature("CM-03")
def test_it_follows_what_its_segments_come_to_mean_up_to_the_freeze(shop: Shop) -> None:
    shop.people("ann", "bob", town="Linz")
    (cara,) = shop.people("cara", town="Wels")

    def lives(*towns: str) -> dict[str, Any]:
        return {"field": "trait", "name": "town", "op": "in", "value": list(towns)}

    with shop.sessions.begin() as session:
        near = segments.create_segment(session, "Near", lives("Linz"), shop.now, MANAGER).id
        visited = segments.create_segment(session, "Visited", lives("Graz"), shop.now, MANAGER).id
    campaign = shop.campaign(audience={"all": [{"segment": near}, {"not": {"segment": visited}}]})
    assert count(shop, campaign).total == 2
    with shop.sessions.begin() as session:
        segments.update_segment(session, near, "Near", lives("Linz", "Wels"), shop.now, MANAGER)
        segments.update_segment(session, visited, "Visited", lives("Linz"), shop.now, MANAGER)
    freeze(shop, campaign)
    assert {row.profile_id for row in shop.ledger(campaign)} == {cara}


def test_it_does_not_freeze_what_was_never_published(shop: Shop) -> None:
    campaign = shop.campaign(published=False)
    with pytest.raises(Conflict):
        freeze(shop, campaign)


def groups(shop: Shop, campaign: int, names: list[str]) -> dict[str, str]:
    """Which holdout each of these people is in, by name."""
    by_profile = {row.profile_id: row.holdout for row in shop.ledger(campaign)}
    profiles = shop.known()
    return {name: by_profile[profiles[name]] for name in names}


@pytest.mark.feature("CM-64")
def test_it_keeps_people_in_their_holdout_group(shop: Shop) -> None:
    names = [f"p{number}" for number in range(400)]
    shop.people(*names)
    campaign = shop.campaign(content_holdout=0.1, send_holdout=0.2)
    freeze(shop, campaign)
    drawn = groups(shop, campaign, names)
    # 400 people: within 4 standard deviations of the binomial, 32 for the send holdout, 24 for the content holdout.
    assert abs(sum(group == "send" for group in drawn.values()) - 80) < 33
    assert abs(sum(group == "content" for group in drawn.values()) - 32) < 24
    # Another share from now on moves nobody who was assigned, in later runs.
    with shop.sessions.begin() as session:
        content = campaigns.content(campaigns.campaign(session, campaign))
        changed = msgspec.structs.replace(content, content_holdout=0.5, send_holdout=0.0)
        campaigns.update_campaign(session, campaign, changed, shop.now, MANAGER)
    freeze(shop, campaign, 2)
    with shop.sessions.begin() as session:
        assert session.query(HoldoutAssignment).filter_by(kind="send").count() == 400
    later = {row.profile_id: row.holdout for row in shop.ledger(campaign) if row.occurrence == 2}
    profiles = shop.known()
    assert {name: later[profiles[name]] for name in names} == drawn
    # Everything derived is lost and the people are imported again, in another order: other profile ids, same groups.
    with shop.sessions.begin() as session:
        session.execute(
            text("TRUNCATE holdout_assignment, delivery, identifier, profile_state, profile, event CASCADE")
        )
        changed = msgspec.structs.replace(content, name="Again")
        campaigns.update_campaign(session, campaign, changed, shop.now, MANAGER)
    shop.people(*reversed(names))
    freeze(shop, campaign)
    assert groups(shop, campaign, names) == drawn


def test_it_draws_campaigns_and_kinds_apart(shop: Shop) -> None:
    names = [f"p{number}" for number in range(200)]
    shop.people(*names)
    one, other = shop.campaign(content_holdout=0.5), shop.campaign(content_holdout=0.5)
    freeze(shop, one)
    freeze(shop, other)
    first, second = groups(shop, one, names), groups(shop, other, names)
    same = sum(first[name] == second[name] for name in names)
    assert 60 < same < 140, "two campaigns' groups agree as often as coins do"


def test_it_holds_out_everywhere_and_keeps_the_earlier_group_on_a_merge(shop: Shop) -> None:
    shop.people(*(f"p{number}" for number in range(60)))
    with shop.sessions.begin() as session:
        holdout.set_global(session, "send", 0.5, shop.now, MANAGER)
    campaign = shop.campaign()
    counted = freeze(shop, campaign)
    assert 10 < counted.excluded["held_out"] < 50
    rows = {row.profile_id: row.holdout for row in shop.ledger(campaign)}
    held = next(profile for profile, group in rows.items() if group == "send")
    free = next(profile for profile, group in rows.items() if group == "none" and profile > held)
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE profile SET root_id = :root WHERE id = :id"), {"root": held, "id": free})
        session.execute(text("DELETE FROM profile_state WHERE profile_id = :id"), {"id": free})
        earlier = "UPDATE holdout_assignment SET assigned_at = assigned_at - interval '1 day' WHERE profile_id = :id"
        session.execute(text(earlier), {"id": free})
    assert freeze(shop, campaign, 2).total == 59
    second = {row.profile_id: row.holdout for row in shop.ledger(campaign) if row.occurrence == 2}
    assert second[held] == "none", "the member that was assigned first decides"
    with shop.sessions.begin() as session:
        left = session.query(HoldoutAssignment).filter(HoldoutAssignment.left_at.is_not(None)).all()
        assert {row.profile_id for row in left} == {held, free}
        assert admin_log.entries(session, object_type="holdout")[0].after == {"share": 0.5}
