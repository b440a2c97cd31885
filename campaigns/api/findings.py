"""The linter of a campaign's mail for programs."""

from __future__ import annotations

import msgspec

from campaigns import campaigns, compiling, findings
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.findings import Finding, Lacking
from campaigns.parts import parts


class Findings(msgspec.Struct, frozen=True):
    """What is to be said of the mail, errors first, and how many of those who are mailed lack what it prints.

    Errors keep it from being scheduled and approved; warnings want a reason from whoever asks for approval.
    """

    findings: list[Finding]
    lacking: list[Lacking]


@api.get("/campaigns/<int:campaign_id>/findings")
@allow("manager", "approver")
@served(200, Findings, "campaigns", 404)
def check_mail(campaign_id: int) -> Findings:
    """Look at the campaign's mail as it is written now: size, sender, subject, links, contrast, alternative texts."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        plan, mail = compiling.compile_campaign(session, row)
        lacking = findings.lacking(session, row, plan, mail, parts().now(), parts().settings.hash_key)
        told = findings.findings(row, plan, mail, is_sending=parts().settings.is_sending)
        told += [*findings.unlowered(session, plan, parts().now()), *findings.of_nobody(lacking)]
        return Findings(told, lacking)
