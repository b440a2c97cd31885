"""How fast mails may leave, over all campaigns and senders together."""

from __future__ import annotations

import msgspec

from campaigns import permits, sendlimits
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.parts import parts
from campaigns.sendlimits import Terms
from campaigns.views.acting import actor


class UseOut(msgspec.Struct, frozen=True):
    """How many mails count for a limit just now; `key` is all, domain:… or sender:…."""

    key: str
    window_s: int
    used: int
    most: int


class SendLimitsOut(msgspec.Struct, frozen=True):
    """The limits, and how much of them is used."""

    limits: Terms
    used: list[UseOut]


@api.get("/system/send-limits")
@allow("manager")
@served(200, SendLimitsOut, "system")
def show_send_limits() -> SendLimitsOut:
    """How many mails may leave within a second, an hour and a day, and how many did."""
    with parts().transaction() as session:
        terms = sendlimits.terms(session)
        found = permits.uses(session, sendlimits.named_keys(terms), parts().now())
        return SendLimitsOut(
            terms, [UseOut(one.limit.key, one.limit.window_s, one.used, one.limit.most) for one in found]
        )


@api.put("/system/send-limits")
@allow("admin")
@served(200, Terms, "system")
def set_send_limits(json: Terms) -> Terms:
    """Set all limits: for everything, for recipient domains, and for sending domains that are warmed up."""
    with parts().transaction() as session:
        return permits.set_terms(session, json, parts().now(), actor())
