"""What a customer allows: consent by purpose with its history, and which of their addresses get no mail, and why."""

from __future__ import annotations

from typing import Literal

import msgspec

from campaigns import access_log, customers, permissions
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.intake import Intake
from signals.suppression import SuppressionChange


class StatementOut(msgspec.Struct, frozen=True):
    """One word on a purpose: who brought it (`source`, `via`), since when it holds, and until when it did."""

    purpose: str
    granted: bool
    at: str
    received_at: str
    source: str
    via: str | None
    wording: str | None
    until: str | None


class ListingOut(msgspec.Struct, frozen=True):
    """An address came on the list of those that get no mail (`listed`) or off it: by what, who, on what evidence."""

    at: str
    listed: bool
    reason: str
    via: str
    by: str | None
    evidence: str | None


class AddressOut(msgspec.Struct, frozen=True):
    """One address, its middle hidden; `address` names it when it is let go. `reason` null: nothing keeps messages from
    going there but what `purposes` say."""

    address: str
    masked: str
    reason: str | None
    since: str | None
    history: list[ListingOut]


class PermissionsOut(msgspec.Struct, frozen=True):
    """What holds now per purpose (null: never asked), the statements behind it, the newest first, and addresses."""

    profile: int
    purposes: dict[str, bool | None]
    statements: list[StatementOut]
    addresses: list[AddressOut]


class ConsentIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer said to you; `why` says when and how."""

    purpose: Literal["email", "tracking", "profiling", "advertising", "sms", "push"]
    granted: bool
    why: str


class LiftIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address as `address` of the customer's permissions, and why mail may go there again."""

    address: str
    why: str


@api.get("/customers/<long:profile>/permissions")
@allow("support")
@served(200, PermissionsOut, "customers", 404)
def get_permissions(profile: int) -> PermissionsOut:
    """Consent and addresses of one customer, with their history."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
        history = permissions.statements(session, root)
        found = permissions.addresses(session, root)
        access_log.record(session, actor(), "permissions", parts().now(), profile_id=root)
        return PermissionsOut(
            root,
            {name: one.granted if one else None for name, one in permissions.standing(history).items()},
            [
                StatementOut(
                    one.purpose, one.granted, one.at.isoformat(), one.received_at.isoformat(), one.source, one.via,
                    one.wording, one.until.isoformat() if one.until else None,
                )
                for one in history
            ],
            [
                AddressOut(
                    one.mark, one.masked, one.reason, one.since.isoformat() if one.since else None,
                    [_changed(change) for change in one.changes],
                )
                for one in found
            ],
        )  # fmt: skip


def _changed(change: SuppressionChange) -> ListingOut:
    at = change.at.isoformat()
    return ListingOut(at, change.listed, change.reason, change.via, change.by, change.evidence)


@api.post("/customers/<long:profile>/consents")
@allow("support")
@served(200, Done, "customers", 404)
def state_consent(profile: int, json: ConsentIn) -> Done:
    """Keep what a customer said about a purpose; it is in effect when this answers."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
    intake = Intake(parts().sessions, parts().store, parts().settings.hash_key)
    permissions.state(intake, root, json.purpose, json.granted, json.why, parts().now(), actor())
    return Done(state="agreed" if json.granted else "refused")


@api.post("/customers/<long:profile>/addresses/lift")
@allow("support")
@served(200, Done, "customers", 404)
def lift_suppression(profile: int, json: LiftIn) -> Done:
    """Let mail go to a suppressed address of a customer again."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
        permissions.lift(session, root, json.address, json.why, parts().now(), actor())
    return Done(state="may be mailed")
