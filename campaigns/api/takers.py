"""Who would get an offer now, for programs."""

from __future__ import annotations

import msgspec

from campaigns import campaigns, offers
from campaigns.access import allow
from campaigns.api.desk import Id, api, served
from campaigns.parts import parts
from campaigns.takers import Takers, takers


class TakersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In which campaign."""

    campaign: Id


@api.get("/offers/<int:offer_id>/takers")
@allow("manager")
@served(200, Takers, "offers", 404)
def get_takers(offer_id: int, query: TakersQuery) -> Takers:
    """Who of a campaign's audience would get the offer now, what keeps it from the others, and what came of it."""
    with parts().transaction() as session:
        offers.offer(session, offer_id)
        row = campaigns.campaign(session, query.campaign)
        return takers(session, parts().store, parts().blobs, row, offer_id, parts().now(), parts().settings.hash_key)
