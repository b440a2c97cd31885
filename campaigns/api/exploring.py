"""The decision explorer for programs."""

from __future__ import annotations

import msgspec

from campaigns import access_log, campaigns, customers, exploring
from campaigns.access import allow
from campaigns.api.desk import LongId, api, served
from campaigns.exploring import Changes, Place
from campaigns.parts import parts
from campaigns.views.acting import actor


class ExploreIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom (null: somebody unknown), and what is changed."""

    profile: LongId | None = None
    changes: Changes = Changes()


class ExploreOut(msgspec.Struct, frozen=True):
    """Every place that has offers, ranked as it would be, beside what is; and the two instants."""

    at: str
    changed_at: str
    places: list[Place]


@api.post("/campaigns/<int:campaign_id>/explore")
@allow("manager")
@served(200, ExploreOut, "campaigns", 404)
def explore_decision(campaign_id: int, json: ExploreIn) -> ExploreOut:
    """The ranking of the campaign's offers as it is written now, as it is and under changed facts; nothing is kept."""
    now = parts().now()
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        person = customers.root_of(session, json.profile).id if json.profile is not None else None
        found = exploring.explore(session, parts().store, parts().blobs, row, person, now, json.changes)
        if person is not None:
            access_log.record(session, actor(), "explore", now, profile_id=person, detail={"campaign": campaign_id})
    return ExploreOut(found.at.isoformat(), found.changed_at.isoformat(), list(found.places))
