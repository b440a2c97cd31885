"""What came back of mails, for programs."""

from __future__ import annotations

import msgspec

from campaigns import mailreports
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.parts import parts


class MailReportsOut(msgspec.Struct, frozen=True):
    """Reports of the last thirty days by way (dsn, arf, ses, …) and outcome, and what is set up to take them in.

    Outcomes: taken, repeated, no report, forged, unknown mail, unreadable. `suppressed` counts the addresses that get
    no mail, by reason.
    """

    days: int
    outcomes: dict[str, dict[str, int]]
    suppressed: dict[str, int]
    ways: dict[str, bool]


@api.get("/system/mail-reports")
@allow("admin")
@served(200, MailReportsOut, "system")
def get_mail_reports() -> MailReportsOut:
    """Bounces and complaints: how many came, what became of them, and which addresses get no mail for them."""
    with parts().transaction() as session:
        found = mailreports.intake(session, parts().settings, parts().now())
    return MailReportsOut(mailreports.DAYS, found.outcomes, found.suppressed, found.ways)
