"""Sending domains and the DKIM keys that sign for them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from base.tokens import TokenKeys
from campaigns import dkimkeys, sendingdoctor, sendingdomain
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.lookups import Lookups
from campaigns.models.signing import DkimKey
from campaigns.parts import parts
from campaigns.signing import Algorithm
from campaigns.views.acting import actor


class DkimKeyOut(msgspec.Struct, frozen=True):
    """A key: made, active, kept (a newer one signs, but mails on their way name this one) or retired.

    `record` is the TXT record that publishes it, in strings of at most 255 bytes, at `record_name`.
    """

    id: int
    domain: str
    selector: str
    algorithm: str
    state: str
    created_at: str
    activated_at: str | None
    replaced_at: str | None
    retired_at: str | None
    record_name: str
    record: list[str]


class DkimKeyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made. Without a selector it is named after the day and the algorithm."""

    domain: Annotated[str, msgspec.Meta(max_length=254)]
    algorithm: Algorithm = "rsa"
    selector: Annotated[str, msgspec.Meta(max_length=63)] | None = None


class ActivationIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`unchecked` activates a key without a look into the DNS."""

    unchecked: bool = False


class SendingDomainOut(msgspec.Struct, frozen=True):
    """A domain that mails come from; `messages` counts those not archived, `signed` says whether a key is active."""

    domain: str
    messages: int
    signed: bool
    keys: list[DkimKeyOut]


class SendingDomains(msgspec.Struct, frozen=True):
    """The sending domains by name."""

    domains: list[SendingDomainOut]


class SendingCheck(msgspec.Struct, frozen=True):
    """What one check found; `well` is null where it could not be made. `record` is a TXT record that would mend it.

    `asked_by` names who asks bulk senders for it.
    """

    check: str
    well: bool | None
    words: str
    asked_by: str
    record_name: str | None
    record: list[str] | None


class SendingChecks(msgspec.Struct, frozen=True):
    """What receivers see of a domain."""

    domain: str
    checks: list[SendingCheck]


def _key(row: DkimKey) -> DkimKeyOut:
    record = dkimkeys.record(row)
    activated, replaced, retired = (
        moment.isoformat() if moment is not None else None
        for moment in (row.activated_at, row.replaced_at, row.retired_at)
    )
    return DkimKeyOut(
        row.id, row.domain, row.selector, row.algorithm, row.state, row.created_at.isoformat(),
        activated, replaced, retired, record.name, list(record.strings),
    )  # fmt: skip


@api.get("/system/sending-domains")
@allow("admin")
@served(200, SendingDomains, "system")
def list_sending_domains() -> SendingDomains:
    """The domains that mails come from, each with the keys that sign for it."""
    with parts().transaction() as session:
        return SendingDomains(
            [
                SendingDomainOut(one.domain, one.messages, one.signed, [_key(row) for row in one.keys])
                for one in sendingdomain.domains(session, parts().settings)
            ]
        )


@api.get("/system/sending-domains/<domain>")
@allow("admin")
@served(200, SendingChecks, "system", 404)
def check_sending_domain(domain: str) -> SendingChecks:
    """Check DKIM, SPF, DMARC, PTR and one-click of a domain now; takes seconds where the DNS does not answer."""
    host = dkimkeys.domain_name(domain)
    with parts().transaction() as session:
        keys = dkimkeys.keys(session)
    settings = parts().settings
    tokens, lookups = TokenKeys.from_settings(settings), Lookups.of(settings)
    return SendingChecks(
        host,
        [
            SendingCheck(
                one.check, one.well, one.words, one.asked_by, one.publish.name if one.publish else None,
                list(one.publish.strings) if one.publish else None,
            )
            for one in sendingdoctor.examine(host, keys, settings, lookups, tokens, parts().now())
        ],
    )  # fmt: skip


@api.post("/system/dkim-keys")
@allow("admin")
@served(201, DkimKeyOut, "system", 409)
def create_dkim_key(json: DkimKeyIn) -> tuple[DkimKeyOut, int]:
    """Make a key. Nothing is signed with it before it is activated."""
    with parts().transaction() as session:
        made = dkimkeys.make(
            session, json.domain, json.algorithm, parts().settings.subject_key, parts().now(), actor(), json.selector
        )
        return _key(made), 201


@api.post("/system/dkim-keys/<int:dkim_id>/activate")
@allow("admin")
@served(200, DkimKeyOut, "system", 404, 409)
def activate_dkim_key(dkim_id: int, json: ActivationIn) -> DkimKeyOut:
    """Sign with a key from now on, in place of the one before; 409 while the DNS does not show it."""
    with parts().transaction() as session:
        lookups = Lookups.of(parts().settings)
        return _key(dkimkeys.activate(session, dkim_id, lookups, parts().now(), actor(), unchecked=json.unchecked))


@api.post("/system/dkim-keys/<int:dkim_id>/retire")
@allow("admin")
@served(200, DkimKeyOut, "system", 404, 409)
def retire_dkim_key(dkim_id: int) -> DkimKeyOut:
    """Never sign with a key again; its private half is deleted."""
    with parts().transaction() as session:
        return _key(dkimkeys.retire(session, dkim_id, parts().now(), actor()))
