"""The ways out of a sender: the relay for mail, and the gateways for text and push messages."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from sqlalchemy.orm import Session

from base.clock import Clock
from base.downloads import Downloads
from base.settings import Settings
from campaigns import gateways
from workers.gateway import CALL_SECONDS, DryGateway, Gateway
from workers.handover import Ready
from workers.relay import relay_from
from workers.transport import Transport

MAIL: Final = 0
"""Stands for the relay among the numbers of gateways."""


class Ways:
    """One connection to the relay, and the gateways of the present batch. For one thread."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._key = settings.subject_key
        self._clock = clock
        self._relay = Transport(relay_from(settings))
        self._downloads = Downloads(loopback=settings.fetch_loopback, seconds=CALL_SECONDS, named="url")
        sender = settings.from_address.rpartition("<")[2].rstrip("> ")
        self._dry = DryGateway(self._relay, sender) if settings.dry_run else None
        self._gateways: dict[int, Gateway] = {}

    def begin(self) -> None:
        """Begin a batch: what was true of gateways in the last one is asked anew."""
        self._gateways.clear()

    def open(self, session: Session, gateway: int) -> None:
        """See that a gateway can be called in this batch. Raises gateways.Shut."""
        if gateway not in self._gateways:
            calling = gateways.calling(session, gateway, self._key)
            self._gateways[gateway] = Gateway(calling, self._clock, self._downloads.call)

    def hand(self, item: Ready) -> str:
        """Hand one mail or message over and return the answer; raises as Transport.hand_over does."""
        if item.gateway is None:
            return self._relay.hand_over(item.sender, item.mail.recipient, item.mail.content)
        if self._dry is not None:
            return self._dry.hand_over(item.mail)
        return self._gateways[item.gateway].hand_over(item.mail, in_doubt=item.row.in_doubt)

    def close(self) -> None:
        """Leave the relay."""
        self._relay.quit()


def by_way(items: list[Ready]) -> list[list[Ready]]:
    """What goes each way, in the order of the rows; at least one, be it empty."""

    def way(item: Ready) -> int:
        return item.gateway or MAIL

    return [list(some) for _, some in groupby(sorted(items, key=way), way)] or [[]]
