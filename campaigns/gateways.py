"""The gateways that text and push messages are handed to: made with a secret that is shown once, changed, switched off.

What kind of messages a gateway takes stays what it was, for it is the channel of the campaigns that go by it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.downloads import Downloads
from base.errors import Conflict, InvalidInput, NotFound
from base.sealing import Unsealable, seal, unseal
from base.settings import Settings
from campaigns import admin_log, texts
from campaigns.admin_log import Actor
from campaigns.channels import EMAIL
from campaigns.models.gateways import Gateway
from campaigns.sendlimits import Most, Pace
from campaigns.texts import TextIn, compile_text

SEALED_AS: Final = b"message gateway"
SECRET_BYTES: Final = 32
MAX_GATEWAYS: Final = 50
ACTIONS: Final = {"switch off": ("on", "off"), "switch on": ("off", "on")}
"""What a person may do to a gateway, from which state to which; `renew secret` is possible in both."""
RENEW: Final = "renew secret"


class GatewayTerms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a gateway may change: its name, its https address, and the most messages it is handed in any window."""

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    per_second: Most | None = None
    per_hour: Most | None = None
    per_day: Most | None = None


class GatewayIn(GatewayTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new gateway, for text messages to phone numbers (sms) or messages to the devices of a user id (push)."""

    kind: Literal["sms", "push"]


@dataclass(frozen=True)
class Calling:
    """Where a gateway's calls go, and what signs them."""

    id: int
    url: str
    secret: bytes = field(repr=False)


class Shut(Conflict):
    """A gateway that nothing can be handed to now; the message says what a person can do."""


def create(session: Session, given: GatewayIn, settings: Settings, now: datetime, by: Actor) -> tuple[Gateway, str]:
    """Keep a gateway; with the secret that it checks signatures by, which cannot be told again.

    Raises InvalidInput, Conflict when the name is taken.
    """
    terms = _checked(session, given, settings, None)
    if len(session.scalars(select(Gateway.id).limit(MAX_GATEWAYS)).all()) >= MAX_GATEWAYS:
        raise Conflict(f"There are {MAX_GATEWAYS} gateways already.")
    secret = secrets.token_bytes(SECRET_BYTES)
    row = Gateway(
        kind=given.kind, state="on", secret=seal(secret, settings.subject_key, SEALED_AS), created_at=now, **terms
    )
    session.add(row)
    session.flush()
    admin_log.record(session, by, "create", "gateway", row.id, now, after=_told(row))
    return row, _shown(secret)


def change(
    session: Session, gateway_id: int, given: GatewayTerms, settings: Settings, now: datetime, by: Actor
) -> Gateway:
    """Have its messages go elsewhere, or faster or slower, from the next batch on. Raises InvalidInput, Conflict."""
    row = gateway(session, gateway_id)
    before, old = _told(row), row.url
    for name, value in _checked(session, given, settings, gateway_id).items():
        setattr(row, name, value)
    session.flush()
    after = _told(row) | ({"address": "another"} if row.url != old else {})
    admin_log.record(session, by, "change", "gateway", row.id, now, before=before, after=after)
    return row


def act(
    session: Session, gateway_id: int, action: str, settings: Settings, now: datetime, by: Actor
) -> tuple[Gateway, str | None]:
    """Switch a gateway off or on, or give it another secret, which is told once and signs every call from now on.

    Raises InvalidInput for another action, Conflict in a state that does not allow it.
    """
    row = gateway(session, gateway_id)
    before, secret = _told(row), None
    if action == RENEW:
        renewed = secrets.token_bytes(SECRET_BYTES)
        row.secret, secret = seal(renewed, settings.subject_key, SEALED_AS), _shown(renewed)
    elif action not in ACTIONS:
        raise InvalidInput("action", f"must be one of {', '.join((*ACTIONS, RENEW))}")
    elif row.state != ACTIONS[action][0]:
        raise Conflict(f"The gateway is {row.state}.")
    else:
        row.state = ACTIONS[action][1]
    session.flush()
    admin_log.record(session, by, action, "gateway", row.id, now, before=before, after=_told(row))
    return row, secret


def gateway(session: Session, gateway_id: int) -> Gateway:
    """One gateway. Raises NotFound."""
    row = session.get(Gateway, gateway_id)
    if row is None:
        raise NotFound("gateway", gateway_id)
    return row


def listing(session: Session) -> list[Gateway]:
    """Every gateway by name."""
    return list(session.scalars(select(Gateway).order_by(Gateway.name)))


def channel(session: Session, gateway_id: int | None) -> str:
    """The channel of what goes by a gateway; without one it is mail. Raises InvalidInput when there is none such."""
    if gateway_id is None:
        return EMAIL
    row = session.get(Gateway, gateway_id)
    if row is None:
        raise InvalidInput("gateway_id", f"names the gateway {gateway_id}, which there is not")
    return row.kind


def check_text(
    session: Session, gateway_id: int | None, text: TextIn | None, locale: str, places: Sequence[Mapping[str, Any]]
) -> None:
    """Raises InvalidInput naming the field, unless a campaign has a sound text, or goes by no gateway.

    What was written for a gateway is kept while it goes by mail, for whoever chooses one again.

    `places` are the slots of its message, of which there are none as long as it has no message.
    """
    if gateway_id is None:
        if text is not None:
            texts.check_kept(text)
        return
    if text is None:
        raise InvalidInput("text", "is missing: a campaign of a gateway needs one")
    numbers = {place["name"]: place["index"] for place in places}
    compile_text(text, channel(session, gateway_id), gateway_id, locale, numbers)


def calling(session: Session, gateway_id: int, subject_key: bytes) -> Calling:
    """What is needed to call a gateway. Raises Shut while nothing can be handed to it."""
    row = session.get(Gateway, gateway_id)
    if row is None:
        raise Shut("The gateway of this campaign is gone. Make a new campaign with another.")
    if row.state != "on":
        raise Shut(f"The gateway {row.name} is switched off. Switch it on, or cancel the campaign.")
    try:
        return Calling(row.id, row.url, unseal(row.secret, subject_key, SEALED_AS))
    except Unsealable:
        raise Shut(
            f"The secret of the gateway {row.name} cannot be opened with this installation’s subject key. "
            "Renew it, and tell the gateway the new one."
        ) from None


def paces(session: Session) -> Mapping[int, Pace]:
    """How fast each gateway may be told, of those that have a limit."""
    rows = session.execute(select(Gateway.id, Gateway.per_second, Gateway.per_hour, Gateway.per_day))
    found = {row.id: Pace(per_second=row.per_second, per_hour=row.per_hour, per_day=row.per_day) for row in rows}
    return {number: pace for number, pace in found.items() if list(pace.windows())}


def _checked(session: Session, given: GatewayTerms, settings: Settings, gateway_id: int | None) -> dict[str, Any]:
    name = " ".join(given.name.split())
    if not name:
        raise InvalidInput("name", "must not be empty")
    taken = session.scalar(select(Gateway.id).where(Gateway.name == name))
    if taken is not None and taken != gateway_id:
        raise Conflict("Another gateway has this name.")
    Downloads(loopback=settings.fetch_loopback, named="url").check(given.url)
    return {
        "name": name, "url": given.url, "per_second": given.per_second, "per_hour": given.per_hour,
        "per_day": given.per_day,
    }  # fmt: skip


def _shown(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def _told(row: Gateway) -> dict[str, Any]:
    """What the admin log says of it: all but its secret and what of its address could be a key."""
    names = ("name", "kind", "state", "per_second", "per_hour", "per_day")
    return {name: getattr(row, name) for name in names} | {"host": urlsplit(row.url).hostname}
