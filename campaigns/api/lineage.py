"""What is known of a customer with where each value comes from, and which statement holds where sources differ."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from campaigns import access_log, customers, lineage
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.lineage import Policy, policies
from signals.sources import MOST_TRUST


class KnownOut(msgspec.Struct, frozen=True):
    """One thing known: its value, the source that told it, and since when it is so."""

    group: str
    name: str
    value: Any
    source: str
    since: str


class KnownList(msgspec.Struct, frozen=True):
    """Everything known of a customer; nothing once they are erased."""

    profile: int
    known: list[KnownOut]


class PolicyLine(msgspec.Struct, frozen=True):
    """The policy of one trait."""

    name: str
    policy: Policy


class PolicyList(msgspec.Struct, frozen=True):
    """The traits that do not simply go by the newest statement, servers before browsers."""

    policies: list[PolicyLine]


class TraitPolicyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The policy of one trait; *servers* ends it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    policy: Policy


class TrustIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a source's word is worth."""

    trust: Annotated[int, msgspec.Meta(ge=0, le=MOST_TRUST)]


@api.get("/customers/<long:profile>/known")
@allow("support")
@served(200, KnownList, "customers", 404)
def get_known(profile: int) -> KnownList:
    """Everything known of one customer, each with where it comes from and since when."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        access_log.record(session, actor(), "known", parts().now(), profile_id=root.id)
        found = customers.known(session, root.id, parts().now())
    return KnownList(
        root.id, [KnownOut(one.group, one.name, one.value, one.source, one.since.isoformat()) for one in found]
    )


@api.get("/trait-policies")
@allow("admin")
@served(200, PolicyList, "people")
def list_policies() -> PolicyList:
    """Which statement of a trait holds where sources differ."""
    with parts().transaction() as session:
        return PolicyList([PolicyLine(row.name, row.policy) for row in policies(session)])  # type: ignore[arg-type]


@api.put("/trait-policies")
@allow("admin")
@served(200, Done, "people")
def set_trait_policy(json: TraitPolicyIn) -> Done:
    """Have a trait go by this policy: from the next statement on; what was stated before, with a rebuild."""
    with parts().transaction() as session:
        lineage.set_policy(session, json.name, json.policy, parts().now(), actor())
    return Done(state=json.policy)


@api.put("/sources/<int:source_id>/trust")
@allow("admin")
@served(200, Done, "people", 404)
def set_trust(source_id: int, json: TrustIn) -> Done:
    """Say what a source's word is worth, for traits that go by trust."""
    with parts().transaction() as session:
        lineage.set_trust(session, source_id, json.trust, parts().now(), actor())
    return Done()
