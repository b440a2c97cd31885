"""Wall times: what is meant where clocks are put forward or back, in all zones, and that saving again moves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from base.errors import InvalidInput
from campaigns import campaigns, transitions, wallclock
from campaigns.models import Campaign
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told

MINUTE = timedelta(minutes=1)
YEARS = ((datetime(2011, 12, 1, tzinfo=UTC), 40), (datetime(2026, 1, 1, tzinfo=UTC), 800))
"""Stretches, in days, whose edges are walked: two years to come, and the day that Samoa left out."""


def edges(zone: str) -> Iterator[tuple[datetime, timedelta]]:
    """The instants in these stretches at which a zone's clocks are moved, and by how much."""
    place = ZoneInfo(zone)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(place).utcoffset() or timedelta(0)

    for start, days in YEARS:
        for day in range(0, days, 5):
            before, after = start + timedelta(days=day), start + timedelta(days=day + 5)
            if offset(before) == offset(after):
                continue
            moved = offset(after) - offset(before)
            while after - before > MINUTE:
                middle = before + (after - before) // 2
                before, after = (before, middle) if offset(middle) != offset(before) else (middle, after)
            edge = after.replace(second=0, microsecond=0)
            yield edge, moved


def saved(row: Campaign, due_at: datetime, zone: str) -> wallclock.WallTime:
    """What saving does to a campaign's row."""
    meant = transitions.meant(row, due_at, zone)
    row.due_at, row.due_wall, row.due_zone = meant.at, meant.wall, meant.zone
    return meant


def again(row: Campaign) -> wallclock.WallTime:
    """What opening the form and saving it as it is does."""
    assert row.due_wall is not None
    return saved(row, wallclock.parse(wallclock.typed(row.due_wall), "due_at"), str(row.due_zone))


@pytest.mark.feature("CM-11")
def test_it_reads_every_wall_time_at_both_edges_of_every_zone_by_one_rule_and_keeps_it() -> None:
    seen = {"once": 0, "never": 0, "twice": 0, "second": 0}
    for zone in wallclock.zones():
        for edge, moved in edges(zone):
            place = ZoneInfo(zone)
            # The wall time just before the clocks are moved, and what they show at that instant if nobody moved them.
            begin = (edge - MINUTE).astimezone(place).replace(tzinfo=None, fold=0) + MINUTE
            odd = (begin, begin + moved) if moved > timedelta(0) else (begin + moved, begin)
            middle = odd[0] + (odd[1] - odd[0]) // 2
            for wall in (odd[0] - MINUTE, odd[0], middle, odd[1] - MINUTE, odd[1]):
                row = Campaign()
                meant = saved(row, wall, zone)
                seen[meant.coming] += 1
                shown = meant.at.astimezone(place).replace(tzinfo=None, fold=0)
                assert meant.shown == shown, (zone, wall)
                if not odd[0] <= wall < odd[1]:
                    assert (meant.coming, shown) == ("once", wall), (zone, wall)
                elif moved > timedelta(0):
                    assert (meant.coming, shown) == ("never", wall + moved), (zone, wall)
                else:
                    later = (meant.at - moved).astimezone(place).replace(tzinfo=None, fold=0)
                    assert (meant.coming, shown, later) == ("twice", wall, wall), (zone, wall)
                assert again(row) == meant == again(row), (zone, wall)
                # The instant that a program names is the one that is kept, the second of two as well.
                named = saved(Campaign(), meant.at + abs(moved), zone)
                kept = Campaign(due_at=named.at, due_wall=named.wall, due_zone=zone)
                seen[named.coming] += 1
                assert again(kept) == named == again(kept), (zone, wall)
                assert named.at == meant.at + abs(moved)
    assert min(seen.values()) > 100, seen


def test_it_knows_zones_only_as_they_are_spelt() -> None:
    assert all(
        not wallclock.is_zone(name) for name in ("", "GMT-8", "UTC+1", "europe/vienna", "Factory", "localtime", 7)
    )
    assert wallclock.is_zone("Pacific/Kiritimati")
    with pytest.raises(InvalidInput, match="IANA zone"):
        wallclock.zone("GMT-8", "timezone")


@pytest.mark.feature("CM-11")
def test_it_shows_the_instant_and_the_rule_and_moves_nothing_when_saved_again(shop: Shop) -> None:
    web = Web(shop)
    try:
        browser, api = web.browser("manager"), web.program("manager")
        number = shop.campaign()
        path = f"/campaigns/{number}/schedule"
        for wall, instant, words in (
            ("2026-03-29T02:30", "2026-03-29T01:30:00+00:00", "they show 03:30 then"),
            ("2026-10-25T02:30", "2026-10-25T00:30:00+00:00", "the first is meant"),
        ):
            form = {"due_at": wall, "timezone": "Europe/Vienna"}
            assert words in browser.client.get(f"{path}/instant", query_string=form).text
            for _ in range(3):
                assert browser.post(path, do="schedule", **form).status_code == 302
                page = browser.get(path).text
                assert words in page
                assert f'value="{wall}"' in page
                assert f"{datetime.fromisoformat(instant):%-d %b, %H:%M} UTC" in page
                kept = api.told("GET", path)["time"]
                assert (kept["wall"][:16], kept["timezone"], kept["due_at"]) == (wall, "Europe/Vienna", instant)
        # A program names the second of two; whoever opens the form and saves it does not move it.
        api.told("POST", path, {"due_at": "2026-10-25T01:30:00Z", "timezone": "Europe/Vienna"})
        assert "the second is meant" in browser.get(path).text
        browser.post(path, do="schedule", due_at="2026-10-25T02:30", timezone="Europe/Vienna")
        assert api.told("GET", path)["time"]["due_at"] == "2026-10-25T01:30:00+00:00"
        # Another zone for other things of the campaign moves nothing either.
        content = {name: value for name, value in api.told("GET", f"/campaigns/{number}").items() if name in NAMES}
        api.told("PUT", f"/campaigns/{number}", content | {"timezone": "Asia/Tokyo"})
        assert api.told("GET", path)["time"]["timezone"] == "Europe/Vienna"
        api.told("POST", path, {"wall": "2026-10-25T02:30", "timezone": "Europe/Vienna"})
        assert api.told("GET", path)["time"]["due_at"] == "2026-10-25T01:30:00+00:00"
        for wrong, field in (
            ({"wall": "2026-10-25T02:30+01:00"}, "wall"), ({"wall": "soon"}, "wall"), ({}, "due_at"),
            ({"wall": "2026-10-25T02:30", "timezone": "GMT-8"}, "timezone"),
            ({"due_at": "9999-12-31T23:59:59Z"}, "due_at"),
        ):  # fmt: skip
            refused = api.call("POST", path, wrong)
            assert told(refused, 400)["field"] == field, wrong
    finally:
        web.close()


NAMES = campaigns.CampaignIn.__struct_fields__
