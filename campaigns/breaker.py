"""Stops a campaign whose mails are refused or bounce too often, before they cost the sender's good name.

Too often is more than the stated share, with enough evidence: at least so many mails tried, and the share surely above
the stated one, by the lower end of Wilson's interval at three standard errors, so that looking again and again stops no
campaign by chance. Counted from the last time it was stopped for that: whoever resumes it gives it another try.
"""

from __future__ import annotations

from datetime import datetime
from math import sqrt
from typing import Final

from sqlalchemy.orm import Session

from base.errors import Conflict
from campaigns import accounting, mailreports, sendlimits, transitions
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign

BREAKER: Final = Actor("error-rate breaker")
ERRORS: Final = 3.0
"""Standard errors that the share must be above the stated one."""


def look(session: Session, campaign_id: int, now: datetime) -> bool:
    """Whether a campaign was stopped now. The caller commits."""
    terms = sendlimits.terms(session).breaker
    campaign = session.get(Campaign, campaign_id)
    if terms is None or campaign is None or campaign.state != "sending":
        return False
    account = accounting.account(session, campaign_id)
    refused = account["failed"] - accounting.unsent(session, campaign_id)
    failures = refused + mailreports.counts(session, campaign_id)["hard"]
    tries = refused + account["accepted"]
    bad, out_of = failures - campaign.judged_failures, tries - campaign.judged_tries
    if out_of < terms.least or surely(bad, out_of) <= terms.share:
        return False
    trouble = (
        f"It was stopped: {bad:,} of {out_of:,} mails were refused or bounced. That is {bad / out_of:.0%}, and surely "
        f"more than the {terms.share:.0%} that are let pass. See who did not get it and why, then resume or cancel it."
    )
    try:
        transitions.pause(session, campaign_id, now, BREAKER, trouble=trouble)
    except Conflict:
        return False
    campaign.judged_failures, campaign.judged_tries = failures, tries
    return True


def surely(bad: int, out_of: int) -> float:
    """The least that the share is likely to be, of so many bad ones out of some."""
    if bad <= 0:
        return 0.0
    share, square = min(1.0, bad / out_of), ERRORS**2
    centre = share + square / (2 * out_of)
    margin = ERRORS * sqrt(share * (1 - share) / out_of + square / (4 * out_of**2))
    return (centre - margin) / (1 + square / out_of)
