"""What is said of who lives where, and what an open finds of it."""

from __future__ import annotations

from typing import Any

from signals.household import Household
from tests.signals.sending import Desk, call

HOME = {"street": "12 Main Street", "postalCode": "53111", "city": "Bonn"}
FLAT = {"street": "12 Main St", "zip": "53111"}
SIDE = {"street": "1 Side Street", "city": "Bonn"}
NEW = {"street": "5 New Road", "city": "Bonn"}
LATER = "2026-03-01T11:00:00.000Z"


def lives(
    user: str, home: dict[str, Any] | None = None, time: str = "2026-03-01T10:00:00.000Z", **traits: Any
) -> dict[str, Any]:
    """An identify with a home address."""
    return call("identify", userId=user, traits={"address": home or HOME} | traits, timestamp=time)


def grouped(user: str, group: str, time: str = "2026-03-01T10:00:00.000Z", **traits: Any) -> dict[str, Any]:
    """A statement that somebody is of a household."""
    return call("group", userId=user, groupId=group, traits={"type": "household"} | traits, timestamp=time)


def home(desk: Desk, user: str) -> Household | None:
    """The household in the state that an open reads, which is also the stored one."""
    return desk.state(desk.root("user_id", user)).household


def people(desk: Desk, *users: str) -> list[int]:
    """How many each of these lives with, themselves among them; 0 without a household."""
    found = [home(desk, user) for user in users]
    return [0 if one is None else one.adults + len(one.children) for one in found]
