"""Gateways for programs: who takes text and push messages, and how fast."""

from __future__ import annotations

import msgspec
from flask import g
from msgspec.structs import replace

from campaigns import gateways
from campaigns.access import ADMIN, allow
from campaigns.api.desk import api, served
from campaigns.gateways import GatewayIn, GatewayTerms
from campaigns.models import Gateway
from campaigns.parts import parts
from campaigns.views.acting import actor


class GatewayOut(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway as it is kept. `secret` is told once: when it is made or renewed.

    Whoever is no admin is told neither its address, which may hold a key, nor its limits: they are null.
    """

    id: int
    name: str
    kind: str
    state: str
    url: str | None = None
    per_second: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    secret: str | None = None


class GatewaysOut(msgspec.Struct, frozen=True):
    """Every gateway by name."""

    gateways: list[GatewayOut]


class GatewayActIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """switch off: its messages wait, and campaigns that have some pause; switch on; renew secret."""

    action: str


def _out(row: Gateway, secret: str | None = None) -> GatewayOut:
    told = GatewayOut(id=row.id, name=row.name, kind=row.kind, state=row.state)
    if ADMIN not in g.api_key.roles:
        return told
    kept = {name: getattr(row, name) for name in ("url", "per_second", "per_hour", "per_day")}
    return replace(told, secret=secret, **kept)


@api.get("/gateways")
@allow("manager")
@served(200, GatewaysOut, "gateways")
def list_gateways() -> GatewaysOut:
    """Every gateway that a campaign can go by; admins also see its address and limits."""
    with parts().transaction() as session:
        return GatewaysOut([_out(row) for row in gateways.listing(session)])


@api.post("/gateways")
@allow("admin")
@served(201, GatewayOut, "gateways", 409)
def create_gateway(json: GatewayIn) -> tuple[GatewayOut, int]:
    """Set a gateway up; the answer holds the secret that its calls are signed with."""
    with parts().transaction() as session:
        return _out(*gateways.create(session, json, parts().settings, parts().now(), actor())), 201


@api.put("/gateways/<int:gateway_id>")
@allow("admin")
@served(200, GatewayOut, "gateways", 404, 409)
def change_gateway(gateway_id: int, json: GatewayTerms) -> GatewayOut:
    """Change its name, its address and its limits, from the next batch on."""
    with parts().transaction() as session:
        return _out(gateways.change(session, gateway_id, json, parts().settings, parts().now(), actor()))


@api.post("/gateways/<int:gateway_id>/act")
@allow("admin")
@served(200, GatewayOut, "gateways", 404, 409)
def act_on_gateway(gateway_id: int, json: GatewayActIn) -> GatewayOut:
    """Switch a gateway off or on, or renew its secret."""
    with parts().transaction() as session:
        return _out(*gateways.act(session, gateway_id, json.action, parts().settings, parts().now(), actor()))
