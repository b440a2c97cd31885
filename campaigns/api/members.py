"""Who is in a segment now. Each look is logged, as one at each who is told of."""

from __future__ import annotations

from typing import Annotated

import msgspec

from campaigns import access_log, members
from campaigns.access import allow
from campaigns.api.customers import NameOut
from campaigns.api.desk import LongId, api, may, served
from campaigns.parts import parts
from campaigns.views.acting import actor


class MemberPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a segment: people whose number is above `after`, at most `limit`."""

    after: LongId = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=members.MOST)] = members.MOST


class MemberOut(msgspec.Struct, frozen=True):
    """One who is in it: the number of their profile, their name for keys of support, else *Customer* and the number,
    and of each kind the newest identifier, its middle hidden."""

    profile: int
    name: str
    identifiers: list[NameOut]


class MemberList(msgspec.Struct, frozen=True):
    """People of a segment by their number. `next` is what `after` asks for the following part with; null at the end.

    A part may have fewer people than were asked for, or none, and not be the last: where few are in it, only some of
    the customers are looked through at a time.
    """

    members: list[MemberOut]
    next: int | None


@api.get("/segments/<int:segment_id>/members")
@allow("manager", "support")
@served(200, MemberList, "segments", 404, 409)
def list_members(segment_id: int, query: MemberPage) -> MemberList:
    """Who is in it now, at most 50 people at a time."""
    now = parts().now()
    with parts().transaction() as session:
        found = members.members(session, segment_id, now, after=query.after, most=query.limit, named=may("support"))
        shown = [one.profile for one in found.people]
        access_log.record_all(session, actor(), "segment members", now, shown, detail={"segment": segment_id})
    return MemberList(
        [
            MemberOut(one.profile, one.name, [NameOut(name.type, name.masked) for name in one.names])
            for one in found.people
        ],
        found.following,
    )
