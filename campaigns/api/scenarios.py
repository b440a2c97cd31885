"""Scenario tests of a campaign for programs."""

from __future__ import annotations

import msgspec
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import campaigns, scenarios
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.models import Campaign
from campaigns.models import Scenario as ScenarioRow
from campaigns.parts import parts
from campaigns.scenarios import ScenarioIn, Verdict
from campaigns.views.acting import actor


class Scenario(ScenarioIn, frozen=True, kw_only=True):
    """A scenario as it is kept, and how it goes with the campaign as it is written now.

    `passed` is null where the campaign cannot be compiled; `told` says what is not as expected.
    """

    id: int
    passed: bool | None
    told: list[str]


class Scenarios(msgspec.Struct, frozen=True):
    """All scenarios of a campaign."""

    scenarios: list[Scenario]


@api.get("/campaigns/<int:campaign_id>/scenarios")
@allow("manager")
@served(200, Scenarios, "campaigns", 404)
def list_scenarios(campaign_id: int) -> Scenarios:
    """A campaign's scenarios, asked now of the campaign as it is written."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        verdicts = _asked(session, row)
        return Scenarios([_out(one, verdicts.get(one.id)) for one in scenarios.scenarios(session, row.id)])


@api.post("/campaigns/<int:campaign_id>/scenarios")
@allow("manager")
@served(201, Scenario, "campaigns", 404, 409)
def create_scenario(campaign_id: int, json: ScenarioIn) -> tuple[Scenario, int]:
    """Keep a scenario with the campaign, and ask it."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        made = scenarios.add(session, row, json, parts().now(), actor())
        verdicts = _asked(session, row, changed=True)
        return _out(made, verdicts.get(made.id)), 201


@api.put("/campaigns/<int:campaign_id>/scenarios/<int:scenario_id>")
@allow("manager")
@served(200, Scenario, "campaigns", 404, 409)
def update_scenario(campaign_id: int, scenario_id: int, json: ScenarioIn) -> Scenario:
    """Replace a scenario, and ask it."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        made = scenarios.change(session, row, scenario_id, json, parts().now(), actor())
        verdicts = _asked(session, row, changed=True)
        return _out(made, verdicts.get(made.id))


@api.delete("/campaigns/<int:campaign_id>/scenarios/<int:scenario_id>")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def delete_scenario(campaign_id: int, scenario_id: int) -> Done:
    """Ask a scenario no more."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        scenarios.remove(session, row, scenario_id, parts().now(), actor())
    return Done()


def _asked(session: Session, row: Campaign, *, changed: bool = False) -> dict[int, Verdict]:
    """How they go with what is written, by number; what changed is also kept, for the plan that is published."""
    try:
        if changed:
            scenarios.ask_anew(session, parts().store, parts().blobs, row, parts().now())
        _, found = scenarios.as_written(session, parts().store, parts().blobs, row, parts().now())
    except InvalidInput:
        return {}
    return {one.scenario: one for one in found}


def _out(row: ScenarioRow, verdict: Verdict | None) -> Scenario:
    content = scenarios.content(row)
    return Scenario(
        id=row.id,
        passed=None if verdict is None else verdict.passed,
        told=[] if verdict is None else list(verdict.told),
        **{name: getattr(content, name) for name in ScenarioIn.__struct_fields__},
    )
